-- Replaces a provider's guard, if nobody has since it was read.
-- Transition: none; what changes is decided in src/domain/guard
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 provider, 3 version that was read, 4 lifetime ms, 5 state as JSON,
--         then fields for people to read: name, value, ...
-- Returns {"swapped"}
--         {"changed", now ms, version, state as JSON}: take the step again from this one
-- Emits   nothing
local key, version, lifetime_ms, state = root .. 'guard:' .. ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local found = redis.call('HMGET', key, 'v', 'state')
if (found[1] or '0') ~= version then return {'changed', at, found[1] or '0', found[2] or ''} end
redis.call('HSET', key, 'v', string.format('%.0f', tonumber(version) + 1), 'state', state,
  unpack(ARGV, 6))
redis.call('PEXPIRE', key, lifetime_ms)
return {'swapped'}
