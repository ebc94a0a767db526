//! Takes a protection away, so that the run can be seen to fail.
//!
//! The protections stand in the scripts, which are compiled in, and no build can switch them off. So
//! a saboteur works on Redis from outside, a few hundred times a second, in a way that makes the
//! protection useless. A run with any of these must end with a finding; one that does not would
//! prove that a clean run proves nothing. (`offset` works in the proxy instead; see `forger`.)

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::wire::Wire;

/// Time between two interventions.
const EVERY: Duration = Duration::from_millis(3);

/// A protection that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Weaken {
    /// Forgets jobs that were popped and not claimed, so that no sweep offers them again
    Out,
    /// Sets the fence back when a lost job is claimed again, so that zombies may write
    Fence,
    /// Prolongs leases that expire, so that dead workers keep their jobs
    Lapse,
    /// Drops published events and renumbers the rest, so that gateways notice no gap
    Offset,
    /// Forgets idempotency keys, so that a request sent again makes a second job
    Idempotency,
    /// Raises the session cap behind everybody's back
    Cap,
    /// Claims more slots than the workers have
    Capacity,
}

const PRELUDE: &str = "
local root = 'fw:{c0}:'
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease, out = root .. 'lease:default', root .. 'out:default'
";

impl Weaken {
    /// Gives what is done over and over; nothing where it is done elsewhere.
    fn script(self) -> Option<&'static str> {
        Some(match self {
            // Younger ones are on their way to a claim; the sweep would offer them at 750 ms.
            Self::Out => {
                "
local ready = root .. 'ready:default:'
for _, id in ipairs(redis.call('ZDIFF', 4, out, ready .. 'high', ready .. 'normal', ready .. 'low')) do
  if tonumber(redis.call('ZSCORE', out, id)) < now - 500 then redis.call('ZREM', out, id) end
end"
            }
            // Once per claim, which `locked_at` tells apart.
            Self::Fence => {
                "
for _, id in ipairs(redis.call('ZRANGE', lease, 0, -1)) do
  local key = root .. 'job:' .. id
  local f = redis.call('HMGET', key, 'fence', 'losses', 'locked_at', 'sabotaged')
  if f[1] and tonumber(f[2] or 0) > 0 and f[3] and f[3] ~= f[4] then
    redis.call('HSET', key, 'fence', tonumber(f[1]) - 1, 'sabotaged', f[3])
  end
end"
            }
            Self::Lapse => {
                "
for _, id in ipairs(redis.call('ZRANGEBYSCORE', lease, '-inf', now + 200)) do
  redis.call('ZADD', lease, 'XX', now + 1000, id)
end"
            }
            Self::Idempotency => {
                "
for _, key in ipairs(redis.call('KEYS', root .. 'idem:*')) do redis.call('DEL', key) end"
            }
            Self::Cap => "redis.call('HSET', root .. 'config', 'session_cap', 4)",
            Self::Capacity => "redis.call('HSET', root .. 'pool:default', 'capacity', 30)",
            Self::Offset => return None,
        })
    }
}

/// The thread that does it; it ends with the process, or when told to.
pub(super) struct Saboteur {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Saboteur {
    /// Starts, if there is something to do.
    pub(super) fn start(what: Weaken, socket: &Path) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut wire = Wire::new(socket, Duration::from_secs(1));
        let thread = what.script().map(|script| {
            let stop = stop.clone();
            let script = format!("{PRELUDE}{script}");
            let work = move || {
                while !stop.load(Ordering::Relaxed) {
                    // Redis is killed now and then; what can't be done now is done later.
                    drop(wire.eval(&script, &[]));
                    std::thread::sleep(EVERY);
                }
            };
            std::thread::Builder::new().name("saboteur".into()).spawn(work)
        });
        Ok(Self { stop, thread: thread.transpose()? })
    }

    /// Stops.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread {
            // A panic has been shown.
            drop(thread.join());
        }
    }
}
