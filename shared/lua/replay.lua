-- Reads a session's head position and the events after a cursor, in one step.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 session id, 3 n of the cursor ('' = head only), 4 events at most
-- Returns {head n, head nonce, {event text…}}; no events if the cursor is at the head, beyond it,
--         or further behind than the limit
-- Emits   nothing
local session, cursor, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])

local n, u = position_of(session)
local behind = cursor ~= '' and tonumber(n) - tonumber(cursor) or 0
if behind <= 0 or behind > limit then return {n, u, {}} end
return {n, u, redis.call('LRANGE', root .. 'stream:' .. session, -behind, -1)}
