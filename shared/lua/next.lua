-- Reads a shelf: frames that are ready and were not seen, and jobs on their way there. What was seen
-- leaves it, and so do jobs that came to nothing.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 session id, 3 digest of the request, 4 model, 5 '1' if the model publishes,
--         6 lifetime ms, then jobs whose frames were seen
-- Returns {jobs ever put there, kind and URL of a fallback, {job id, JSON of its frames, …} of those
--         that are ready, {row…} of those on their way}, the oldest first, rows as in show.lua
-- Emits   nothing
local session, model, lifetime_ms = ARGV[2], ARGV[4], ARGV[6]
local shelf = root .. 'shelf:' .. session .. ':' .. ARGV[3]

local seen, made, places = {}, '0', {}
for i = 7, #ARGV do seen[ARGV[i]] = true end
local its = redis.call('HGETALL', shelf)
for i = 1, #its, 2 do
  if its[i] == 'made' then
    made = its[i + 1]
  else
    places[#places + 1] = {id = its[i], at = tonumber(its[i + 1])}
  end
end
table.sort(places, function(a, b) return a.at < b.at end)

local ready, coming, gone = {}, {}, {}
for _, place in ipairs(places) do
  local j = load(place.id, 'artifacts')
  local state = j and j.state or 'failed'
  if state == 'failed' or state == 'cancelled' or state == 'completed' and seen[place.id] then
    gone[#gone + 1] = place.id
  elseif state == 'completed' then
    ready[#ready + 1], ready[#ready + 2] = place.id, j[11]
  else
    coming[#coming + 1] = row(place.id)
  end
end
if #gone > 0 then redis.call('HDEL', shelf, unpack(gone)) end
if #its > 0 then redis.call('PEXPIRE', shelf, lifetime_ms) end

local kind, url = fallback_of(session, model, ARGV[5] == '1')
return {made, kind, url, ready, coming}
