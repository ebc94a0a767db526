-- Notes how far a running attempt is; the newest note replaces the one before.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 progress JSON
-- Returns {"noted"}   {"cancel"} (noted, but somebody wants it cancelled)
--         {"lost", state found or 'missing'}
-- Emits   progress, ephemeral
local id, fence, progress = ARGV[2], ARGV[3], ARGV[4]

local j = load(id)
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
redis.call('HSET', j.key, 'progress', progress)
whisper(j, 'progress', progress)
return {j.cancel_requested and 'cancel' or 'noted'}
