-- Stands before every script: the clock, the event, and the few moves that transitions share.
--
-- KEYS[1] is always '<prefix>{cell}:config'; every other key of the cell is built from its root, so
-- all keys of a script share one hash tag. ARGV[1] is always the caller's nonce, eight characters,
-- with a '+' behind it when the connection broke and the same call is sent a second time. The key
-- table with types and lifetimes is src/store/keys.rs. Lua does not roll back: add before remove.

local root = string.sub(KEYS[1], 1, -7)
local nonce, sent_again = string.sub(ARGV[1], 1, 8), #ARGV[1] > 8
local time = redis.call('TIME') --@clock
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- The same as text: Redis would write a number with seventeen digits, and slowly.
local at = string.format('%.0f', now)

-- The moment with its microseconds, as a score; `n` tells apart what one script does in a row.
local function instant(n)
  return at .. string.format('.%03d', math.min(tonumber(time[2]) % 1000 + n, 999))
end

local CLASSES = {'high', 'normal', 'low'}
-- One round of admissions: eight high, three normal, one low.
local PATTERN = {'high', 'high', 'normal', 'high', 'high', 'normal',
                 'high', 'high', 'normal', 'high', 'high', 'low'}

local STREAM_EVENTS_MAX = 256
local STREAM_S = 900
local STREAMHEAD_S = 604800
local SESSION_CAP = 2
-- The picture that ships, as domain/fallback.rs has it.
local SHIPPED_URL = '/v1/fallback.webp'
-- Whoever is told of a last frame has this long to fetch it: as long as an idle stream keeps the
-- event that tells of it.
local FALLBACK_MS_MIN = STREAM_S * 1000

-- Completes an event's JSON: the five members all have, then those of `body` (an object's text).
local function event_json(j, body)
  local common = '{"job":"' .. j.id .. '","v":' .. j.v .. ',"status":"' .. j.state .. '","at":' .. now
  if body == '{}' then return common .. '}' end
  return common .. ',' .. string.sub(body, 2)
end

-- Appends a durable event to the session's stream and publishes the same text.
local function emit(j, kind, body)
  local stream, head = root .. 'stream:' .. j.session, root .. 'streamhead:' .. j.session
  local last = redis.call('HMGET', head, 'n', 'u')
  local n = tonumber(last[1] or 0) + 1
  local event = n .. '-' .. nonce .. ' ' .. (last[2] or '-') .. ' ' .. kind .. ' ' .. j.id
    .. '\n' .. event_json(j, body)
  if n == 1 then redis.call('DEL', stream) end
  if redis.call('RPUSH', stream, event) > STREAM_EVENTS_MAX then
    redis.call('LTRIM', stream, -STREAM_EVENTS_MAX, -1)
  end
  redis.call('EXPIRE', stream, STREAM_S)
  redis.call('HSET', head, 'n', n, 'u', nonce)
  redis.call('EXPIRE', head, STREAMHEAD_S)
  redis.call('PUBLISH', stream, event) --@publish
end

-- Publishes an event that nobody needs to see later.
local function whisper(j, kind, body)
  local event = '- - ' .. kind .. ' ' .. j.id .. '\n' .. event_json(j, body)
  redis.call('PUBLISH', root .. 'stream:' .. j.session, event) --@publish
end

-- Reads what transitions need of a job, and the fields that are named besides (from j[11] on); nil
-- when there is no such job.
local function load(id, ...)
  local key = root .. 'job:' .. id
  local j = redis.call('HMGET', key, 'state', 'fence', 'session', 'pool', 'priority', 'v',
    'queued_at', 'attempt_count', 'cancel_requested', 'run_by', ...)
  if not j[1] then return nil end
  j.id, j.key, j.state, j.fence, j.session, j.pool = id, key, j[1], j[2] or '0', j[3], j[4]
  j.line, j.v, j.queued_at = j[4] .. ':' .. j[5], tonumber(j[6]), j[7]
  j.attempt_count, j.cancel_requested, j.run_by = tonumber(j[8] or 0), j[9], j[10]
  return j
end

-- Tells whether a worker with this fence still owns the job.
local function owns(j, fence)
  return j and j.fence == fence
    and (j.state == 'processing' or j.state == 'generating' or j.state == 'uploading')
end

local function session_cap()
  return tonumber(redis.call('HGET', KEYS[1], 'session_cap') or SESSION_CAP)
end

-- Reads how much a pool may run and how much it does.
local function load_of(pool)
  local p = redis.call('HMGET', root .. 'pool:' .. pool, 'capacity', 'cap', 'beat', 'service_ms')
  return {
    slots = math.min(tonumber(p[1] or 0), tonumber(p[2] or math.huge)), beat = tonumber(p[3] or 0),
    service_ms = tonumber(p[4]), running = redis.call('ZCARD', root .. 'lease:' .. pool),
  }
end

-- Fills the window of a pool: as many jobs as may run now, classes by the pattern, sessions by
-- least recently served. A job in the window may always run, so no popped job is ever put back.
local function admit(pool, its)
  its = its or load_of(pool)
  local room = its.slots - its.running
  if room > 0 then room = room - redis.call('ZCARD', root .. 'out:' .. pool) end
  if room <= 0 then return end
  local cap, beat, admitted = session_cap(), its.beat, 0
  while room > 0 do
    local class, session = PATTERN[beat % #PATTERN + 1], nil
    session = redis.call('ZRANGE', root .. 'turn:' .. pool .. ':' .. class, 0, 0)[1]
    for _, other in ipairs(CLASSES) do
      if session then break end
      class = other
      session = redis.call('ZRANGE', root .. 'turn:' .. pool .. ':' .. class, 0, 0)[1]
    end
    if not session then break end
    local line, live = pool .. ':' .. class, root .. 'live:' .. session
    local wait, turn = root .. 'wait:' .. line .. ':' .. session, root .. 'turn:' .. line
    if redis.call('SCARD', live) >= cap then
      redis.call('SADD', root .. 'held:' .. session, line)
      redis.call('ZREM', turn, session)
    else
      local id = redis.call('ZRANGE', wait, 0, 0)[1]
      if id then
        redis.call('SADD', live, id)
        redis.call('ZADD', root .. 'out:' .. pool, at, id)
        redis.call('ZADD', root .. 'ready:' .. line, instant(admitted), id)
        redis.call('ZREM', wait, id)
        room, beat, admitted = room - 1, beat + 1, admitted + 1
      end
      if redis.call('EXISTS', wait) == 0 then
        redis.call('ZREM', turn, session)
      else
        redis.call('ZADD', turn, instant(admitted), session)
      end
    end
  end
  if admitted > 0 then redis.call('HSET', root .. 'pool:' .. pool, 'beat', beat % #PATTERN) end
end

-- Puts a job in its session's line, at the place its queued_at gives it.
local function enqueue(j)
  redis.call('ZADD', root .. 'queue:' .. j.line, j.queued_at, j.id)
  redis.call('ZADD', root .. 'wait:' .. j.line .. ':' .. j.session, j.queued_at, j.id)
  if redis.call('SISMEMBER', root .. 'held:' .. j.session, j.line) == 0 then
    redis.call('ZADD', root .. 'turn:' .. j.line, 'NX', instant(0), j.session)
  end
  if j.run_by then redis.call('ZADD', root .. 'deadline:' .. j.pool, j.run_by, j.id) end
end

-- Gives a session's slot back, and its lines their turn where the cap had held them.
local function free(j)
  local live, held = root .. 'live:' .. j.session, root .. 'held:' .. j.session
  redis.call('SREM', live, j.id)
  local lines = redis.call('SMEMBERS', held)
  if #lines == 0 or redis.call('SCARD', live) >= session_cap() then return end
  for _, line in ipairs(lines) do
    redis.call('ZADD', root .. 'turn:' .. line, 'NX', instant(0), j.session)
  end
  redis.call('DEL', held)
  for _, line in ipairs(lines) do
    local pool = string.match(line, '^[^:]+')
    if pool ~= j.pool then admit(pool) end
  end
end

-- Takes a queued job out of wherever it stands: line, window or delay.
local function withdraw(j)
  redis.call('ZREM', root .. 'queue:' .. j.line, j.id)
  if j.run_by then redis.call('ZREM', root .. 'deadline:' .. j.pool, j.id) end
  local wait = root .. 'wait:' .. j.line .. ':' .. j.session
  if redis.call('ZREM', wait, j.id) == 1 then
    if redis.call('EXISTS', wait) == 0 then
      redis.call('ZREM', root .. 'turn:' .. j.line, j.session)
      redis.call('SREM', root .. 'held:' .. j.session, j.line)
    end
  elseif redis.call('ZREM', root .. 'out:' .. j.pool, j.id) == 1 then
    redis.call('ZREM', root .. 'ready:' .. j.line, j.id)
    free(j)
  else
    redis.call('ZREM', root .. 'delayed:' .. j.pool, j.id)
  end
end

-- Ends a running attempt's lease and gives its slot back.
local function leave(j)
  redis.call('ZREM', root .. 'lease:' .. j.pool, j.id)
  free(j)
end

-- Counts jobs ahead of a queued one: those before it in its class and all of higher classes.
local function ahead_of(j)
  local ahead = redis.call('ZRANK', root .. 'queue:' .. j.line, j.id)
  if not ahead then return nil end
  for _, class in ipairs(CLASSES) do
    local line = j.pool .. ':' .. class
    if line == j.line then return ahead end
    ahead = ahead + redis.call('ZCARD', root .. 'queue:' .. line)
  end
end

-- Estimates the wait behind `ahead` jobs, as JSON text; null while nobody could run it.
local function wait_json(its, ahead)
  if its.slots <= 0 or not ahead then return 'null' end
  local before = ahead + its.running - its.slots + 1
  if before <= 0 then return '0' end
  if not its.service_ms then return 'null' end
  return string.format('%.0f', before * its.service_ms / its.slots)
end

-- Estimates by the pool's recent pace when a place comes free, as text: in its queue, or where a
-- session is full, by the end of its oldest job. '' while nothing runs or nothing is known.
local function room_ms(pool, oldest)
  local its = load_of(pool)
  if its.slots <= 0 or not its.service_ms then return '' end
  local pace_ms, j = its.service_ms / its.slots, oldest and load(oldest)
  if not j then return string.format('%.0f', pace_ms) end
  return string.format('%.0f', (ahead_of(j) or 0) * pace_ms + its.service_ms)
end

-- Body of a queued event: why, where in the queue, and how long.
local function queued_json(j, reason, more)
  local ahead = ahead_of(j)
  return '{"reason":"' .. reason .. '","position":' .. (ahead or 'null')
    .. ',"estimated_wait_ms":' .. wait_json(load_of(j.pool), ahead) .. (more or '') .. '}'
end

-- Sends a running job back to its old place in the queue without burning its attempt.
local function hand_back(j, reason)
  j.v, j.state = j.v + 1, 'queued'
  enqueue(j)
  redis.call('HSET', j.key, 'state', 'queued', 'v', j.v, 'updated_at', at,
    'attempt_count', math.max(j.attempt_count - 1, 0))
  redis.call('HDEL', j.key, 'locked_by', 'locked_at', 'progress', 'preview', 'artifacts')
  leave(j)
  emit(j, 'queued', queued_json(j, reason))
  admit(j.pool)
end

-- Ends a job whose places in queue or lease the caller has already cleared.
local function finish(j, state, retention_ms, kind, body)
  j.v, j.state = j.v + 1, state
  redis.call('HSET', j.key, 'state', state, 'v', j.v, 'updated_at', at, 'finished_at', at,
    'expires_at', now + retention_ms)
  redis.call('HDEL', j.key, 'locked_by', 'locked_at', 'progress', 'preview', 'retry_at',
    'cancel_requested')
  redis.call('PEXPIRE', j.key, retention_ms)
  redis.call('ZREM', root .. 'active:' .. j.session, j.id)
  emit(j, kind, body)
  admit(j.pool)
end

-- Keeps the newest frame of a session's model, for as long as the job it belongs to is kept.
local function remember(session, model, url, retention_ms)
  local last = root .. 'last:' .. session
  redis.call('HSET', last, model, string.format('%.0f ', now + retention_ms) .. url)
  redis.call('PEXPIRE', last, retention_ms)
end

-- The picture to show where there is no frame, as kind and URL: the last frame of the same session
-- and model while it can be fetched, else the one that ships. A catalogue would be asked between.
local function fallback_of(session, model)
  local last = redis.call('HGET', root .. 'last:' .. session, model)
  local expires_at, url = string.match(last or '', '^(%d+) (%S+)$')
  if url and tonumber(expires_at) - now >= FALLBACK_MS_MIN then return 'session', url end
  return 'static', SHIPPED_URL
end

-- The same as a member of an event that ends a job; null where the job has frames of its own.
local function fallback_json(j)
  local its = redis.call('HMGET', j.key, 'model', 'artifacts')
  if its[2] then return ',"fallback":null' end
  local kind, url = fallback_of(j.session, its[1])
  return ',"fallback":{"url":"' .. url .. '","kind":"' .. kind .. '"}'
end

-- Ends a job as failed, with the stage it failed in, and keeps it for the operator.
local function finish_failed(j, retention_ms, dead_max, code, message, detail)
  local stage = j.state
  local retryable = code ~= 'PERMANENT' and code ~= 'AUTH_ERROR'
  redis.call('HSET', j.key, 'failure_stage', stage, 'error_code', code, 'error_message', message,
    'error_detail', detail)
  redis.call('ZADD', root .. 'dead', at, j.id)
  redis.call('ZREMRANGEBYRANK', root .. 'dead', 0, -dead_max - 1)
  redis.call('ZREMRANGEBYSCORE', root .. 'dead', '-inf', now - retention_ms)
  finish(j, 'failed', retention_ms, 'failed', '{"error":{"code":"' .. code .. '","message":'
    .. cjson.encode(message) .. ',"failure_stage":"' .. stage .. '","retryable":'
    .. tostring(retryable) .. '}' .. fallback_json(j) .. '}')
end

local function finish_cancelled(j, retention_ms, by)
  finish(j, 'cancelled', retention_ms, 'cancelled',
    '{"by":' .. cjson.encode(by) .. fallback_json(j) .. '}')
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

-- Reads a job whole, with its place in the queue and, while it has no frame, what to show instead;
-- nil when there is none.
local function row(id)
  local fields = redis.call('HGETALL', root .. 'job:' .. id)
  if #fields == 0 then return nil end
  local j, kind, url = load(id, 'model', 'artifacts'), '', ''
  if not j[12] then kind, url = fallback_of(j.session, j[11]) end
  local ahead = j.state == 'queued' and ahead_of(j) or nil
  table.insert(fields, 1, ahead or '')
  table.insert(fields, 2, ahead and wait_json(load_of(j.pool), ahead) or 'null')
  table.insert(fields, 3, kind)
  table.insert(fields, 4, url)
  return fields
end

-- Reads a session's position, and makes one where there is none: position 0 has a nonce too,
-- because a bare 0 would match any later numbering.
local function position_of(session)
  local stream, head = root .. 'stream:' .. session, root .. 'streamhead:' .. session
  local at = redis.call('HMGET', head, 'n', 'u')
  if not at[1] then
    at = {'0', nonce}
    redis.call('HSET', head, 'n', 0, 'u', nonce)
    redis.call('DEL', stream)
  end
  redis.call('EXPIRE', head, STREAMHEAD_S)
  return at[1], at[2]
end
