-- Tells for how long all providers of a pool are closed off.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 pool, 3 fingerprint of a job ('' = none): whose leader has drawn needs nobody
-- Returns {"open"}   {"closed", ms until one may be asked again, if nothing happens before}
-- Emits   nothing
if ARGV[3] ~= '' and select(2, leader_of(ARGV[3])) then return {'open'} end
local closed_ms = load_of(ARGV[2]).closed_ms
if closed_ms > 0 then return {'closed', string.format('%.0f', closed_ms)} end
return {'open'}
