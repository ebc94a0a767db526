-- Counts a worker's slots into a pool's capacity while it lives.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pool, 3 worker, 4 slots (0 = it takes nothing more), 5 lifetime ms,
--         6 ms for which its providers are closed off ('' = they are not): it lives without slots
-- Returns {"counted", capacity of the pool in slots}
-- Emits   nothing
local pool, worker, slots, ttl_ms = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local closed_ms = tonumber(ARGV[6])
local workers, all, key = root .. 'workers:' .. pool, root .. 'slots:' .. pool, root .. 'pool:' .. pool

if slots > 0 or closed_ms then
  redis.call('SADD', root .. 'pools', pool)
  redis.call('ZADD', workers, now + ttl_ms, worker)
else
  redis.call('ZREM', workers, worker)
end
local changed = tonumber(redis.call('HGET', all, worker) or 0) ~= slots
if changed then
  if slots > 0 then redis.call('HSET', all, worker, slots) else redis.call('HDEL', all, worker) end
  local capacity = 0
  for _, each in ipairs(redis.call('HVALS', all)) do capacity = capacity + tonumber(each) end
  redis.call('HSET', key, 'capacity', capacity)
end
local p = redis.call('HMGET', key, 'capacity', 'closed_until')
if closed_ms and tonumber(p[1] or 0) == 0 then
  redis.call('HSET', key, 'closed_until', string.format('%.0f', now + closed_ms))
elseif p[2] then
  redis.call('HDEL', key, 'closed_until')
end
if changed then admit(pool) end
return {'counted', tonumber(p[1] or 0)}
