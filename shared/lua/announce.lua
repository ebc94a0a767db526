-- Tells of something a running attempt has already stored: a preview or a frame.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 event type (preview, frame-ready), 5 field of the job
--         (preview, artifacts), 6 its new JSON, 7 the event's JSON
-- Returns {"noted"} (once: the same words again change nothing)   {"cancel"} (noted, but somebody wants it cancelled)
--         {"lost", state found or 'missing'}
-- Emits   preview or frame-ready
local id, fence, kind, field, value, body = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

local j = load(id)
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
if redis.call('HGET', j.key, field) == value then
  return {j.cancel_requested and 'cancel' or 'noted'}
end
j.v = j.v + 1
redis.call('HSET', j.key, field, value, 'v', j.v, 'updated_at', at)
emit(j, kind, body)
return {j.cancel_requested and 'cancel' or 'noted'}
