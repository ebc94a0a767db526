-- Turns a popped hint into ownership: raises the fence and starts the lease.
-- Transition: queued → processing
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 worker, 4 lease ms, 5 provider's name
-- Returns {"claimed", fence, attempt, attempt_limit, model, input JSON, checkpoint or ''}
--         {"gone", state found or 'missing'}   somebody else has it, or it was withdrawn
-- Emits   started {attempt, provider}
local id, worker, lease_ms, provider = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

local j = load(id, 'attempt_limit', 'model', 'input', 'checkpoint')
if not j then return {'gone', 'missing'} end
-- Only an admitted job may run: the window is where the caps are kept.
if j.state ~= 'queued' or redis.call('ZREM', root .. 'out:' .. j.pool, id) == 0 then
  return {'gone', j.state}
end

local fence, attempt = tonumber(j.fence) + 1, j.attempt_count + 1
redis.call('ZADD', root .. 'lease:' .. j.pool, now + lease_ms, id)
redis.call('ZREM', root .. 'ready:' .. j.line, id)
redis.call('ZREM', root .. 'queue:' .. j.line, id)
if j.run_by then redis.call('ZREM', root .. 'deadline:' .. j.pool, id) end

j.v, j.state = j.v + 1, 'processing'
redis.call('HSET', j.key, 'state', 'processing', 'v', j.v, 'fence', fence,
  'attempt_count', attempt, 'locked_by', worker, 'locked_at', at, 'started_at', at,
  'updated_at', at, 'provider', provider)
emit(j, 'started', '{"attempt":' .. attempt .. ',"provider":"' .. provider .. '"}')
return {'claimed', fence, attempt, j[11], j[12], j[13], j[14] or ''}
