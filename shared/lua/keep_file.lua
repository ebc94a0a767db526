-- Records an uploaded picture whose bytes are stored, within what its session may have.
-- Transition: none
-- KEYS    1 config hash
-- ARGV    1 nonce, 2 file id, 3 session id, 4 media type, 5 width px, 6 height px, 7 bytes, 8 sha256,
--         9 lifetime ms, 10 files_max per session, 11 bytes_max per session
-- Returns {"kept", expires_at ms}   {"full", files, bytes, ms until the first of them expires}
-- Emits   nothing
local id, session, bytes, lifetime_ms = ARGV[2], ARGV[3], tonumber(ARGV[7]), tonumber(ARGV[9])
local list = root .. 'files:' .. session

-- What has expired counts no more; sent again, the same file does not count twice.
local files, sum, first = 0, 0, nil
local listed = redis.call('HGETALL', list)
for i = 1, #listed, 2 do
  local until_ms, its_bytes = string.match(listed[i + 1], '^(%d+) (%d+)$')
  until_ms = tonumber(until_ms or 0)
  if until_ms <= now then
    redis.call('HDEL', list, listed[i])
  elseif listed[i] ~= id then
    files, sum = files + 1, sum + tonumber(its_bytes)
    first = math.min(first or until_ms, until_ms)
  end
end
if files + 1 > tonumber(ARGV[10]) or sum + bytes > tonumber(ARGV[11]) then
  return {'full', files, sum, first and first - now or 0}
end

local expires_at = string.format('%.0f', now + lifetime_ms)
redis.call('HSET', list, id, expires_at .. ' ' .. ARGV[7])
redis.call('PEXPIRE', list, lifetime_ms)
local key = root .. 'file:' .. id
redis.call('HSET', key, 'session', session, 'content_type', ARGV[4], 'width', ARGV[5],
  'height', ARGV[6], 'bytes', ARGV[7], 'sha256', ARGV[8], 'expires_at', expires_at)
redis.call('PEXPIRE', key, lifetime_ms)
return {'kept', expires_at}
