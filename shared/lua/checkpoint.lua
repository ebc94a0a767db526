-- Keeps the provider's own handle of the running generation, so that the next worker resumes.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 handle
-- Returns {"noted"}   {"cancel"} (noted, but somebody wants it cancelled)
--         {"lost", state found or 'missing'}
-- Emits   nothing
local id, fence, handle = ARGV[2], ARGV[3], ARGV[4]

local j = load(id)
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
redis.call('HSET', j.key, 'checkpoint', handle)
return {j.cancel_requested and 'cancel' or 'noted'}
