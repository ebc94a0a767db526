-- Forgets an uploaded file because its owner asked; jobs that start from it have it for themselves.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 file id, 3 session id that must own it
-- Returns {"forgotten"}   {"missing"} (or another's)
-- Emits   nothing
local id, session = ARGV[2], ARGV[3]
local key = root .. 'file:' .. id

-- The reply of the first call may have got lost; what it was to remove is gone either way.
local owner = redis.call('HGET', key, 'session')
if not owner then return {sent_again and 'forgotten' or 'missing'} end
if owner ~= session then return {'missing'} end
redis.call('DEL', key)
redis.call('HDEL', root .. 'files:' .. session, id)
return {'forgotten'}
