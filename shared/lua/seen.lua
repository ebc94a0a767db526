-- Reads what was accepted under an idempotency key, and answers as submit.lua would.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 session id, 3 idempotency key, 4 digest of the request, 5 model,
--         6 '1' if the model publishes ('' = it does not)
-- Returns {"unseen"}   {"replayed", job id}   {"key_reused", job id, fallback…}
-- Emits   nothing
local seen = redis.call('GET', root .. 'idem:' .. ARGV[2] .. ':' .. ARGV[3])
if not seen then return {'unseen'} end
local first, its_digest = string.match(seen, '^(%S+) (%S+)$')
if its_digest == ARGV[4] then return {'replayed', first} end
return {'key_reused', first, fallback_of(ARGV[2], ARGV[5], ARGV[6] == '1')}
