-- Cancels what nobody waits for: the jobs of sessions whose last reader left and stayed away.
-- Transition: queued → cancelled (running: cancelled through its worker)
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 jobs and sessions at most, 3 retention ms
-- Returns {"abandoned", sessions left, jobs cancelled or about to be}
-- Emits   cancelled {by: disconnect}
local limit, retention_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local watched = root .. 'watched'

local spare_until = redis.call('HGET', root .. 'watch', 'spare_until')
if not spare_until or now < tonumber(spare_until) then return {'abandoned', 0, 0} end

local sessions, jobs = 0, 0
for _, session in ipairs(redis.call('ZRANGEBYSCORE', watched, '-inf', at, 'LIMIT', 0, limit)) do
  for _, id in ipairs(redis.call('ZRANGE', root .. 'active:' .. session, 0, -1)) do
    local j = load(id)
    if j and not j.cancel_requested then
      -- Its session stays under watch, and the next call goes on.
      if jobs == limit then return {'abandoned', sessions, jobs} end
      cancel(j, retention_ms, 'disconnect')
      jobs = jobs + 1
    end
  end
  redis.call('ZREM', watched, session)
  sessions = sessions + 1
end
return {'abandoned', sessions, jobs}
