-- What readers are given.

-- Loads that were read: a script that only reads needs each once.
local known_loads = {}

local function known_load(pool)
  known_loads[pool] = known_loads[pool] or load_of(pool)
  return known_loads[pool]
end

-- Reads a job whole, with its place in the queue and, while it has no frame, what to show instead;
-- nil when there is none.
local function row(id)
  local fields = redis.call('HGETALL', root .. 'job:' .. id)
  if #fields == 0 then return nil end
  local j, ahead, wait, kind, url = load(id, 'model', 'artifacts', 'catalogue'), nil, 'null', '', ''
  if j.state == 'queued' then ahead, wait = outlook(j, known_load(j.pool)) end
  if not j[12] then kind, url = fallback_of(j.session, j[11], j[13]) end
  for i, word in ipairs({ahead or '', wait, kind, url, 'id', id}) do
    table.insert(fields, i, word)
  end
  return fields
end

-- Reads a session's position, and makes one where there is none: position 0 has a nonce too,
-- because a bare 0 would match any later numbering.
local function position_of(session)
  local stream, head = root .. 'stream:' .. session, root .. 'streamhead:' .. session
  local at = redis.call('HMGET', head, 'n', 'u')
  if not at[1] then
    at = {'0', nonce}
    redis.call('HSET', head, 'n', 0, 'u', nonce)
    redis.call('DEL', stream)
  end
  redis.call('EXPIRE', head, STREAMHEAD_S)
  return at[1], at[2]
end
