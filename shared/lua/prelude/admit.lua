-- The one place where jobs enter the window: under the caps, in fair order, at the last moment.

local CLASSES = {'high', 'normal', 'low'}

-- One round of admissions: eight high, three normal, one low.
local PATTERN = {'high', 'high', 'normal', 'high', 'high', 'normal',
                 'high', 'high', 'normal', 'high', 'high', 'low'}

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
