//! How often a stated estimate held: what a submit answers as `estimated_wait_ms`, against the time
//! from submit to completion. Aim: 85 to 95 % held; fewer is a promise broken, more a useless one,
//! and the median of actual by estimate shows an estimate that only holds because it is huge.
//!
//! The scripts' clock is ours, so minutes of a queue's life take seconds, and chance is seeded, so
//! that runs can be compared: [`JOBS`] jobs at [`LOAD`] of what the slots can do. Sessions come by chance
//! (Poisson); one in [`BURST_ONE_IN`] brings [`BURST_JOBS`] jobs at once, and one greedy session
//! brings [`GREEDY_JOBS`] twice. Work takes 200 ms in the median and varies (lognormal). Of three
//! classes the normal one is the most common. Starts cold: the first jobs can't be estimated.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framewire_shared::domain::{Cell, Fence, Pool, Priority, SessionId, WorkerId};
use framewire_shared::store::codec::Submitted;
use framewire_shared::store::queue::{Lease, Submission};
use framewire_shared::store::{QueueOptions, Store};
use framewire_shared::testing::{RedisServer, submission};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::INPUT;
use crate::calibration::{Calibration, Outcome};
use crate::server::REDIS_CONF;
use crate::steps::{advance, claim, complete, new_id};

/// Slots of the runs.
const SLOTS: [u32; 2] = [2, 8];
/// Jobs of one run.
const JOBS: usize = 2_000;
/// Share of the slots' time that is asked for.
const LOAD: f64 = 0.8;
/// Median of the time a job takes.
const WORK_MEDIAN_MS: f64 = 200.0;
/// Standard deviation of its logarithm: one job in twenty takes less than 90 or more than 450 ms.
const WORK_SIGMA: f64 = 0.5;
/// Sessions with one job at a time, and sessions that bring bursts.
const STEADY_SESSIONS: usize = 20;
const BURST_SESSIONS: usize = 5;
/// One arrival in so many is a burst.
const BURST_ONE_IN: u32 = 20;
const BURST_JOBS: usize = 10;
/// What the greedy session brings at once, after a third and after two thirds of the run.
const GREEDY_JOBS: usize = 50;
/// When a run begins, in epoch milliseconds.
const START_MS: u64 = 1_800_000_000_000;
/// Chance is the same in every run.
const SEED: u64 = 1;

/// Who brings a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Steady,
    Burst,
    Greedy,
}

/// Jobs that come at one moment.
struct Arrival {
    at_ms: u64,
    kind: Kind,
    session: usize,
    priority: Priority,
    jobs: usize,
}

/// A job under way, and what was said of it.
struct Told {
    kind: Kind,
    priority: Priority,
    ahead: u64,
    estimate_ms: Option<u64>,
    submitted_at: u64,
}

/// Prints a table per number of slots.
pub(crate) async fn run() -> Result<()> {
    for slots in SLOTS {
        let outcomes = Run::start(slots).await?.play().await?;
        print(slots, &outcomes);
    }
    Ok(())
}

/// One run: a Redis whose clock is ours, and what is under way on it.
struct Run {
    redis: RedisServer,
    store: Store,
    pool: Pool,
    worker: WorkerId,
    sessions: Vec<SessionId>,
    chance: StdRng,
    arrivals: Vec<Arrival>,
    told: BTreeMap<String, Told>,
    /// Running jobs by when they will be done.
    running: BinaryHeap<Reverse<(u64, String, u64)>>,
    free_slots: u32,
    outcomes: Vec<(Told, Outcome)>,
}

impl Run {
    async fn start(slots: u32) -> Result<Self> {
        let redis = RedisServer::start_from(REDIS_CONF);
        redis.set_clock(START_MS);
        let store = redis.store_with_clock(QueueOptions::default());
        let pool: Pool = "default".parse().context("a pool")?;
        let worker = WorkerId::new(Uuid::new_v4());
        let day = Duration::from_secs(24 * 3_600);
        store.heartbeat(Cell::FIRST, &pool, &worker, slots, day).await?;
        let mut chance = StdRng::seed_from_u64(SEED);
        let sessions = STEADY_SESSIONS + BURST_SESSIONS + 1;
        Ok(Self {
            redis,
            store,
            pool,
            worker,
            sessions: (0..sessions).map(|_| SessionId::new(Cell::FIRST, Uuid::new_v4())).collect(),
            arrivals: arrivals(&mut chance, slots),
            chance,
            told: BTreeMap::new(),
            running: BinaryHeap::new(),
            free_slots: slots,
            outcomes: Vec::new(),
        })
    }

    /// Plays arrivals and completions in the order of their moments.
    async fn play(mut self) -> Result<Vec<(Told, Outcome)>> {
        let mut arrivals = std::mem::take(&mut self.arrivals).into_iter().peekable();
        loop {
            let arrival_at = arrivals.peek().map(|arrival| arrival.at_ms);
            let done_at = self.running.peek().map(|Reverse((at, ..))| *at);
            let now = match (arrival_at, done_at) {
                (None, None) => break,
                (arrival, done) => arrival.unwrap_or(u64::MAX).min(done.unwrap_or(u64::MAX)),
            };
            self.redis.set_clock(now);
            if done_at == Some(now) {
                self.finish_next(now).await?;
            } else if let Some(arrival) = arrivals.next() {
                self.submit(&arrival).await?;
            }
            self.fill(now).await?;
        }
        if !self.told.is_empty() {
            bail!("{} jobs never ran", self.told.len());
        }
        Ok(self.outcomes)
    }

    async fn submit(&mut self, arrival: &Arrival) -> Result<()> {
        let &Arrival { at_ms, kind, session, priority, jobs } = arrival;
        for _ in 0..jobs {
            let id = new_id();
            let plain = submission(&id, &self.sessions[session], &self.pool, INPUT);
            match self.store.submit(&Submission { priority, ..plain }).await? {
                Submitted::Accepted { ahead, wait_ms: estimate_ms, .. } => {
                    let told = Told { kind, priority, ahead, estimate_ms, submitted_at: at_ms };
                    self.told.insert(id.to_string(), told);
                }
                other => bail!("a submit was answered {other:?}"),
            }
        }
        Ok(())
    }

    /// Starts what the window holds, as far as there are slots.
    async fn fill(&mut self, now: u64) -> Result<()> {
        while self.free_slots > 0 {
            let Some(job) = self.redis.pop(&self.pool) else { break };
            let lease = claim(&self.store, &self.worker, job).await?;
            let normal = (-2.0 * self.uniform().ln()).sqrt()
                * (std::f64::consts::TAU * self.uniform()).cos();
            let work_ms = WORK_MEDIAN_MS * (WORK_SIGMA * normal).exp();
            self.running.push(Reverse((
                now + work_ms as u64,
                lease.job.to_string(),
                lease.fence.0,
            )));
            self.free_slots -= 1;
        }
        Ok(())
    }

    async fn finish_next(&mut self, now: u64) -> Result<()> {
        let Reverse((_, job, fence)) = self.running.pop().context("a running job")?;
        let told = self.told.remove(&job).context("a job of ours")?;
        let job = job.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let lease = Lease { job, fence: Fence(fence) };
        advance(&self.store, &lease).await?;
        complete(&self.store, &lease).await?;
        let actual_ms = now - told.submitted_at;
        let outcome = Outcome { estimate_ms: told.estimate_ms, actual_ms };
        self.outcomes.push((told, outcome));
        self.free_slots += 1;
        Ok(())
    }

    fn uniform(&mut self) -> f64 {
        uniform(&mut self.chance)
    }
}

/// Draws from (0, 1]; its logarithm exists.
fn uniform(chance: &mut StdRng) -> f64 {
    1.0 - chance.random::<f64>()
}

/// Rolls who comes when.
fn arrivals(chance: &mut StdRng, slots: u32) -> Vec<Arrival> {
    let work_mean_ms = WORK_MEDIAN_MS * (WORK_SIGMA * WORK_SIGMA / 2.0).exp();
    let jobs_per_arrival = 1.0 + (BURST_JOBS - 1) as f64 / f64::from(BURST_ONE_IN);
    let pause_ms = jobs_per_arrival * work_mean_ms / (LOAD * f64::from(slots));
    let (mut at, mut jobs, mut greedy) = (0.0, 0, 0);
    let mut arrivals = Vec::new();
    while jobs < JOBS {
        at += -uniform(chance).ln() * pause_ms;
        let (kind, session, count) = if jobs * 3 > JOBS * (greedy + 1) {
            greedy += 1;
            (Kind::Greedy, STEADY_SESSIONS + BURST_SESSIONS, GREEDY_JOBS)
        } else if chance.random_range(0..BURST_ONE_IN) == 0 {
            (Kind::Burst, STEADY_SESSIONS + chance.random_range(0..BURST_SESSIONS), BURST_JOBS)
        } else {
            (Kind::Steady, chance.random_range(0..STEADY_SESSIONS), 1)
        };
        let priority = match chance.random_range(0..10) {
            0 | 1 => Priority::High,
            2 | 3 => Priority::Low,
            _ => Priority::Normal,
        };
        jobs += count;
        arrivals.push(Arrival {
            at_ms: START_MS + at as u64,
            kind,
            session,
            priority,
            jobs: count,
        });
    }
    arrivals
}

fn print(slots: u32, outcomes: &[(Told, Outcome)]) {
    println!(
        "\n| {:<34} | {:>6} | {:>6} | {:>7} | {:>17} |",
        format!("Estimates, {slots} slots, {:.0} % load", LOAD * 100.0),
        "jobs",
        "held",
        "unknown",
        "actual / estimate"
    );
    println!("|{:-<36}|{:->8}|{:->8}|{:->9}|{:->19}|", "", "", "", "", "");
    let line = |name: &str, which: &dyn Fn(&Told) -> bool| {
        let of = outcomes.iter().filter(|(told, _)| which(told)).map(|(_, outcome)| *outcome);
        let Calibration { jobs, held, unknown, ratio } = Calibration::of(of);
        let (held, unknown) = (held * 100.0, unknown * 100.0);
        println!("| {name:<34} | {jobs:>6} | {held:>4.1} % | {unknown:>5.1} % | {ratio:>17.2} |");
    };
    line("all", &|_| true);
    for priority in Priority::ALL {
        line(&format!("  class {}", priority.as_str()), &|told| told.priority == priority);
    }
    line("  session with one job at a time", &|told| told.kind == Kind::Steady);
    line(&format!("  session with {BURST_JOBS} jobs at once"), &|told| told.kind == Kind::Burst);
    line(&format!("  session with {GREEDY_JOBS} jobs at once"), &|told| told.kind == Kind::Greedy);
    line("  none ahead at submit", &|told| told.ahead == 0);
    line("  1 to 5 ahead", &|told| (1..=5).contains(&told.ahead));
    line("  more ahead", &|told| told.ahead > 5);
}
