-- Mends what time and death have broken in one pool. Any number of workers may call it.
-- Transition: running → queued | failed | cancelled (lease passed), queued → failed (too late)
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pool, 3 throttle ms ('' = sweep now, all of it), 4 grace ms before a popped job
--         is offered again, 5 jobs per kind, 6 losses that end a job, 7 retention ms, 8 dead letters kept
-- Returns {"swept", due, lapsed, expired, offered again, workers gone, then per job that failed for
--         good: its id, "workers_lost" or "not_started"}   {"throttled"}
-- Emits   queued {reason: lease_lapsed} | failed {error, fallback} | cancelled {by, fallback}
local pool, throttle_ms, grace_ms, limit = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local losses_max, retention_ms, dead_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

-- Nobody has swept for a while: Redis or everybody was away, and holders of leases could not renew
-- them either. They get a moment to do so before anything of theirs is called lost.
local OUTAGE_MS, RENEWAL_MS = 3000, 2500
local lapsing = true
if throttle_ms ~= '' then
  if not redis.call('SET', root .. 'sweep:' .. pool, now, 'PX', throttle_ms, 'NX') then
    return {'throttled'}
  end
  local p = redis.call('HMGET', root .. 'pool:' .. pool, 'swept_at', 'lapse_from')
  local lapse_from = tonumber(p[2] or 0)
  if now - tonumber(p[1] or 0) > OUTAGE_MS then lapse_from = now + RENEWAL_MS end
  redis.call('HSET', root .. 'pool:' .. pool, 'swept_at', now, 'lapse_from', lapse_from)
  lapsing = now >= lapse_from
end
local function due(key, before)
  return redis.call('ZRANGEBYSCORE', root .. key .. ':' .. pool, '-inf', before, 'LIMIT', 0, limit)
end

-- Workers that have not been heard of hold no capacity.
local gone = redis.call('ZRANGEBYSCORE', root .. 'workers:' .. pool, '-inf', now)
if #gone > 0 then
  redis.call('ZREM', root .. 'workers:' .. pool, unpack(gone))
  redis.call('HDEL', root .. 'slots:' .. pool, unpack(gone))
  local capacity = 0
  for _, slots in ipairs(redis.call('HVALS', root .. 'slots:' .. pool)) do
    capacity = capacity + tonumber(slots)
  end
  redis.call('HSET', root .. 'pool:' .. pool, 'capacity', capacity)
end

-- A lease that passed: its worker is dead or cut off. That is a loss, not an attempt; but a job
-- that takes its workers with it must end.
local lapsed = lapsing and due('lease', now) or {}
local dead = {}
for _, id in ipairs(lapsed) do
  local j = load(id)
  if not j then
    redis.call('ZREM', root .. 'lease:' .. pool, id)
  elseif j.cancel_requested then
    leave(j)
    finish_cancelled(j, retention_ms, j.cancel_requested)
  elseif redis.call('HINCRBY', j.key, 'losses', 1) >= losses_max then
    leave(j)
    finish_failed(j, retention_ms, dead_max, 'PERMANENT', 'the job was given up because '
      .. losses_max .. ' workers in a row were lost while working on it', '')
    dead[#dead + 1], dead[#dead + 2] = id, 'workers_lost'
  else
    hand_back(j, 'lease_lapsed')
  end
end

-- Nobody started it in time.
local late = due('deadline', now)
for _, id in ipairs(late) do
  local j = load(id)
  if j and j.state == 'queued' then
    withdraw(j)
    finish_failed(j, retention_ms, dead_max, 'TIMEOUT', 'no worker was free before its deadline', '')
    dead[#dead + 1], dead[#dead + 2] = id, 'not_started'
  else
    redis.call('ZREM', root .. 'deadline:' .. pool, id)
  end
end

-- A retry whose delay is over takes its old place.
local ready = due('delayed', now)
for _, id in ipairs(ready) do
  local j = load(id)
  if j then
    enqueue(j)
    redis.call('HDEL', j.key, 'retry_at')
  end
  redis.call('ZREM', root .. 'delayed:' .. pool, id)
end

-- Admitted, popped, and never claimed: the popper died in between. Offering it again is harmless
-- even if the popper is only slow, because just one claim can win.
local offered = 0
local windows = {}
for i, class in ipairs(CLASSES) do windows[i] = root .. 'ready:' .. pool .. ':' .. class end
for _, id in ipairs(redis.call('ZDIFF', 4, root .. 'out:' .. pool, unpack(windows))) do
  local admitted_at = tonumber(redis.call('ZSCORE', root .. 'out:' .. pool, id))
  local j = load(id)
  if not j then
    redis.call('ZREM', root .. 'out:' .. pool, id)
  elseif admitted_at <= now - grace_ms then
    redis.call('ZADD', root .. 'ready:' .. j.line, at, id)
    redis.call('ZADD', root .. 'out:' .. pool, at, id)
    offered = offered + 1
  end
end

admit(pool)
return {'swept', #ready, #lapsed, #late, offered, #gone, unpack(dead)}
