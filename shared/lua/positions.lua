-- Reads where a session's queued jobs stand.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 session id, 3 jobs at most
-- Returns per queued job that stands in a line: job id, v, jobs ahead, estimated wait ms ('null' =
--         unknown)
-- Emits   nothing
local session, limit = ARGV[2], tonumber(ARGV[3])

local places = {}
for _, id in ipairs(redis.call('ZRANGE', root .. 'active:' .. session, 0, limit - 1)) do
  local j = load(id)
  if j and j.state == 'queued' then
    local ahead, wait = outlook(j, known_load(j.pool))
    if ahead then
      for _, word in ipairs({id, j.v, ahead, wait}) do places[#places + 1] = word end
    end
  end
end
return places
