-- Ends an attempt that failed: tried again after a delay, or failed for good.
-- Transition: processing | generating | uploading → queued | failed (cancelled, if that was asked)
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 fence, 4 delay ms before the next attempt ('' = none follows),
--         5 error code, 6 message for the user, 7 detail for the operator, 8 retention ms,
--         9 dead letters kept, 10 JSON of the provider's own words
-- Returns {"retrying", retry_at ms}   {"failed"}   {"cancelled"}
--         {"lost", state found or 'missing'}
-- Emits   queued {reason: retry, error} | failed {error, fallback} | cancelled {by, fallback}
local id, fence, delay_ms, code, message, detail = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local retention_ms, dead_max, origin = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]

local j = load(id)
if not owns(j, fence) then return {'lost', j and j.state or 'missing'} end
if j.cancel_requested then
  leave(j)
  finish_cancelled(j, retention_ms, j.cancel_requested)
  return {'cancelled'}
end
if delay_ms == '' then
  leave(j)
  finish_failed(j, retention_ms, dead_max, code, message, detail, origin)
  return {'failed'}
end

local retry_at = now + tonumber(delay_ms)
j.v, j.state = j.v + 1, 'queued'
redis.call('ZADD', root .. 'delayed:' .. j.pool, retry_at, id)
if j.run_by then redis.call('ZADD', root .. 'deadline:' .. j.pool, j.run_by, id) end
redis.call('HSET', j.key, 'state', 'queued', 'v', j.v, 'updated_at', at, 'retry_at', retry_at,
  'error_code', code, 'error_message', message, 'error_detail', detail, 'error_origin', origin)
redis.call('HDEL', j.key, 'locked_by', 'locked_at', 'progress', 'preview', 'artifacts', 'checkpoint')
leave(j)
emit(j, 'queued', '{"reason":"retry","position":null,"estimated_wait_ms":null,"retry_at":' .. retry_at
  .. ',"error":{"code":"' .. code .. '","message":' .. cjson.encode(message) .. '}}')
admit(j.pool)
return {'retrying', retry_at}
