-- Counts a worker's slots into a pool's capacity while it lives.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pool, 3 worker, 4 slots (0 = it takes nothing more), 5 lifetime ms
-- Returns {"counted", capacity of the pool in slots}
-- Emits   nothing
local pool, worker, slots, ttl_ms = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local workers, all, key = root .. 'workers:' .. pool, root .. 'slots:' .. pool, root .. 'pool:' .. pool

if slots > 0 then
  redis.call('SADD', root .. 'pools', pool)
  redis.call('ZADD', workers, now + ttl_ms, worker)
else
  redis.call('ZREM', workers, worker)
end
if tonumber(redis.call('HGET', all, worker) or 0) ~= slots then
  if slots > 0 then redis.call('HSET', all, worker, slots) else redis.call('HDEL', all, worker) end
  local capacity = 0
  for _, each in ipairs(redis.call('HVALS', all)) do capacity = capacity + tonumber(each) end
  redis.call('HSET', key, 'capacity', capacity)
  admit(pool)
end
return {'counted', tonumber(redis.call('HGET', key, 'capacity') or 0)}
