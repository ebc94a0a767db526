-- Where a job stands (line, window, delay, lease), and how it comes there and away.

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

-- Takes a queued job out of wherever it stands: line, window, delay, or behind its leader.
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
  elseif redis.call('ZREM', root .. 'delayed:' .. j.pool, j.id) == 0 and j.fingerprint then
    redis.call('ZREM', root .. 'follow:' .. j.fingerprint, j.id)
  end
end

-- Ends a running attempt's lease and gives its slot back.
local function leave(j)
  redis.call('ZREM', root .. 'lease:' .. j.pool, j.id)
  free(j)
end
