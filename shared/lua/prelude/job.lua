-- A job as transitions see it, and who may write it.

-- Reads what transitions need of a job, and the fields that are named besides (from j[11] on); nil
-- when there is no such job.
local function load(id, ...)
  local key, more = root .. 'job:' .. id, {...}
  more[#more + 1] = 'fingerprint'
  local j = redis.call('HMGET', key, 'state', 'fence', 'session', 'pool', 'priority', 'v',
    'queued_at', 'attempt_count', 'cancel_requested', 'run_by', unpack(more))
  if not j[1] then return nil end
  j.id, j.key, j.state, j.fence, j.session, j.pool = id, key, j[1], j[2] or '0', j[3], j[4]
  j.line, j.v, j.queued_at = j[4] .. ':' .. j[5], tonumber(j[6]), j[7]
  j.attempt_count, j.cancel_requested, j.run_by = tonumber(j[8] or 0), j[9], j[10]
  j.fingerprint = j[10 + #more]
  return j
end

-- Tells whether a worker with this fence still owns the job.
local function owns(j, fence)
  return j and j.fence == fence
    and (j.state == 'processing' or j.state == 'generating' or j.state == 'uploading')
end
