-- Hands the followers of a completed leader to somebody who copies its frames for them; each gets a
-- fence, so that of several who copy for one job only the last can end it.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 fingerprint ('' = the one that is due longest), 3 leader whose frames can't be
--         copied ('' = none): one of its followers draws, 4 jobs at most
-- Returns {"landed", fingerprint, leader, JSON of its frames, then per follower: job id, fence}
--         {"idle"} there is nobody to hand over (any more)
-- Emits   nothing: those that lead now were queued before and are
local fingerprint, without, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
local landed = root .. 'landed'

if fingerprint == '' then
  fingerprint = redis.call('ZRANGEBYSCORE', landed, '-inf', at, 'LIMIT', 0, 1)[1]
  if not fingerprint then return {'idle'} end
end
local leader, drawn = leader_of(fingerprint)
if leader and not drawn then
  redis.call('ZREM', landed, fingerprint)
  return {'idle'}
end
local frames = leader and leader ~= without
  and redis.call('HGET', root .. 'job:' .. leader, 'artifacts')
if not frames then
  local next_leader = promote(fingerprint)
  if next_leader then admit(next_leader.pool) end
  return {'idle'}
end

local follow = root .. 'follow:' .. fingerprint
local handed = {'landed', fingerprint, leader, frames}
for _, id in ipairs(redis.call('ZRANGE', follow, 0, limit - 1)) do
  if load(id) then
    handed[#handed + 1] = id
    handed[#handed + 1] = redis.call('HINCRBY', root .. 'job:' .. id, 'fence', 1)
  else
    redis.call('ZREM', follow, id)
  end
end
if #handed == 4 then
  redis.call('ZREM', landed, fingerprint)
  return {'idle'}
end
redis.call('ZADD', landed, now + LANDING_MS, fingerprint)
return handed
