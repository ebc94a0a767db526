-- Reads all caps, and how much of each is in use, in one step.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce
-- Returns {{field, value…} of the caps of sessions,
--          {pool, the operator's cap, the settings' cap ('' = none), slots, running, admitted}…,
--          {tenant, jobs admitted or running}… per session that has any}
-- Emits   nothing
local pools, live, sessions = {}, {}, {}
for _, pool in ipairs(redis.call('SMEMBERS', root .. 'pools')) do
  local p = redis.call('HMGET', root .. 'pool:' .. pool, 'cap', 'cap_default', 'capacity')
  local its = {pool, p[1] or '', p[2] or '', p[3] or 0}
  for _, kind in ipairs({'lease:', 'out:'}) do
    local ids = redis.call('ZRANGE', root .. kind .. pool, 0, -1)
    its[#its + 1] = #ids
    for _, id in ipairs(ids) do
      local session = redis.call('HGET', root .. 'job:' .. id, 'session')
      if session then live[session] = (live[session] or 0) + 1 end
    end
  end
  pools[#pools + 1] = its
end
for session, jobs in pairs(live) do sessions[#sessions + 1] = {tenant_of(session), jobs} end
return {redis.call('HGETALL', KEYS[1]), pools, sessions}
