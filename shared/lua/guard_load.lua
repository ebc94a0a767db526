-- Reads a provider's guard, and the moment that its next step is taken at.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 provider
-- Returns {"guard", now ms, version (0 = there is none yet), state as JSON ('' = there is none yet)}
-- Emits   nothing
local guard = redis.call('HMGET', root .. 'guard:' .. ARGV[2], 'v', 'state')
return {'guard', at, guard[1] or '0', guard[2] or ''}
