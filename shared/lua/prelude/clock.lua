-- The cell, the call and the moment: stands before every script.
--
-- KEYS[1] is always '<prefix>{cell}:config'; every other key of the cell is built from its root, so
-- all keys of a script share one hash tag. ARGV[1] is always the caller's nonce, eight characters,
-- with a '+' behind it when the connection broke and the same call is sent a second time. The key
-- table with types and lifetimes is src/store/keys.rs. Lua does not roll back: add before remove.

local root = string.sub(KEYS[1], 1, -7)
local nonce, sent_again = string.sub(ARGV[1], 1, 8), #ARGV[1] > 8
local time = redis.call('TIME') --@clock
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- The same as text: Redis would write a number with seventeen digits, and slowly.
local at = string.format('%.0f', now)

-- The moment with its microseconds, as a score; `n` tells apart what one script does in a row.
local function instant(n)
  return at .. string.format('.%03d', math.min(tonumber(time[2]) % 1000 + n, 999))
end
