-- Tries an ended job again because somebody asked; a new place at the end, a new set of attempts.
-- Transition: failed | cancelled → queued
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 attempts it gets, 4 the only state it may be in (none = either)
-- Returns {"queued", retry_count}   {"refused", state found}   {"missing"}
-- Emits   queued {reason: retry, retry_count}
local id, attempts, only = ARGV[2], tonumber(ARGV[3]), ARGV[4]

local j = load(id)
if not j then return {'missing'} end
if j.state ~= 'failed' and j.state ~= 'cancelled' or only and j.state ~= only then
  return {'refused', j.state}
end

j.v, j.state, j.queued_at, j.run_by = j.v + 1, 'queued', at, nil
local retries = redis.call('HINCRBY', j.key, 'retry_count', 1)
redis.call('PERSIST', j.key)
redis.call('HSET', j.key, 'state', 'queued', 'v', j.v, 'queued_at', at, 'updated_at', at,
  'attempt_limit', j.attempt_count + attempts, 'losses', 0)
redis.call('HDEL', j.key, 'finished_at', 'expires_at', 'failure_stage', 'error_code', 'run_by',
  'error_message', 'error_detail', 'error_origin', 'artifacts', 'checkpoint', 'timings', 'cancel_requested', 'promised_at')
redis.call('ZADD', root .. 'active:' .. j.session, at, id)
redis.call('ZREM', root .. 'dead', id)
if not (j.fingerprint and join(j, 0)) then enqueue(j) end
emit(j, 'queued', queued_json(j, 'retry', ',"retry_count":' .. retries))
admit(j.pool)
return {'queued', retries}
