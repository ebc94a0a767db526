-- Tells for how long all providers of a pool are closed off.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pool
-- Returns {"open"}   {"closed", ms until one may be asked again, if nothing happens before}
-- Emits   nothing
local closed_ms = load_of(ARGV[2]).closed_ms
if closed_ms > 0 then return {'closed', string.format('%.0f', closed_ms)} end
return {'open'}
