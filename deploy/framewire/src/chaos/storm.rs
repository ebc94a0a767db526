//! Does to the stage what the schedule says, and looks after everybody meanwhile.
//!
//! It also kills whoever works on a deadly job, in the storm and after it. Whom a fault does not
//! find (it is dead already, or not ready) is not counted.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::life::LOSSES_MAX;
use super::orders::{DEADLY, SLOW};
use super::proxy::Link;
use super::schedule::Fault;
use super::stage::{Actor, Stage};
use super::wire::{Answer, Wire};

/// Time between two looks at who is due for what.
const TICK: Duration = Duration::from_millis(10);
/// How long a knife waits for its worker to have a job: nothing happens to one that has none.
const LIE_IN_WAIT: Duration = Duration::from_millis(1_200);
/// Longest wait to learn what a worker was at when it is killed; this blocks everything here.
const ASK: Duration = Duration::from_millis(150);
/// Time between two looks for somebody who works on a deadly job.
const HUNT: Duration = Duration::from_millis(60);
/// How long a future zombie is looked for among those at slow jobs.
const HAUNT: Duration = Duration::from_secs(5);
/// How long it then waits for its heir: a lease, a sweep, and the job's turn.
const HEIR: Duration = Duration::from_secs(12);
/// How long the end of a storm is held up by those who wait for a moment.
const OVERTIME: Duration = Duration::from_secs(5);
/// How a death by a deadly job is counted.
const KILLED_BY_JOB: &str = "worker killed by its job";

/// Lists the jobs that a worker holds.
const HELD_BY: &str = "
local held = {}
for _, id in ipairs(redis.call('ZRANGE', 'fw:{c0}:lease:default', 0, -1)) do
  if redis.call('HGET', 'fw:{c0}:job:' .. id, 'locked_by') == ARGV[1] then held[#held + 1] = id end
end
return held";

/// Lists who works on jobs with a prompt of this kind that have this field: worker, job, worker…
const WORKING_ON: &str = "
local workers = {}
for _, id in ipairs(redis.call('ZRANGE', 'fw:{c0}:lease:default', 0, -1)) do
  local f = redis.call('HMGET', 'fw:{c0}:job:' .. id, 'locked_by', 'input', ARGV[2])
  if f[1] and f[2] and f[3] and string.find(f[2], ARGV[1], 1, true) then
    workers[#workers + 1] = f[1]
    workers[#workers + 1] = id
  end
end
return workers";

/// A process that was ended, by whom its work has to go on.
#[derive(Debug, Clone)]
pub(super) struct Strike {
    /// What was done, in the words of the report.
    pub(super) fault: &'static str,
    /// Epoch milliseconds.
    pub(super) at: u64,
    /// The number of the worker or gateway.
    pub(super) number: usize,
    /// What a worker held in that moment.
    pub(super) jobs: Vec<String>,
}

/// A paused worker whose job will get an heir.
struct Ghost {
    number: usize,
    worker: String,
    job: String,
}

/// What ends a fault on a link.
enum Relief {
    Accept,
    Hasten,
}

/// The storm, and what it has done.
pub(super) struct Storm {
    wire: Wire,
    hunted_at: Instant,
    ghosts: Vec<Ghost>,
    /// How many workers each deadly job has killed.
    deaths: HashMap<String, u32>,
    /// How often each kind of fault hit.
    pub(super) counts: BTreeMap<&'static str, u32>,
    pub(super) strikes: Vec<Strike>,
}

impl Storm {
    /// Makes one over the Redis at this socket.
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            wire: Wire::new(socket, ASK),
            hunted_at: Instant::now(),
            ghosts: Vec::new(),
            deaths: HashMap::new(),
            counts: BTreeMap::new(),
            strikes: Vec::new(),
        }
    }

    /// Lets the faults happen; returns when the time is over and nobody is lain in wait for, or when
    /// [`OVERTIME`] is over too.
    pub(super) async fn rage(
        &mut self,
        stage: &mut Stage,
        faults: Vec<(u64, Fault)>,
        until: Instant,
    ) -> io::Result<()> {
        let began_at = Instant::now();
        let mut faults = faults.into_iter().peekable();
        let mut reliefs: Vec<(Instant, usize, Relief)> = Vec::new();
        let mut knives: Vec<(Instant, usize, Fault)> = Vec::new();
        loop {
            let waits = !knives.is_empty() || !self.ghosts.is_empty();
            if Instant::now() >= until + if waits { OVERTIME } else { Duration::ZERO } {
                break;
            }
            stage.tend()?;
            self.hunt(stage);
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
                match fault {
                    Fault::KillWorker(number) | Fault::DrainWorker(number) => {
                        knives.push((now + LIE_IN_WAIT, number, fault));
                    }
                    Fault::HauntWorker(number) => knives.push((now + HAUNT, number, fault)),
                    _ => reliefs.extend(self.strike(stage, &fault, Vec::new())),
                }
            }
            knives.retain(|(at, number, fault)| {
                if let Fault::HauntWorker(_) = fault {
                    return *at > now && !(stage.redis.is_awake() && self.haunt(stage));
                }
                let jobs = self.held_by(stage, *number);
                let falls = !jobs.is_empty() || *at <= now;
                if falls {
                    self.strike(stage, fault, jobs);
                }
                !falls
            });
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Kills whoever works on a deadly job.
    pub(super) fn hunt(&mut self, stage: &mut Stage) {
        if !stage.redis.is_awake() || self.hunted_at.elapsed() < HUNT {
            return;
        }
        self.hunted_at = Instant::now();
        for (number, job) in self.working_on(stage, DEADLY, "locked_by") {
            // One more than may be: if it goes on even then, that is seen, and it may end.
            if self.deaths.get(&job).is_some_and(|deaths| *deaths > LOSSES_MAX) {
                continue;
            }
            let jobs = self.held_by(stage, number);
            if stage.workers[number].kill(Duration::ZERO) {
                *self.deaths.entry(job).or_default() += 1;
                self.note(KILLED_BY_JOB, number, jobs);
            }
        }
        for ghost in std::mem::take(&mut self.ghosts) {
            let key = format!("fw:{{c0}}:job:{}", ghost.job);
            let owner = self.wire.call(&["HGET", &key, "locked_by"]);
            if stage.workers[ghost.number].is_awake() {
                continue;
            }
            if owner.is_ok_and(|owner| owner.text() != ghost.worker && !owner.text().is_empty()) {
                stage.workers[ghost.number].resume();
                self.note(Fault::HauntWorker(ghost.number).kind(), ghost.number, Vec::new());
            } else {
                self.ghosts.push(ghost);
            }
        }
    }

    /// Gives the numbers of those who work on jobs of this kind, if it has come so far that it has
    /// this field; each with the job.
    fn working_on(&mut self, stage: &mut Stage, kind: &str, field: &str) -> Vec<(usize, String)> {
        // Unreachable now, reachable later.
        let found = self.wire.eval(WORKING_ON, &[kind, field]);
        let found: Vec<&str> = found.iter().flat_map(Answer::list).map(Answer::text).collect();
        let mut at_it = Vec::new();
        for (number, worker) in stage.workers.iter_mut().enumerate() {
            let title = worker.title();
            let jobs = found.chunks_exact(2).filter(|pair| title.as_deref() == Some(pair[0]));
            at_it.extend(jobs.map(|pair| (number, pair[1].to_owned())));
        }
        at_it
    }

    /// Pauses a worker at a slow job until the job has an heir; false if nobody is at one.
    ///
    /// It has told of a preview: one that is frozen before it hears that its claim was granted gives
    /// the job up when it comes back, and is no zombie.
    fn haunt(&mut self, stage: &mut Stage) -> bool {
        for (number, job) in self.working_on(stage, SLOW, "preview") {
            let worker = &mut stage.workers[number];
            if let Some(title) = worker.title()
                && worker.pause(HEIR)
            {
                self.ghosts.push(Ghost { number, worker: title, job });
                return true;
            }
        }
        false
    }

    /// Learns what a worker is at.
    fn held_by(&mut self, stage: &mut Stage, number: usize) -> Vec<String> {
        let worker = &mut stage.workers[number];
        let Some(title) = worker.title().filter(|_| worker.is_awake() && stage.redis.is_awake())
        else {
            return Vec::new();
        };
        let held = self.wire.eval(HELD_BY, &[&title]);
        let held = held.iter().flat_map(Answer::list);
        held.map(|job| job.text().to_owned()).collect()
    }

    fn note(&mut self, fault: &'static str, number: usize, jobs: Vec<String>) {
        *self.counts.entry(fault).or_default() += 1;
        self.strikes.push(Strike { fault, at: epoch_ms(), number, jobs });
    }

    /// Does it, and notes it if it hit somebody.
    fn strike(
        &mut self,
        stage: &mut Stage,
        fault: &Fault,
        jobs: Vec<String>,
    ) -> Option<(Instant, usize, Relief)> {
        let ms = Duration::from_millis;
        let number = fault.target();
        let later = |length, relief| Some((Instant::now() + ms(length), number, relief));
        let mut relief = None;
        let hits = match *fault {
            Fault::KillWorker(_) => stage.workers[number].kill(Duration::ZERO),
            Fault::DrainWorker(_) => stage.workers[number].ask_to_leave(),
            Fault::HauntWorker(_) => self.haunt(stage),
            Fault::StopWorker(_, length) => stage.workers[number].pause(ms(length)),
            Fault::KillGateway(_) => stage.gateways[number].kill(Duration::ZERO),
            Fault::DrainGateway(_) => stage.gateways[number].ask_to_leave(),
            Fault::StopGateway(_, length) => stage.gateways[number].pause(ms(length)),
            Fault::KillRedis(down) => stage.redis.kill(ms(down)),
            Fault::StopRedis(length) => stage.redis.pause(ms(length)),
            Fault::Cut(_, length) => {
                relief = later(length, Relief::Accept);
                stage.link(number).map(Link::cut).is_some()
            }
            Fault::Tear(_) => stage.link(number).map(Link::tear).is_some(),
            Fault::Lose(_) => stage.link(number).map(Link::lose).is_some(),
            Fault::Swallow(_, side) => stage.link(number).map(|it| it.swallow(side)).is_some(),
            Fault::Delay(_, delay, length) => {
                relief = later(length, Relief::Hasten);
                stage.link(number).map(|it| it.slow(ms(delay))).is_some()
            }
        };
        if hits {
            self.note(fault.kind(), number, jobs);
        }
        relief
    }
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
