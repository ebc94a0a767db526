-- Ends a job with copies of the frames that its leader has drawn. Repeated by the same fence, it
-- agrees.
-- Transition: queued → completed
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 retention ms, 5 JSON of its frames, 6 the last one's URL,
--         then each one's event JSON
-- Returns {"completed"}   {"already"} (by this very fence)
--         {"lost", state found or 'missing'} (handed to somebody else, or no follower any more)
-- Emits   frame-ready {index, frame} of each, completed {frames, missing, timings, cached}
local id, fence, retention_ms, frames, last_url = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]

local j = load(id, 'model')
if j and j.state == 'completed' and j.fence == fence then return {'already'} end
local follow = root .. 'follow:' .. (j and j.fingerprint or '')
if not j or j.fence ~= fence or not redis.call('ZSCORE', follow, id) then
  return {'lost', j and j.state or 'missing'}
end

local waited_ms = now - tonumber(j.queued_at)
local timings = '{"queue_ms":' .. waited_ms .. ',"generate_ms":0,"upload_ms":0,"total_ms":'
  .. waited_ms .. '}'
remember(j.session, j[11], last_url, retention_ms)
withdraw(j)
if redis.call('EXISTS', follow) == 0 then redis.call('ZREM', root .. 'landed', j.fingerprint) end
for i = 7, #ARGV do
  j.v = j.v + 1
  say(j, 'frame-ready', ARGV[i])
end
finish(j, 'completed', retention_ms, 'completed',
  '{"frames":' .. frames .. ',"missing":[],"timings":' .. timings .. ',"cached":true}', nil,
  'artifacts', frames, 'timings', timings, 'cached', '1')
return {'completed'}
