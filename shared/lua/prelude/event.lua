-- What a script tells: durable events with a number and a nonce in the session's stream, and
-- ephemeral ones that are only published.

local STREAM_EVENTS_MAX = 256
-- Trimmed a few at a time, and kept longer once a minute: each would cost more than the event.
local STREAM_EVENTS_SLACK = 32
local STREAM_S = 900 + 60
local STREAMHEAD_S = 604800 + 60

-- Completes an event's JSON: the five members all have, then those of `body` (an object's text).
local function event_json(j, body)
  local common = '{"job":"' .. j.id .. '","v":' .. j.v .. ',"status":"' .. j.state .. '","at":' .. now
  if body == '{}' then return common .. '}' end
  return common .. ',' .. string.sub(body, 2)
end

-- Events that the next emit tells first.
local said = {}

-- Says a durable event; the next emit of this script, for the same session, tells it.
local function say(j, kind, body)
  said[#said + 1] = kind .. ' ' .. j.id .. '\n' .. event_json(j, body)
end

-- Appends this event, behind those that were said, to the session's stream; publishes the same texts.
local function emit(j, kind, body)
  local stream, head = root .. 'stream:' .. j.session, root .. 'streamhead:' .. j.session
  local last = redis.call('HMGET', head, 'n', 'u', 'kept')
  local n, before, minute = tonumber(last[1] or 0), last[2] or '-', tostring(math.floor(now / 60000))
  if n == 0 then redis.call('DEL', stream) end
  say(j, kind, body)
  for i, event in ipairs(said) do
    n = n + 1
    said[i] = n .. '-' .. nonce .. ' ' .. before .. ' ' .. event
    before = nonce
  end
  local length = redis.call('RPUSH', stream, unpack(said))
  if length > STREAM_EVENTS_MAX + STREAM_EVENTS_SLACK then
    redis.call('LTRIM', stream, -STREAM_EVENTS_MAX, -1)
  end
  if last[3] == minute and length > #said then
    redis.call('HSET', head, 'n', n, 'u', nonce)
  else
    redis.call('HSET', head, 'n', n, 'u', nonce, 'kept', minute)
    redis.call('EXPIRE', head, STREAMHEAD_S)
    redis.call('EXPIRE', stream, STREAM_S)
  end
  for _, event in ipairs(said) do
    redis.call('PUBLISH', stream, event) --@publish
  end
  said = {}
end

-- Publishes an event that nobody needs to see later.
local function whisper(j, kind, body)
  local event = '- - ' .. kind .. ' ' .. j.id .. '\n' .. event_json(j, body)
  redis.call('PUBLISH', root .. 'stream:' .. j.session, event) --@publish
end
