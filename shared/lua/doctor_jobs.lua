-- Reads where jobs stand, each with all that must agree with it, in one step.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, then per job: job id, keys that name it (without their root, with spaces between)
-- Returns now ms, then per job a list: job id, those keys that name it and that its record does not
--         explain, state ('' = no record), session, pool, priority, lifetime ms (-1 = none),
--         created_at, queued_at, run_by, fingerprint, then '' or its score in queue, wait, ready, out, lease,
--         delayed, deadline, active, dead, follow, and '' or 1 in live
-- Emits   nothing
local ZSETS = {'queue', 'wait', 'ready', 'out', 'lease', 'delayed', 'deadline', 'active', 'dead',
               'follow'}

-- A key of a wrong type holds nothing here; the doctor tells of it elsewhere.
local function place(kind, name, id)
  local at = redis.pcall(kind == 'set' and 'SISMEMBER' or 'ZSCORE', root .. name, id)
  return (not at or at == 0 or type(at) == 'table') and '' or at
end

local replies = {now}
for i = 2, #ARGV, 2 do
  local id, named = ARGV[i], ARGV[i + 1]
  local f = redis.pcall('HMGET', root .. 'job:' .. id, 'state', 'session', 'pool', 'priority',
    'created_at', 'queued_at', 'run_by', 'fingerprint')
  if f.err then f = {} end
  for k = 1, 8 do f[k] = f[k] or '' end
  local session, pool, line = f[2], f[3], f[3] .. ':' .. f[4]
  local its = {queue = 'queue:' .. line, wait = 'wait:' .. line .. ':' .. session,
    ready = 'ready:' .. line, out = 'out:' .. pool, lease = 'lease:' .. pool,
    delayed = 'delayed:' .. pool, deadline = 'deadline:' .. pool, active = 'active:' .. session,
    dead = 'dead', follow = 'follow:' .. f[8], live = 'live:' .. session}

  local explained, strange = {}, {}
  if f[1] ~= '' then for _, name in pairs(its) do explained[name] = true end end
  for name in string.gmatch(named, '%S+') do
    local kind = string.sub(name, 1, 5) == 'live:' and 'set' or 'zset'
    if not explained[name] and place(kind, name, id) ~= '' then strange[#strange + 1] = name end
  end

  local reply = {id, table.concat(strange, ' '), f[1], session, pool, f[4],
    redis.call('PTTL', root .. 'job:' .. id), f[5], f[6], f[7], f[8]}
  for _, word in ipairs(ZSETS) do reply[#reply + 1] = place('zset', its[word], id) end
  reply[#reply + 1] = place('set', its.live, id)
  replies[#replies + 1] = reply
end
return replies
