-- Sets a cap or takes it away, and admits what may run under it now. What runs goes on.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pool whose cap it is ('' = it is one of sessions), 3 field, 4 cap in jobs
--         ('' = none), 5 where to go on among the paused sessions ('0' = from the start), 6 how many
-- Returns {"set", the cap before ('' = none), where to go on ('0' = done)}
-- Emits   nothing
local pool, field, cap, cursor, step = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local key = pool == '' and KEYS[1] or root .. 'pool:' .. pool

local before = redis.call('HGET', key, field) or ''
if cap == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, cap) end
if pool ~= '' then
  if cap ~= '' then redis.call('SADD', root .. 'pools', pool) end
  admit(pool)
  return {'set', before, '0'}
end

-- Only while this is there are sessions asked for their tenant.
local overrides = 0
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.match(name, '^session_cap:') then overrides = overrides + 1 end
end
if overrides == 0 then
  redis.call('HDEL', KEYS[1], 'overrides')
else
  redis.call('HSET', KEYS[1], 'overrides', overrides)
end

-- A session that its cap holds has jobs admitted or running, by which it is found, or is paused.
local caps, pools, seen = session_caps(), redis.call('SMEMBERS', root .. 'pools'), {}
for _, its in ipairs(pools) do
  for _, kind in ipairs({'out:', 'lease:'}) do
    for _, id in ipairs(redis.call('ZRANGE', root .. kind .. its, 0, -1)) do
      local session = redis.call('HGET', root .. 'job:' .. id, 'session')
      if session and not seen[session] then
        seen[session] = true
        wake(session, caps)
      end
    end
  end
end
local found = redis.call('SSCAN', root .. 'paused', cursor, 'COUNT', step)
for _, session in ipairs(found[2]) do
  redis.call('SREM', root .. 'paused', session)
  wake(session, caps)
end
for _, its in ipairs(pools) do admit(its) end
return {'set', before, found[1]}
