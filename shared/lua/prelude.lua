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
-- Trimmed a few at a time, and kept longer once a minute: each would cost more than the event.
local STREAM_EVENTS_SLACK = 32
local STREAM_S = 900 + 60
local STREAMHEAD_S = 604800 + 60

local SESSION_CAP = 2

-- Completes an event's JSON: the five members all have, then those of `body` (an object's text).
local function event_json(j, body)
  local common = '{"job":"' .. j.id .. '","v":' .. j.v .. ',"status":"' .. j.state .. '","at":' .. now
  if body == '{}' then return common .. '}' end
  return common .. ',' .. string.sub(body, 2)
end

-- Events that the next emit tells first.
local said = {}

-- Says a durable event; the next emit of this script, for the same session, tells it.
local function say(j, kind, body)
  said[#said + 1] = kind .. ' ' .. j.id .. '\n' .. event_json(j, body)
end

-- Appends this event, behind those that were said, to the session's stream; publishes the same texts.
local function emit(j, kind, body)
  local stream, head = root .. 'stream:' .. j.session, root .. 'streamhead:' .. j.session
  local last = redis.call('HMGET', head, 'n', 'u', 'kept')
  local n, before, minute = tonumber(last[1] or 0), last[2] or '-', tostring(math.floor(now / 60000))
  if n == 0 then redis.call('DEL', stream) end
  say(j, kind, body)
  for i, event in ipairs(said) do
    n = n + 1
    said[i] = n .. '-' .. nonce .. ' ' .. before .. ' ' .. event
    before = nonce
  end
  local length = redis.call('RPUSH', stream, unpack(said))
  if length > STREAM_EVENTS_MAX + STREAM_EVENTS_SLACK then
    redis.call('LTRIM', stream, -STREAM_EVENTS_MAX, -1)
  end
  if last[3] == minute and length > #said then
    redis.call('HSET', head, 'n', n, 'u', nonce)
  else
    redis.call('HSET', head, 'n', n, 'u', nonce, 'kept', minute)
    redis.call('EXPIRE', head, STREAMHEAD_S)
    redis.call('EXPIRE', stream, STREAM_S)
  end
  for _, event in ipairs(said) do
    redis.call('PUBLISH', stream, event) --@publish
  end
  said = {}
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

-- Reads the caps of sessions: that of all, and whether any tenant's sessions have another.
local function session_caps()
  local c = redis.call('HMGET', KEYS[1], 'session_cap', 'session_cap_default', 'overrides')
  return {all = tonumber(c[1] or c[2] or SESSION_CAP), overridden = c[3]}
end

local function tenant_of(session)
  return redis.call('HGET', root .. 'session:' .. session, 'tenant') or 'public'
end

-- Gives the cap of one session; asks for nothing while no tenant has a cap of its own.
local function cap_of(caps, session)
  if not caps.overridden then return caps.all end
  return tonumber(redis.call('HGET', KEYS[1], 'session_cap:' .. tenant_of(session)) or caps.all)
end

-- Reads how much a pool may run and how much it does.
local function load_of(pool)
  local p = redis.call('HMGET', root .. 'pool:' .. pool, 'capacity', 'cap', 'beat', 'service_ms',
    'service_var', 'margin_high', 'margin_normal', 'margin_low', 'cap_default')
  local cap = tonumber(p[2] or p[9] or math.huge)
  return {
    slots = math.min(tonumber(p[1] or 0), cap), beat = tonumber(p[3] or 0),
    running = redis.call('ZCARD', root .. 'lease:' .. pool),
    service_ms = tonumber(p[4]), service_var = tonumber(p[5]),
    margin = {high = tonumber(p[6]), normal = tonumber(p[7]), low = tonumber(p[8])},
  }
end

-- Fills the window of a pool: as many jobs as may run now, classes by the pattern, sessions by
-- least recently served. A job in the window may always run, so no popped job is ever put back.
local function admit(pool, its)
  its = its or load_of(pool)
  local room = its.slots - its.running
  if room > 0 then room = room - redis.call('ZCARD', root .. 'out:' .. pool) end
  if room <= 0 then return end
  local caps, beat, admitted = session_caps(), its.beat, 0
  local turn = root .. 'turn:' .. pool .. ':'
  while room > 0 do
    -- A turn is taken before it is given back; nothing can fail in between.
    local taken = redis.call('ZMPOP', 4, turn .. PATTERN[beat % #PATTERN + 1],
      turn .. 'high', turn .. 'normal', turn .. 'low', 'MIN')
    if not taken then break end
    local line, session = string.sub(taken[1], #root + 6), taken[2][1][1]
    local live, cap = root .. 'live:' .. session, cap_of(caps, session)
    if redis.call('SCARD', live) >= cap then
      redis.call('SADD', root .. 'held:' .. session, line)
      if cap == 0 then redis.call('SADD', root .. 'paused', session) end
    else
      local wait = root .. 'wait:' .. line .. ':' .. session
      local first = redis.call('ZRANGE', wait, 0, 1)
      if first[1] then
        redis.call('SADD', live, first[1])
        redis.call('ZADD', root .. 'out:' .. pool, at, first[1])
        redis.call('ZADD', root .. 'ready:' .. line, instant(admitted), first[1])
        redis.call('ZREM', wait, first[1])
        room, beat, admitted = room - 1, beat + 1, admitted + 1
      end
      if first[2] then redis.call('ZADD', taken[1], instant(admitted), session) end
    end
  end
  if admitted > 0 then redis.call('HSET', root .. 'pool:' .. pool, 'beat', beat % #PATTERN) end
end

-- Puts a job in its session's line, at the place its queued_at gives it.
local function enqueue(j)
  local wait = root .. 'wait:' .. j.line .. ':' .. j.session
  redis.call('ZADD', root .. 'queue:' .. j.line, j.queued_at, j.id)
  redis.call('ZADD', wait, j.queued_at, j.id)
  -- Others of the line have brought its turn already, or the cap holds it.
  if redis.call('ZCARD', wait) == 1
    and redis.call('SISMEMBER', root .. 'held:' .. j.session, j.line) == 0 then
    redis.call('ZADD', root .. 'turn:' .. j.line, 'NX', instant(0), j.session)
  end
  if j.run_by then redis.call('ZADD', root .. 'deadline:' .. j.pool, j.run_by, j.id) end
end

-- Gives a session's lines their turn where its cap had held them and does so no more; gives them.
local function wake(session, caps)
  local held = root .. 'held:' .. session
  local lines = redis.call('SMEMBERS', held)
  if #lines == 0 then return lines end
  local cap = cap_of(caps or session_caps(), session)
  if redis.call('SCARD', root .. 'live:' .. session) >= cap then
    -- No end of a job will wake it; a change of the cap looks here.
    if cap == 0 then redis.call('SADD', root .. 'paused', session) end
    return {}
  end
  for _, line in ipairs(lines) do
    redis.call('ZADD', root .. 'turn:' .. line, 'NX', instant(0), session)
  end
  redis.call('DEL', held)
  return lines
end

-- Gives a session's slot back, and its lines their turn where the cap had held them.
local function free(j)
  redis.call('SREM', root .. 'live:' .. j.session, j.id)
  for _, line in ipairs(wake(j.session)) do
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

-- Counts jobs ahead of a queued one: those before it in its class and all of higher classes; and
-- the former alone. nil when it stands in no line.
local function ahead_of(j)
  local rank = redis.call('ZRANK', root .. 'queue:' .. j.line, j.id)
  if not rank then return nil end
  local higher = 0
  for _, class in ipairs(CLASSES) do
    local line = j.pool .. ':' .. class
    if line == j.line then return higher + rank, rank end
    higher = higher + redis.call('ZCARD', root .. 'queue:' .. line)
  end
end

-- How far beyond the mean nine of ten fall, in standard deviations.
local NINE_OF_TEN = 1.28

-- States within which time a queued job is done in nine cases of ten, as JSON text; null while
-- nobody could run it or none has been measured. `own`: unfinished jobs of its session before it.
local function wait_json(its, j, ahead, rank, own)
  if its.slots <= 0 or not its.service_ms then return 'null' end
  -- Sessions take turns: of those before it in its class only so many have theirs first.
  local before = ahead
  if rank > own + 1 then
    local sessions = redis.call('ZCARD', root .. 'turn:' .. j.line) + 1
    before = ahead - rank + math.min(rank, (own + 1) * sessions)
  end
  local rounds = math.max((before + its.running - its.slots + 1) / its.slots, 0)
  if own > 0 then
    local cap = math.max(math.min(cap_of(session_caps(), j.session), its.slots), 1)
    rounds = math.max(rounds, (own - cap + 1) / cap)
  end
  local spread_ms = math.sqrt((its.service_var or 0) * (rounds / its.slots + 1))
  local margin = its.margin[string.sub(j.line, #j.pool + 2)] or 1
  return string.format('%.0f',
    math.ceil(((rounds + 1) * its.service_ms + NINE_OF_TEN * spread_ms) * margin))
end

-- Tells for how long all providers of a pool are closed off; 0 if one is not, or if an operator has
-- paused the pool.
local function closed_ms_of(pool)
  local p = redis.call('HMGET', root .. 'pool:' .. pool, 'capacity', 'closed_until', 'cap', 'cap_default')
  if tonumber(p[1] or 0) > 0 or tonumber(p[3] or p[4]) == 0 then return 0 end
  return math.max(tonumber(p[2] or 0) - now, 0)
end

-- Tells a queued job's jobs ahead (nil when it stands in no line) and its wait as JSON text.
local function outlook(j, its)
  local ahead, rank = ahead_of(j)
  if not ahead then return nil, 'null' end
  local own = redis.call('ZRANK', root .. 'active:' .. j.session, j.id) or 0
  local closed_ms = its.slots > 0 and 0 or closed_ms_of(j.pool)
  -- How many slots come back nobody knows: one.
  if closed_ms > 0 then its = setmetatable({slots = 1}, {__index = its}) end
  local wait = wait_json(its, j, ahead, rank, own)
  if closed_ms == 0 or wait == 'null' then return ahead, wait end
  return ahead, string.format('%.0f', closed_ms + tonumber(wait))
end

-- What one completed job weighs in the pool's mean.
local WEIGHT = 0.05
-- Steps by which the margin grows when a stated wait was too short, and shrinks when it held: they
-- balance where nine of ten hold.
local MISSED, HELD = 1.09, 0.99

-- Learns from a completed job how long one takes, and whether what was stated held.
local function learn(j, its, took_ms, promised_at)
  local class = string.sub(j.line, #j.pool + 2)
  local mean = its.service_ms or took_ms
  local apart = took_ms - mean
  local var = its.service_var or mean * mean / 4
  its.service_ms = mean + WEIGHT * apart
  its.service_var = (1 - WEIGHT) * (var + WEIGHT * apart * apart)
  local margin = its.margin[class] or 1
  if promised_at then
    local step = now > tonumber(promised_at) and MISSED or HELD
    margin = math.min(math.max(margin * step, 0.5), 20)
  end
  redis.call('HSET', root .. 'pool:' .. j.pool, 'service_ms', string.format('%.1f', its.service_ms),
    'service_var', string.format('%.1f', its.service_var),
    'margin_' .. class, string.format('%.4f', margin))
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
  local ahead, wait = outlook(j, load_of(j.pool))
  return '{"reason":"' .. reason .. '","position":' .. (ahead or 'null')
    .. ',"estimated_wait_ms":' .. wait .. (more or '') .. '}'
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
  admit(j.pool, its)
end

-- Keeps the newest frame of a session's model, for as long as the job it belongs to is kept.
local function remember(session, model, url, retention_ms)
  local last = root .. 'last:' .. session
  redis.call('HSET', last, model, string.format('%.0f ', now + retention_ms) .. url)
  redis.call('PEXPIRE', last, retention_ms)
end

-- The picture that ships, as domain/fallback.rs has it.
local SHIPPED_URL = '/v1/fallback.webp'
-- Whoever is told of a last frame has this long to fetch it: as long as an idle stream keeps the
-- event that tells of it.
local FALLBACK_MS_MIN = STREAM_S * 1000

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
  redis.call('ZADD', root .. 'dead', at, j.id)
  redis.call('ZREMRANGEBYRANK', root .. 'dead', 0, -dead_max - 1)
  redis.call('ZREMRANGEBYSCORE', root .. 'dead', '-inf', now - retention_ms)
  finish(j, 'failed', retention_ms, 'failed', '{"error":{"code":"' .. code .. '","message":'
    .. cjson.encode(message) .. ',"failure_stage":"' .. stage .. '","retryable":'
    .. tostring(retryable) .. '}' .. fallback_json(j) .. '}', nil, 'failure_stage', stage,
    'error_code', code, 'error_message', message, 'error_detail', detail)
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

-- Reads a job whole, with its place in the queue and, while it has no frame, what to show instead;
-- nil when there is none.
local function row(id)
  local fields = redis.call('HGETALL', root .. 'job:' .. id)
  if #fields == 0 then return nil end
  local j, ahead, wait, kind, url = load(id, 'model', 'artifacts'), nil, 'null', '', ''
  if j.state == 'queued' then ahead, wait = outlook(j, load_of(j.pool)) end
  if not j[12] then kind, url = fallback_of(j.session, j[11]) end
  for i, word in ipairs({ahead or '', wait, kind, url, 'id', id}) do
    table.insert(fields, i, word)
  end
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
