-- Forgets an ended job because its owner asked: its record, and what leads to it or its frames.
-- Transition: none (completed | failed | cancelled → gone)
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 job id, 3 session id that must own it
-- Returns {"deleted"}   {"refused", state found}   {"missing"} (or another's)
-- Emits   nothing: its session asked, and an event could only tell of what is not there
local id, session = ARGV[2], ARGV[3]
local ENDED = {completed = true, failed = true, cancelled = true}

-- The reply of the first call may have got lost; what it was to remove is gone either way.
local j = load(id, 'idempotency_key', 'model', 'catalogue')
if not j then return {sent_again and 'deleted' or 'missing'} end
if j.session ~= session then return {'missing'} end
if not ENDED[j.state] then return {'refused', j.state} end

-- First what refers to its frames: nothing may be told of bytes that are about to go.
local last = redis.call('HGET', root .. 'last:' .. session, j[12])
if last and string.find(last, '/' .. id .. '-', 1, true) then
  redis.call('HDEL', root .. 'last:' .. session, j[12])
end
local published = j[13] and redis.call('HGET', root .. 'catalogue', j[12])
if published and string.match(published, '%S+$') == id then
  redis.call('HDEL', root .. 'catalogue', j[12])
end
if j.fingerprint then pass_on(j, 'deleted') end
redis.call('ZREM', root .. 'dead', id)
forget(id, session, j[11])
if j.fingerprint then admit(j.pool) end
return {'deleted'}
