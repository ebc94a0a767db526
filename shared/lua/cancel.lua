-- Cancels a job: at once while it waits, through its worker while it runs.
-- Transition: queued | processing | generating | uploading → cancelled
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 by whom (user, operator), 4 fence of the worker that has stopped its
--         attempt ('' = asked from outside), 5 retention ms
-- Returns {"cancelled"}   {"cancelling"} (its worker will hear of it)
--         {"ended", state}   {"lost", state found} (fence given, not the owner)   {"missing"}
-- Emits   cancelled {by, fallback}
local id, by, fence, retention_ms = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local j = load(id)
if not j then return {'missing'} end
if fence ~= '' then
  if not owns(j, fence) then return {'lost', j.state} end
  leave(j)
  finish_cancelled(j, retention_ms, j.cancel_requested or by)
  return {'cancelled'}
end
local word = cancel(j, retention_ms, by)
return word == 'ended' and {word, j.state} or {word}
