-- Hands a running job back at a drain: its old place, no attempt burned.
-- Transition: processing | generating | uploading → queued (cancelled, if that was asked)
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 retention ms
-- Returns {"released"}   {"cancelled"}   {"lost", state found or 'missing'}
-- Emits   queued {reason: worker_drain} | cancelled {by, fallback}
local id, fence, retention_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])

local j = load(id)
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
if j.cancel_requested then
  leave(j)
  finish_cancelled(j, retention_ms, j.cancel_requested)
  return {'cancelled'}
end
hand_back(j, 'worker_drain')
return {'released'}
