-- How long it takes: what is stated to users, and what is learnt from how it turned out.

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
  -- How many slots come back when no provider is closed off any more nobody knows: one.
  local slots = its.closed_ms > 0 and 1 or its.slots
  if slots <= 0 or not its.service_ms then return 'null' end
  -- Sessions take turns: of those before it in its class only so many have theirs first.
  local before = ahead
  if rank > own + 1 then
    local sessions = redis.call('ZCARD', root .. 'turn:' .. j.line) + 1
    before = ahead - rank + math.min(rank, (own + 1) * sessions)
  end
  local rounds = math.max((before + its.running - slots + 1) / slots, 0)
  if own > 0 then
    local cap = math.max(math.min(cap_of(session_caps(), j.session), slots), 1)
    rounds = math.max(rounds, (own - cap + 1) / cap)
  end
  local spread_ms = math.sqrt((its.service_var or 0) * (rounds / slots + 1))
  local margin = its.margin[string.sub(j.line, #j.pool + 2)] or 1
  return string.format('%.0f', its.closed_ms
    + math.ceil(((rounds + 1) * its.service_ms + NINE_OF_TEN * spread_ms) * margin))
end

-- Tells a queued job's jobs ahead (nil when it stands in no line) and its wait as JSON text; of one
-- that follows another, the leader's.
local function outlook(j, its)
  local ahead, rank = ahead_of(j)
  if ahead then
    local own = redis.call('ZRANK', root .. 'active:' .. j.session, j.id) or 0
    return ahead, wait_json(its, j, ahead, rank, own)
  end
  local follow = j.fingerprint and root .. 'follow:' .. j.fingerprint
  local follows = follow and redis.call('ZSCORE', follow, j.id)
  local leader = follows and load(redis.call('GET', root .. 'leader:' .. j.fingerprint) or '')
  if not leader then return nil, 'null' end
  if leader.state == 'queued' then return outlook(leader, its) end
  if leader.state == 'completed' then return 0, '0' end
  -- It has its slot: what is left is the job alone.
  return 0, wait_json(its, leader, its.slots - its.running - 1, 0, 0)
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
