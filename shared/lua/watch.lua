-- Notes that sessions have a reader, and that a gateway lives to say so.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 ms without a reader after which a session is left, 3 ms between two calls of a
--         gateway, 4 'XX' for sessions that are only kept under watch, else '', then session ids
-- Returns {"watched", sessions under watch}
-- Emits   nothing
local after_ms, every_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local watch, watched = root .. 'watch', root .. 'watched'

-- No gateway was heard of for a while: Redis or all of them were away, and readers could not be
-- seen. All get their whole time again before anybody is taken to have left.
local seen_at = tonumber(redis.call('HGET', watch, 'seen_at') or 0)
if now - seen_at > 3 * every_ms then
  redis.call('HSET', watch, 'spare_until', string.format('%.0f', now + after_ms))
end
redis.call('HSET', watch, 'seen_at', at)

-- One interval may pass until the next word of a reader that stays, another until that of one that
-- comes back in time.
local left_at = string.format('%.0f', now + after_ms + 2 * every_ms)
local only_kept = ARGV[4] == 'XX'
for i = 5, #ARGV do
  if not only_kept or redis.call('ZSCORE', watched, ARGV[i]) then
    redis.call('ZADD', watched, left_at, ARGV[i])
  end
end
return {'watched', redis.call('ZCARD', watched)}
