-- Reads how all pools of a cell stand, in one step, for metrics and operators.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce
-- Returns {dead letters kept, {pool, slots counted as capacity, its cap ('' = none), jobs running,
--         admitted and not yet claimed, delayed, ms for which its providers are closed off,
--         then of each class high, normal, low: jobs in line, jobs in the window, age in ms of the
--         oldest in line ('' = none)}…}
-- Emits   nothing
local reply = {redis.call('ZCARD', root .. 'dead')}
for _, pool in ipairs(redis.call('SMEMBERS', root .. 'pools')) do
  local its = load_of(pool)
  local p = redis.call('HMGET', root .. 'pool:' .. pool, 'capacity', 'cap', 'cap_default')
  local found = {pool, p[1] or 0, p[2] or p[3] or '', its.running,
    redis.call('ZCARD', root .. 'out:' .. pool), redis.call('ZCARD', root .. 'delayed:' .. pool),
    string.format('%.0f', its.closed_ms)}
  for _, class in ipairs(CLASSES) do
    local line = pool .. ':' .. class
    local oldest = redis.call('ZRANGE', root .. 'queue:' .. line, 0, 0, 'WITHSCORES')[2]
    found[#found + 1] = redis.call('ZCARD', root .. 'queue:' .. line)
    found[#found + 1] = redis.call('ZCARD', root .. 'ready:' .. line)
    found[#found + 1] = oldest and string.format('%.0f', math.max(now - tonumber(oldest), 0)) or ''
  end
  reply[#reply + 1] = found
end
return reply
