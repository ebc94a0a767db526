-- Ends a job with the frames that could be made, all of them stored, and announces the last one
-- where that is left to do. Repeated by the same fence, it agrees.
-- Transition: uploading → completed
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 time in the provider ms, 5 time storing ms, 6 retention ms,
--         7 JSON of its frames, 8 the last one's event JSON ('' = it is announced), 9 its URL,
--         10 JSON of those that are missing, 11 URL under which the last is published ('' = it is not)
-- Returns {"completed"}, or {"completed", fingerprint} where others wait for the same frames
--         {"already"} (by this very fence)   {"refused", state found} (too early)
--         {"lost", state found or 'missing'}
-- Emits   frame-ready {index, frame}, completed {frames, missing, timings}
local id, fence, generate_ms, upload_ms, retention_ms, frames, last_frame, last_url, missing =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local public_url = ARGV[11]

local j = load(id, 'started_at', 'promised_at', 'model', 'catalogue')
if j and j.state == 'completed' and j.fence == fence then return {'already'} end
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
if j.state ~= 'uploading' then return {'refused', j.state} end

local started_at, queued_at = tonumber(j[11]), tonumber(j.queued_at)
local timings = '{"queue_ms":' .. started_at - queued_at .. ',"generate_ms":' .. generate_ms
  .. ',"upload_ms":' .. upload_ms .. ',"total_ms":' .. now - queued_at .. '}'
remember(j.session, j[13], last_url, retention_ms)
-- Only where the submit said so too: what a session ordered for itself stays its own.
if j[14] and public_url ~= '' then publish(j[13], public_url, id, retention_ms) end
leave(j)
local its = load_of(j.pool)
learn(j, its, now - started_at, j[12])
if last_frame ~= '' then
  j.v = j.v + 1
  say(j, 'frame-ready', last_frame)
end
if missing ~= '[]' then redis.call('HSET', j.key, 'missing', missing) end
finish(j, 'completed', retention_ms, 'completed', '{"frames":' .. frames .. ',"missing":' .. missing
  .. ',"timings":' .. timings .. '}', its, 'artifacts', frames, 'timings', timings)
return {'completed', j.is_followed and j.fingerprint}
