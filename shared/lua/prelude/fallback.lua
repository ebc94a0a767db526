-- What to show where there is no frame.

-- Keeps the newest frame of a session's model, for as long as the job it belongs to is kept.
local function remember(session, model, url, retention_ms)
  local last = root .. 'last:' .. session
  redis.call('HSET', last, model, string.format('%.0f ', now + retention_ms) .. url)
  redis.call('PEXPIRE', last, retention_ms)
end

-- The picture that ships, as domain/fallback.rs has it.
local SHIPPED_URL = '/v1/fallback.webp'
-- Whoever is told of a last frame has this long to fetch it: as long as an idle stream keeps the
-- event that tells of it.
local FALLBACK_MS_MIN = STREAM_S * 1000

-- The picture to show where there is no frame, as kind and URL: the last frame of the same session
-- and model while it can be fetched, else the one that ships. A catalogue would be asked between.
local function fallback_of(session, model)
  local last = redis.call('HGET', root .. 'last:' .. session, model)
  local expires_at, url = string.match(last or '', '^(%d+) (%S+)$')
  if url and tonumber(expires_at) - now >= FALLBACK_MS_MIN then return 'session', url end
  return 'static', SHIPPED_URL
end

-- The same as a member of an event that ends a job; null where the job has frames of its own.
local function fallback_json(j)
  local its = redis.call('HMGET', j.key, 'model', 'artifacts')
  if its[2] then return ',"fallback":null' end
  local kind, url = fallback_of(j.session, its[1])
  return ',"fallback":{"url":"' .. url .. '","kind":"' .. kind .. '"}'
end
