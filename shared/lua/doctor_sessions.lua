-- Reads the lines, the cap and the newest event of sessions, each session's in one step.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pools (with spaces between), then session ids
-- Returns caps of tenants' sessions and how many are counted ('' = none), then per session a list:
--         session id, its cap, jobs admitted or running, 1 if it is among the paused, place of the
--         newest event by its head, the same by the stream ('' = none is kept), models (a line each)
--         whose last frame is of no completed job, then for each line with anything in it: line,
--         jobs waiting, 1 if it has its turn, 1 if held
-- Emits   nothing
local pools = ARGV[2]

-- A key of a wrong type holds nothing here; the doctor tells of it elsewhere.
local function ask(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then return nil end
  return answer
end

local caps, overrides = session_caps(), 0
for _, name in ipairs(ask('HKEYS', KEYS[1]) or {}) do
  if string.match(name, '^session_cap:') then overrides = overrides + 1 end
end

-- A last frame is told of until it expires; until then its job must be there, or nobody may fetch it.
local function astray(session)
  local models, its = {}, ask('HGETALL', root .. 'last:' .. session) or {}
  for i = 1, #its, 2 do
    local expires_at, job = string.match(its[i + 1], '^(%d+) .*/(job_[%w_]+)%-%S+$')
    local f = job and ask('HMGET', root .. 'job:' .. job, 'state', 'session', 'model') or {}
    local good = f[1] == 'completed' and f[2] == session and f[3] == its[i]
    if not good and tonumber(expires_at or math.huge) > now then models[#models + 1] = its[i] end
  end
  return table.concat(models, '\n')
end

local replies = {{overrides, caps.overridden or ''}}
for i = 3, #ARGV do
  local session = ARGV[i]
  local head = ask('HMGET', root .. 'streamhead:' .. session, 'n', 'u') or {}
  local newest = ask('LINDEX', root .. 'stream:' .. session, -1)
  local reply = {session, cap_of(caps, session), ask('SCARD', root .. 'live:' .. session) or 0,
    ask('SISMEMBER', root .. 'paused', session) or 0,
    head[1] and head[2] and head[1] .. '-' .. head[2] or '',
    newest and string.match(newest, '^%S+') or '', astray(session)}
  for pool in string.gmatch(pools, '%S+') do
    for _, class in ipairs(CLASSES) do
      local line = pool .. ':' .. class
      local waiting = ask('ZCARD', root .. 'wait:' .. line .. ':' .. session) or 0
      local turn = ask('ZSCORE', root .. 'turn:' .. line, session) and 1 or 0
      local held = ask('SISMEMBER', root .. 'held:' .. session, line) or 0
      if waiting + turn + held > 0 then
        for _, word in ipairs({line, waiting, turn, held}) do reply[#reply + 1] = word end
      end
    end
  end
  replies[#replies + 1] = reply
end
return replies
