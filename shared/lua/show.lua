-- Reads jobs whole, each with its place in the queue.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, then job ids
-- Returns per job, in order: {jobs ahead or '', estimated wait ms or 'null', kind and URL of its
--         fallback ('' and '' = it has frames), field, value, …}, or {} where there is none
-- Emits   nothing
local rows = {}
for i = 2, #ARGV do rows[i - 1] = row(ARGV[i]) or {} end
return rows
