-- Reads who leads and who follows, for each fingerprint in one step.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, then fingerprints
-- Returns now ms, then per fingerprint a list: it, its leader ('' = none), the leader's state ('' =
--         no record), lifetime of that name ms (-1 = none, -2 = no name), followers, when they are to
--         be handed out ('' = not at all)
-- Emits   nothing

-- A key of a wrong type holds nothing here; the doctor tells of it elsewhere.
local function ask(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then return nil end
  return answer
end

local replies = {now}
for i = 2, #ARGV do
  local key = root .. 'leader:' .. ARGV[i]
  local leader = ask('GET', key) or ''
  replies[i] = {ARGV[i], leader, ask('HGET', root .. 'job:' .. leader, 'state') or '',
    redis.call('PTTL', key), ask('ZCARD', root .. 'follow:' .. ARGV[i]) or 0,
    ask('ZSCORE', root .. 'landed', ARGV[i]) or ''}
end
return replies
