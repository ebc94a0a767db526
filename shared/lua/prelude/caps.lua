-- How much a session and a pool may run, and how much they do.

local SESSION_CAP = 2

-- What session_caps has read: no script that asks for them changes them afterwards.
local known_caps

-- Reads the caps of sessions: that of all, and whether any tenant's sessions have another.
local function session_caps()
  if not known_caps then
    local c = redis.call('HMGET', KEYS[1], 'session_cap', 'session_cap_default', 'overrides')
    known_caps = {all = tonumber(c[1] or c[2] or SESSION_CAP), overridden = c[3]}
  end
  return known_caps
end

local function tenant_of(session)
  return redis.call('HGET', root .. 'session:' .. session, 'tenant') or 'public'
end

-- Gives the cap of one session; asks for nothing while no tenant has a cap of its own.
local function cap_of(caps, session)
  if not caps.overridden then return caps.all end
  return tonumber(redis.call('HGET', KEYS[1], 'session_cap:' .. tenant_of(session)) or caps.all)
end

-- Reads how much a pool may run and how much it does.
local function load_of(pool)
  local p = redis.call('HMGET', root .. 'pool:' .. pool, 'capacity', 'cap', 'beat', 'service_ms',
    'service_var', 'margin_high', 'margin_normal', 'margin_low', 'cap_default', 'closed_until')
  local capacity, cap = tonumber(p[1] or 0), tonumber(p[2] or p[9] or math.huge)
  return {
    slots = math.min(capacity, cap), beat = tonumber(p[3] or 0),
    -- How long all its providers are closed off; 0 too where an operator has paused the pool.
    closed_ms = (capacity > 0 or cap == 0) and 0 or math.max(tonumber(p[10] or 0) - now, 0),
    running = redis.call('ZCARD', root .. 'lease:' .. pool),
    service_ms = tonumber(p[4]), service_var = tonumber(p[5]),
    margin = {high = tonumber(p[6]), normal = tonumber(p[7]), low = tonumber(p[8])},
  }
end
