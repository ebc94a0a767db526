-- Keeps what a provider says that a running attempt has used. Repeated, it says the same.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 JSON of what was used
-- Returns {"noted"}   {"cancel"} (noted, but somebody wants it cancelled)
--         {"lost", state found or 'missing'}
-- Emits   nothing
local id, fence, usage = ARGV[2], ARGV[3], ARGV[4]

local j = load(id)
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
-- One field for each attempt that told, so that the job's total is their sum; see also hand_back.
redis.call('HSET', j.key, 'usage:' .. fence, usage)
return {j.cancel_requested and 'cancel' or 'noted'}
