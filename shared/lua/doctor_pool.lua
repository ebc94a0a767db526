-- Reads how a pool stands: who works, what waits, and what must agree, in one step.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pool
-- Returns now ms, workers alive, their slots, slots counted as capacity, its cap ('' = none),
--         swept_at ('' = never), jobs running, admitted, in line, delayed, queued_at of the oldest in
--         line ('' = none), sessions that have their turn, then each name that holds slots and is
--         not among the workers
-- Emits   nothing
local pool = ARGV[2]

-- A key of a wrong type holds nothing here; the doctor tells of it elsewhere.
local function ask(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then return nil end
  return answer
end

local workers, slots, ghosts = root .. 'workers:' .. pool, 0, {}
local all = ask('HGETALL', root .. 'slots:' .. pool) or {}
for i = 1, #all, 2 do
  if ask('ZSCORE', workers, all[i]) then
    slots = slots + (tonumber(all[i + 1]) or 0)
  else
    ghosts[#ghosts + 1] = all[i]
  end
end
local p = ask('HMGET', root .. 'pool:' .. pool, 'capacity', 'cap', 'swept_at',
  'cap_default') or {}

local queued, turns, oldest = 0, 0, nil
for _, class in ipairs(CLASSES) do
  local line = pool .. ':' .. class
  queued = queued + (ask('ZCARD', root .. 'queue:' .. line) or 0)
  turns = turns + (ask('ZCARD', root .. 'turn:' .. line) or 0)
  local first = (ask('ZRANGE', root .. 'queue:' .. line, 0, 0, 'WITHSCORES') or {})[2]
  if first and (not oldest or tonumber(first) < tonumber(oldest)) then oldest = first end
end

local reply = {now, ask('ZCOUNT', workers, '(' .. now, '+inf') or 0, slots, p[1] or 0, p[2] or p[4] or '',
  p[3] or '', ask('ZCARD', root .. 'lease:' .. pool) or 0, ask('ZCARD', root .. 'out:' .. pool) or 0,
  queued, ask('ZCARD', root .. 'delayed:' .. pool) or 0, oldest or '', turns}
for _, ghost in ipairs(ghosts) do reply[#reply + 1] = ghost end
return reply
