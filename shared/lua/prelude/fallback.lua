-- What to show where there is no frame.

-- Keeps the newest frame of a session's model, for as long as the job it belongs to is kept.
local function remember(session, model, url, retention_ms)
  local last = root .. 'last:' .. session
  redis.call('HSET', last, model, string.format('%.0f ', now + retention_ms) .. url)
  redis.call('PEXPIRE', last, retention_ms)
end

-- Has a model's newest frame stand in for those of all sessions; the job is for its deletion.
local function publish(model, url, id, retention_ms)
  local catalogue = root .. 'catalogue'
  local kept = string.format('%.0f ', now + retention_ms) .. url .. ' ' .. id
  redis.call('HSET', catalogue, model, kept)
  redis.call('PEXPIRE', catalogue, retention_ms)
end

-- The picture that ships, as domain/fallback.rs has it.
local SHIPPED_URL = '/v1/fallback.webp'
-- Whoever is told of a last frame has this long to fetch it: as long as an idle stream keeps the
-- event that tells of it.
local FALLBACK_MS_MIN = STREAM_S * 1000

-- Reads the URL of a frame that was kept, nil where it may be gone before it is fetched.
local function fetchable(kept)
  local expires_at, url = string.match(kept or '', '^(%d+) (%S+)')
  if url and tonumber(expires_at) - now >= FALLBACK_MS_MIN then return url end
end

-- The picture to show where there is no frame, as kind and URL: the last frame of the same session
-- and model while it can be fetched, else the model's newest where the model publishes (`shared`),
-- else the one that ships.
local function fallback_of(session, model, shared)
  local url = fetchable(redis.call('HGET', root .. 'last:' .. session, model))
  if url then return 'session', url end
  url = shared and fetchable(redis.call('HGET', root .. 'catalogue', model))
  if url then return 'catalogue', url end
  return 'static', SHIPPED_URL
end

-- The same as a member of an event that ends a job; null where the job has frames of its own.
local function fallback_json(j)
  local its = redis.call('HMGET', j.key, 'model', 'artifacts', 'catalogue')
  if its[2] then return ',"fallback":null' end
  local kind, url = fallback_of(j.session, its[1], its[3])
  return ',"fallback":{"url":"' .. url .. '","kind":"' .. kind .. '"}'
end
