-- Forgets a failed job: its dead letter, its record, and what would lead to it.
-- Transition: none (failed → gone)
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 age ms that its letter must have (0 = any)
-- Returns {"purged"}   {"younger", failed_at ms}   {"refused", state found}   {"missing"}
-- Emits   nothing: the session was told that it failed, and nothing of it is shown any more
local id, age_ms = ARGV[2], tonumber(ARGV[3])

local f = redis.call('HMGET', root .. 'job:' .. id, 'state', 'session', 'idempotency_key', 'finished_at')
if f[1] and f[1] ~= 'failed' then return {'refused', f[1]} end
local failed_at = redis.call('ZSCORE', root .. 'dead', id) or f[4]
if not failed_at then return {'missing'} end
if tonumber(failed_at) > now - age_ms then return {'younger', failed_at} end

redis.call('ZREM', root .. 'dead', id)
if f[1] then forget(id, f[2], f[3]) end
return {'purged'}
