-- Moves a running attempt to its next stage.
-- Transition: processing → generating, generating → uploading
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 stage to reach
-- Returns {"advanced"} (also when it is there already)   {"cancel"} (not advanced: somebody wants it cancelled)
--         {"lost", state found or 'missing'}   {"refused", state found} (no such edge)
-- Emits   progress {stage}, ephemeral
local id, fence, stage = ARGV[2], ARGV[3], ARGV[4]
local BEFORE = {generating = 'processing', uploading = 'generating'}

local j = load(id)
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
if j.state == stage then return {'advanced'} end
if j.state ~= BEFORE[stage] then return {'refused', j.state} end
if j.cancel_requested then return {'cancel'} end

j.v, j.state = j.v + 1, stage
redis.call('HSET', j.key, 'state', stage, 'v', j.v, 'updated_at', at)
whisper(j, 'progress', '{"stage":"' .. stage .. '"}')
return {'advanced'}
