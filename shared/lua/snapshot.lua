-- Reads a session's position and its unfinished jobs in one step, so that no event can fall between.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 session id, 3 jobs at most
-- Returns {head n, head nonce, 1 if there are more jobs, {row…}}, newest first, rows as in show.lua
-- Emits   nothing
local session, limit = ARGV[2], tonumber(ARGV[3])

local n, u = position_of(session)
local ids = redis.call('ZREVRANGE', root .. 'active:' .. session, 0, limit)
local rows = {}
for i = 1, math.min(#ids, limit) do rows[i] = row(ids[i]) or {} end
return {n, u, #ids > limit and 1 or 0, rows}
