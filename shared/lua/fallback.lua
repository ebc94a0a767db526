-- Reads what to show where there is no frame, for answers that no other script decides.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 session id, 3 model, 4 '1' if the model publishes
-- Returns {kind, URL}
-- Emits   nothing
return {fallback_of(ARGV[2], ARGV[3], ARGV[4] == '1')}
