-- Extends the leases of one worker's jobs, and tells it what it must know about each.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 lease ms, 3 longest attempt ms, then per job: job id, fence
-- Returns a word per job, in order:
--         "renewed"   "cancel" (renewed, but somebody wants it cancelled)
--         "overtime" (runs longer than any attempt may; not renewed)   "lost" (not yours any more)
-- Emits   nothing
local lease_ms, attempt_ms_max = tonumber(ARGV[2]), tonumber(ARGV[3])

local verdicts = {}
for i = 4, #ARGV, 2 do
  local id, fence = ARGV[i], ARGV[i + 1]
  local f = redis.call('HMGET', root .. 'job:' .. id, 'state', 'fence', 'pool', 'cancel_requested',
    'locked_at')
  local verdict = 'lost'
  if owns({state = f[1], fence = f[2]}, fence) then
    if now - tonumber(f[5]) > attempt_ms_max then
      verdict = 'overtime'
    else
      redis.call('ZADD', root .. 'lease:' .. f[3], 'XX', now + lease_ms, id)
      verdict = f[4] and 'cancel' or 'renewed'
    end
  end
  verdicts[#verdicts + 1] = verdict
end
return verdicts
