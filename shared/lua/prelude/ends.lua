-- How an attempt and a job end.

-- Sends a running job back to its old place in the queue without burning its attempt.
local function hand_back(j, reason)
  j.v, j.state = j.v + 1, 'queued'
  enqueue(j)
  redis.call('HSET', j.key, 'state', 'queued', 'v', j.v, 'updated_at', at,
    'attempt_count', math.max(j.attempt_count - 1, 0))
  redis.call('HDEL', j.key, 'locked_by', 'locked_at', 'progress', 'preview', 'artifacts')
  -- Who resumes the checkpoint's generations is told again what they have used, or it would count
  -- twice. Nothing else is lost: a provider tells of no usage but that of generations it keeps there.
  if redis.call('HEXISTS', j.key, 'checkpoint') == 1 then
    redis.call('HDEL', j.key, 'usage:' .. j.fence)
  end
  leave(j)
  emit(j, 'queued', queued_json(j, reason))
  admit(j.pool)
end

-- Ends a job whose places in queue or lease the caller has already cleared. `...`: more fields.
local function finish(j, state, retention_ms, kind, body, its, ...)
  j.v, j.state = j.v + 1, state
  redis.call('HSET', j.key, 'state', state, 'v', j.v, 'updated_at', at, 'finished_at', at,
    'expires_at', now + retention_ms, ...)
  redis.call('HDEL', j.key, 'locked_by', 'locked_at', 'progress', 'preview', 'retry_at',
    'cancel_requested', 'promised_at')
  redis.call('PEXPIRE', j.key, retention_ms)
  redis.call('ZREM', root .. 'active:' .. j.session, j.id)
  emit(j, kind, body)
  if j.fingerprint then pass_on(j, state, retention_ms) end
  admit(j.pool, its)
end

-- Ends a job as failed, with the stage it failed in, and keeps it for the operator. `origin`: JSON of
-- the provider's own words; none where it is nobody's failure but ours.
local function finish_failed(j, retention_ms, dead_max, code, message, detail, origin)
  local stage, provider = j.state, redis.call('HGET', j.key, 'provider')
  origin = origin or '{"provider_status":null,"provider_code":null,"provider_request_id":null}'
  local retryable = code ~= 'PERMANENT' and code ~= 'AUTH_ERROR'
  redis.call('ZADD', root .. 'dead', at, j.id)
  redis.call('ZREMRANGEBYRANK', root .. 'dead', 0, -dead_max - 1)
  redis.call('ZREMRANGEBYSCORE', root .. 'dead', '-inf', now - retention_ms)
  finish(j, 'failed', retention_ms, 'failed', '{"error":{"code":"' .. code .. '","message":'
    .. cjson.encode(message) .. ',"failure_stage":"' .. stage .. '","retryable":'
    .. tostring(retryable) .. ',"provider":' .. (provider and cjson.encode(provider) or 'null') .. ','
    .. string.sub(origin, 2) .. fallback_json(j) .. '}', nil, 'failure_stage', stage,
    'error_code', code, 'error_message', message, 'error_detail', detail, 'error_origin', origin)
end

local function finish_cancelled(j, retention_ms, by)
  finish(j, 'cancelled', retention_ms, 'cancelled',
    '{"by":' .. cjson.encode(by) .. fallback_json(j) .. '}')
end

-- Cancels a job on behalf of somebody who does not run it; gives the word for the caller.
local function cancel(j, retention_ms, by)
  if j.state == 'queued' then
    withdraw(j)
    finish_cancelled(j, retention_ms, by)
    return 'cancelled'
  end
  if not owns(j, j.fence) then return 'ended' end
  redis.call('HSETNX', j.key, 'cancel_requested', by)
  return 'cancelling'
end

-- Removes an ended job's record, its place in the list, and its idempotency key: the same request
-- may come again, and without its job the key would lead nowhere.
local function forget(id, session, key)
  redis.call('DEL', root .. 'job:' .. id)
  redis.call('LREM', root .. 'jobs:' .. session, 0, id)
  local seen = key and redis.call('GET', root .. 'idem:' .. session .. ':' .. key)
  if seen and string.match(seen, '^%S+') == id then
    redis.call('DEL', root .. 'idem:' .. session .. ':' .. key)
  end
end
