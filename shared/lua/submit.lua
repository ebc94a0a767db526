-- Accepts a job, once per job id and once per idempotency key, under the depth limits.
-- Transition: none → queued
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 session id, 4 pool, 5 model, 6 priority, 7 input JSON,
--         8 metadata JSON ('' = none), 9 attempt_limit, 10 start_within ms ('' = none), 11 idempotency key
--         ('' = none), 12 digest of the request, 13 lifetime of the key ms,
--         14 queue_max jobs per pool, 15 session_max unfinished jobs per session,
--         16 jobs_max listed per session, 17 lifetime of the list s,
--         18 tenant ('' = the public), 19 '1' if the model publishes ('' = it does not),
--         20 fingerprint ('' = it shares with nobody), 21 shelf it goes on (a digest; none = none),
--         22 jobs put there before, 23 the shelf's lifetime ms
-- Returns {"accepted", created_at ms, jobs ahead, estimated wait ms (null = unknown), fallback…}
--         {"hit", its fence, leader, JSON of the leader's frames}   accepted, to be fulfilled at once
--         {"replayed", job id}     same key, same request
--         {"shelf_moved"}          another job was put there since
--         {"key_reused", job id, fallback…}   same key, another request
--         {"session_full", unfinished, room in ms ('' = nobody can tell), fallback…}
--         {"queue_full", depth, room in ms, fallback…}; a fallback is its kind and its URL
-- Emits   queued {reason: submitted}
local id, session, pool, model, priority = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local key, digest, shared = ARGV[11], ARGV[12], ARGV[19] == '1'
local fingerprint = ARGV[20] ~= '' and ARGV[20]
local active, jobs = root .. 'active:' .. session, root .. 'jobs:' .. session

-- The reply of the first call may have got lost: the same id is the same call, so it is answered as
-- the first time and writes nothing.
local known = sent_again and load(id, 'created_at')
if known and known.session == session then
  local ahead, wait = outlook(known, load_of(pool))
  return {'accepted', known[11], ahead or 0, wait, fallback_of(session, model, shared)}
end

if key ~= '' then
  local seen = redis.call('GET', root .. 'idem:' .. session .. ':' .. key)
  if seen then
    local first, its_digest = string.match(seen, '^(%S+) (%S+)$')
    if its_digest == digest then return {'replayed', first} end
    return {'key_reused', first, fallback_of(session, model, shared)}
  end
end

local shelf = ARGV[21] and root .. 'shelf:' .. session .. ':' .. ARGV[21]
if shelf and (redis.call('HGET', shelf, 'made') or '0') ~= ARGV[22] then return {'shelf_moved'} end

local unfinished = redis.call('ZCARD', active)
if unfinished >= tonumber(ARGV[15]) then
  local oldest = redis.call('ZRANGE', active, 0, 0)[1]
  return {'session_full', unfinished, room_ms(pool, oldest), fallback_of(session, model, shared)}
end
-- The newest stands behind all of its own class and of the higher ones.
local depth, ahead, rank = 0, 0, 0
for _, class in ipairs(CLASSES) do
  local waiting = redis.call('ZCARD', root .. 'queue:' .. pool .. ':' .. class)
  depth = depth + waiting
  if class == priority then ahead, rank = depth, waiting end
end
-- Whoever can follow takes no place in the queue.
local follows = fingerprint and leader_of(fingerprint) and room_behind(fingerprint)
if depth >= tonumber(ARGV[14]) and not follows then
  return {'queue_full', depth, room_ms(pool), fallback_of(session, model, shared)}
end

local run_by = ARGV[10] ~= '' and string.format('%.0f', now + tonumber(ARGV[10])) or nil
local j = {id = id, key = root .. 'job:' .. id, session = session, pool = pool, v = 1,
           line = pool .. ':' .. priority, state = 'queued', queued_at = at, run_by = run_by,
           fingerprint = fingerprint}

local its, wait, drawn_by = load_of(pool), nil, nil
if fingerprint then follows, drawn_by = join(j, LANDING_MS) end
if follows then
  ahead, wait = outlook(j, its)
else
  wait = wait_json(its, j, ahead, rank, unfinished)
end

-- What is left out is zero, the public's or nothing; whoever first counts writes a count.
local fields = {'session', session, 'pool', pool, 'model', model, 'priority', priority,
  'state', 'queued', 'v', '1', 'input', ARGV[7], 'attempt_limit', ARGV[9],
  'created_at', at, 'queued_at', at}
for name, value in pairs({metadata = ARGV[8], tenant = ARGV[18], catalogue = ARGV[19], idempotency_key = key,
  run_by = run_by, fingerprint = fingerprint or nil, fence = drawn_by and '1' or nil,
  promised_at = wait ~= 'null' and not follows and now + tonumber(wait) or nil}) do
  if value ~= '' then fields[#fields + 1], fields[#fields + 2] = name, value end
end
redis.call('HSET', j.key, unpack(fields))
if key ~= '' then
  redis.call('SET', root .. 'idem:' .. session .. ':' .. key, id .. ' ' .. digest, 'PX', ARGV[13])
end
if shelf then
  redis.call('HSET', shelf, 'made', string.format('%.0f', ARGV[22] + 1), id, ARGV[22])
  redis.call('PEXPIRE', shelf, ARGV[23])
end
redis.call('ZADD', active, at, id)
local listed = redis.call('LPUSH', jobs, id)
if listed > tonumber(ARGV[16]) then redis.call('RPOP', jobs) end
if unfinished == 0 then redis.call('EXPIRE', jobs, ARGV[17]) end
if not follows then enqueue(j) end

emit(j, 'queued', '{"reason":"submitted","position":' .. (ahead or 'null')
  .. ',"estimated_wait_ms":' .. wait .. '}')
admit(pool, its)
if drawn_by then
  return {'hit', '1', drawn_by, redis.call('HGET', root .. 'job:' .. drawn_by, 'artifacts')}
end

-- Where none of the session's jobs has ended it has no last frame to ask for.
local kind, url = 'static', SHIPPED_URL
if shared or listed > unfinished + 1 then kind, url = fallback_of(session, model, shared) end
return {'accepted', at, ahead or 0, wait, kind, url}
