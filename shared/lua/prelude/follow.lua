-- Jobs that ask for the very same: one leads (it draws, or has drawn), the others follow it.
--
-- A follower stands in no line and holds no slot. What the leader has drawn is copied for each by
-- whoever they are handed to (land.lua); where it ends without, the oldest of them leads.

-- How many may follow one leader; more draw for themselves.
local FOLLOWERS_MAX = 1000

-- Whoever was handed followers has this long before the sweep hands them to somebody else.
local LANDING_MS = 3000

-- Finds the leader of a fingerprint, and whether it has drawn; nil where nobody leads.
local function leader_of(fingerprint)
  local id = redis.call('GET', root .. 'leader:' .. fingerprint)
  local state = id and redis.call('HGET', root .. 'job:' .. id, 'state')
  if not state or state == 'failed' or state == 'cancelled' then return nil end
  return id, state == 'completed'
end

-- Tells whether one more may follow.
local function room_behind(fingerprint)
  return redis.call('ZCARD', root .. 'follow:' .. fingerprint) < FOLLOWERS_MAX
end

-- Tells whether a newcomer would run at once.
local function has_slot(j)
  local its, live = load_of(j.pool), redis.call('SCARD', root .. 'live:' .. j.session)
  return its.slots - its.running > redis.call('ZCARD', root .. 'out:' .. j.pool)
    and live < cap_of(session_caps(), j.session)
end

-- Tells whether a leader that waits in its line, or for its retry, would be served after a newcomer:
-- asking for what another has asked for before must make nobody wait longer.
local function gives_way(leader, j)
  if redis.call('ZSCORE', root .. 'delayed:' .. leader.pool, leader.id) then return has_slot(j) end
  local line, its = leader.line, ':' .. leader.session
  local rank = redis.call('ZRANK', root .. 'wait:' .. line .. its, leader.id)
  if not rank then return false end
  for _, class in ipairs(line ~= j.line and CLASSES or {}) do
    if line == j.pool .. ':' .. class then return false end
    if j.line == j.pool .. ':' .. class then return true end
  end
  if rank > redis.call('ZCARD', root .. 'wait:' .. line .. ':' .. j.session) then return true end
  return leader.session ~= j.session
    and redis.call('SISMEMBER', root .. 'held' .. its, line) == 1
end

-- Puts a job behind the leader of its fingerprint.
local function fall_in(j)
  redis.call('ZADD', root .. 'follow:' .. j.fingerprint, j.queued_at, j.id)
  if j.run_by then redis.call('ZADD', root .. 'deadline:' .. j.pool, j.run_by, j.id) end
end

-- Has a job follow the one that draws the same or has drawn it, and tells whether it does, and who
-- has drawn. Where nobody leads it does; where too many follow it stands alone: in both cases its
-- place is in its line. `land_ms`: when those that a completed leader's frames are for are due.
local function join(j, land_ms)
  local id, drawn = leader_of(j.fingerprint)
  if id and not room_behind(j.fingerprint) then return false end
  local leader = id and not drawn and load(id)
  local leads = not id or leader and gives_way(leader, j)
  if leads then redis.call('SET', root .. 'leader:' .. j.fingerprint, j.id) end
  if leads and leader then
    withdraw(leader)
    redis.call('HDEL', leader.key, 'retry_at')
    fall_in(leader)
  end
  if leads then return false end
  fall_in(j)
  if drawn then redis.call('ZADD', root .. 'landed', 'NX', now + land_ms, j.fingerprint) end
  return true, drawn and id
end

-- Has the oldest follower lead, in its own line, where nobody does any more; gives it. The caller
-- admits.
local function promote(fingerprint)
  local follow, leader = root .. 'follow:' .. fingerprint, root .. 'leader:' .. fingerprint
  redis.call('ZREM', root .. 'landed', fingerprint)
  local first = redis.call('ZRANGE', follow, 0, 0)[1]
  while first do
    local j = load(first)
    if j and j.state == 'queued' then
      redis.call('SET', leader, first)
      enqueue(j)
      redis.call('ZREM', follow, first)
      return j
    end
    redis.call('ZREM', follow, first)
    first = redis.call('ZRANGE', follow, 0, 0)[1]
  end
  redis.call('DEL', leader)
end

-- Settles what follows a job that ends: they get its frames if it has drawn them all, and so does
-- who asks later; else one of them leads.
local function pass_on(j, state, retention_ms)
  local leader = root .. 'leader:' .. j.fingerprint
  if redis.call('GET', leader) ~= j.id then return end
  -- A picture that lacks frames is nobody else's answer.
  if state ~= 'completed' or redis.call('HEXISTS', j.key, 'missing') == 1 then
    promote(j.fingerprint)
    return
  end
  redis.call('PEXPIRE', leader, retention_ms)
  if redis.call('EXISTS', root .. 'follow:' .. j.fingerprint) == 1 then
    redis.call('ZADD', root .. 'landed', now + LANDING_MS, j.fingerprint)
    j.is_followed = true
  end
end
