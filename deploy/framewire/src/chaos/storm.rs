//! Does to the stage what the schedule says, and looks after everybody meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::schedule::Fault;
use super::stage::{Actor, Stage};
use super::wire::Wire;

/// Time between two looks at who is due for what.
const TICK: Duration = Duration::from_millis(10);
/// How long a knife waits for its worker to have a job: one that has none loses nothing.
const LIE_IN_WAIT: Duration = Duration::from_millis(1_200);
/// Longest wait to learn what a worker was at when it is killed; this blocks everything here.
const ASK: Duration = Duration::from_millis(150);

/// Lists the jobs that a worker holds.
const HELD_BY: &str = "
local held = {}
for _, id in ipairs(redis.call('ZRANGE', 'fw:{c0}:lease:default', 0, -1)) do
  if redis.call('HGET', 'fw:{c0}:job:' .. id, 'locked_by') == ARGV[1] then held[#held + 1] = id end
end
return held";

/// A worker that was killed over its work.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    /// Epoch milliseconds.
    pub(super) at: u64,
    pub(super) jobs: Vec<String>,
}

/// What has been done.
#[derive(Debug, Default)]
pub(super) struct Struck {
    /// How often each kind of fault hit.
    pub(super) counts: BTreeMap<&'static str, u32>,
    pub(super) kills: Vec<Kill>,
}

/// What ends a fault on a link.
enum Relief {
    Accept,
    Hasten,
}

/// Lets the faults happen; returns when the time is over.
pub(super) async fn rage(
    stage: &mut Stage,
    faults: Vec<(u64, Fault)>,
    socket: &Path,
    until: Instant,
) -> io::Result<Struck> {
    let began_at = Instant::now();
    let mut struck = Struck::default();
    let mut wire = Wire::new(socket, ASK);
    let mut faults = faults.into_iter().peekable();
    let mut reliefs: Vec<(Instant, usize, Relief)> = Vec::new();
    let mut knives: Vec<(Instant, usize)> = Vec::new();
    while Instant::now() < until {
        stage.tend()?;
        let now = Instant::now();
        reliefs.retain(|(at, link, relief)| {
            if *at <= now
                && let Some(link) = stage.link(*link)
            {
                match relief {
                    Relief::Accept => link.accept(),
                    Relief::Hasten => link.slow(Duration::ZERO),
                }
            }
            *at > now
        });
        let elapsed_ms = began_at.elapsed().as_millis() as u64;
        while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= elapsed_ms) {
            *struck.counts.entry(fault.kind()).or_default() += 1;
            match fault {
                Fault::KillWorker(number) => knives.push((now + LIE_IN_WAIT, number)),
                _ => reliefs.extend(strike(stage, &fault, now)),
            }
        }
        knives.retain(|(at, number)| {
            let kill = holding(stage, *number, &mut wire);
            let falls = kill.is_some() || *at <= now;
            if falls {
                struck.kills.extend(kill);
                strike(stage, &Fault::KillWorker(*number), now);
            }
            !falls
        });
        tokio::time::sleep(TICK).await;
    }
    Ok(struck)
}

/// Learns what a worker is at, right before it is killed.
fn holding(stage: &Stage, number: usize, wire: &mut Wire) -> Option<Kill> {
    let worker = stage.workers.get(number)?;
    if !stage.redis.is_awake() || !worker.is_awake() {
        return None;
    }
    let held = wire.eval(HELD_BY, &[&worker.worker_id()?]).ok()?;
    let jobs: Vec<String> = held.list().iter().map(|job| job.text().to_owned()).collect();
    (!jobs.is_empty()).then(|| Kill { at: epoch_ms(), jobs })
}

fn strike(stage: &mut Stage, fault: &Fault, now: Instant) -> Option<(Instant, usize, Relief)> {
    let ms = Duration::from_millis;
    match *fault {
        Fault::KillWorker(number) => stage.workers[number].kill(Duration::ZERO),
        Fault::StopWorker(number, length) => stage.workers[number].pause(ms(length)),
        Fault::KillGateway(number) => stage.gateways[number].kill(Duration::ZERO),
        Fault::StopGateway(number, length) => stage.gateways[number].pause(ms(length)),
        Fault::KillRedis(down) => stage.redis.kill(ms(down)),
        Fault::StopRedis(length) => stage.redis.pause(ms(length)),
        Fault::Cut(link, length) => {
            stage.link(link)?.cut();
            return Some((now + ms(length), link, Relief::Accept));
        }
        Fault::Tear(link) => stage.link(link)?.tear(),
        Fault::Swallow(link, side) => stage.link(link)?.swallow(side),
        Fault::Delay(link, delay, length) => {
            stage.link(link)?.slow(ms(delay));
            return Some((now + ms(length), link, Relief::Hasten));
        }
    }
    None
}

/// Ends all faults. Half-open connections stay as they are, unless they are cut here: nobody tells
/// a real process that its connection is dead, and finding out takes a gateway over half a minute.
pub(super) fn calm(stage: &mut Stage, cut_half_open: bool) {
    stage.all().for_each(Actor::resume);
    for link in stage.workers.iter().chain(&stage.gateways) {
        if let Some(link) = &link.link {
            if cut_half_open {
                link.cut();
            }
            link.accept();
            link.slow(Duration::ZERO);
        }
    }
}

/// Gives the time by the machine's clock, which Redis reads too.
pub(super) fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
