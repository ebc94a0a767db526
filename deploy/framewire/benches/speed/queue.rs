//! The queue itself: no HTTP, no pictures; `framewire_shared::store` and a private redis-server with
//! the launcher's settings (`redis.conf`: append-only file, fsync every second) on a unix socket.
//!
//! Beside it, in the same run, a bare loop over the same connections with the same concurrency. It
//! does per job: ZADD and PUBLISH in one round trip; BZPOPMIN; PUBLISH. Ours does per job:
//! `submit.lua`; BZPOPMIN, `claim.lua`, `advance.lua` twice and `complete.lua`, with a record that
//! can be read, caps, fair turns, leases and the session's stream. Nobody listens to the messages but
//! while latency is measured.
//!
//! * 200 sessions with the default cap; [`TASKS`] submits are under way at once on one connection.
//! * "transitions only": [`POPPERS`] connections pop, [`SLOTS`] jobs run at once, and nothing is
//!   done between the transitions. Peers publish this figure.
//! * "whole worker": the worker's own pump, runner and lease keeper with one popping connection, and
//!   a provider that yields one picture at once; it is decoded, hashed and written to a folder.
//! * Redis' CPU is the process' own (INFO cpu): scripts, network and append-only file.
//! * Where the time goes: INFO commandstats around each step alone, under a full queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use framewire_shared::domain::{Cell, Pool, SessionId, WorkerId};
use framewire_shared::store::stream::Heard;
use framewire_shared::store::window::Hint;
use framewire_shared::store::{QueueOptions, Store};
use framewire_shared::testing::RedisServer;
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::figures::{CommandStats, milliseconds};
use crate::server::{REDIS_CONF, info, redis_cli};
use crate::steps::{advance, claim, complete, new_id, submit};
use crate::table::{row, table};
use crate::whole;

/// Sessions that the jobs are spread over.
const SESSIONS: usize = 200;
/// Jobs submitted, then drained, by the bare loop and by ours.
const JOBS: usize = 20_000;
/// Jobs that the whole worker drains; it is slower.
const WHOLE_JOBS: usize = 5_000;
/// Submits under way at once, as many as a busy gateway has.
const TASKS: usize = 64;
/// Connections that pop in "transitions only", so that Redis is what limits.
const POPPERS: usize = 8;
/// Jobs that run at once in "transitions only".
const SLOTS: usize = 64;
/// Jobs that run at once in the whole worker.
const WHOLE_SLOTS: usize = 8;
/// Jobs per second while latency is measured.
const RATE: u32 = 200;
/// How long that rate is kept.
const STEADY_S: u32 = 5;
/// Rounds of [`SLOTS`] jobs, step by step, for the table of where the time goes.
const ROUNDS: usize = 40;
/// Longest wait for one job.
const JOB_TIMEOUT: Duration = Duration::from_secs(20);

/// Sums the memory of all keys by their first word. KEYS is for a Redis of one's own.
const BYTES_BY_KEY: &str = "local sums, list = {}, {} \
    for _, key in ipairs(redis.call('KEYS', '*')) do \
      local word = string.match(key, '}:([^:]+)') \
      sums[word] = (sums[word] or 0) + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', '0') \
    end \
    for word, sum in pairs(sums) do table.insert(list, word .. ' ' .. sum) end \
    return list";

/// Moves a popped job to its end; called once per job.
type Settle = Arc<dyn Fn(Hint) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A Redis, a store on it, and whose jobs go through.
struct Bench {
    redis: RedisServer,
    store: Store,
    pool: Pool,
    worker: WorkerId,
    sessions: Arc<Vec<SessionId>>,
}

/// What had been used at one moment.
struct Mark {
    at: Instant,
    cpu_s: f64,
    memory: f64,
}

/// What one phase took, per job.
struct Took {
    rate: f64,
    cpu_us: f64,
    bytes: f64,
    /// Share of the time in which Redis was busy; its one thread is what limits near 1.
    busy: f64,
}

/// Prints the part's tables.
pub(crate) async fn run() -> Result<()> {
    let bench = Bench::start()?;
    table("The queue itself");
    let bare = bench.bare().await?;
    let ours = bench.ours().await?;
    print(&bare, &ours);
    whole_worker(&bench).await?;
    row(
        &format!("submit to `started`, {RATE} jobs/s for {STEADY_S} s, p50 / p99"),
        bench.latency().await?,
    );
    print_bytes(&ours.bytes_queued, &ours.bytes_finished);
    bench.where_the_time_goes().await
}

/// What the bare loop took.
struct Bare {
    submits: Took,
    drain: Took,
}

/// What ours took, and where its bytes are.
struct Ours {
    submits: Took,
    drain: Took,
    finished: f64,
    bytes_queued: HashMap<String, f64>,
    bytes_finished: HashMap<String, f64>,
}

fn print(bare: &Bare, ours: &Ours) {
    let rate = |took: &Took| format!("{:.0}/s", took.rate);
    let us = |took: &Took| format!("{:.0} µs", took.cpu_us);
    row(&format!("submits, {TASKS} under way"), rate(&ours.submits));
    row("  bare: ZADD + PUBLISH", rate(&bare.submits));
    row("  ours of bare", format!("{:.2}", ours.submits.rate / bare.submits.rate));
    row(&format!("drain, transitions only, {SLOTS} slots"), rate(&ours.drain));
    row("  bare: BZPOPMIN, PUBLISH", rate(&bare.drain));
    row("  ours of bare", format!("{:.2}", ours.drain.rate / bare.drain.rate));
    row("Redis CPU per submit", us(&ours.submits));
    row("  bare", us(&bare.submits));
    row("Redis CPU per job, claim to complete", us(&ours.drain));
    row("  bare", us(&bare.drain));
    let both = |a: &Took, b: &Took| format!("{:.0} µs", a.cpu_us + b.cpu_us);
    row("Redis CPU per job, submit to complete", both(&ours.submits, &ours.drain));
    row("  bare", both(&bare.submits, &bare.drain));
    let busy = |took: &[&Took]| {
        took.iter().map(|took| format!("{:.2}", took.busy)).collect::<Vec<_>>().join(" / ")
    };
    row("Redis busy: submits / drain, ours", busy(&[&ours.submits, &ours.drain]));
    row("  bare", busy(&[&bare.submits, &bare.drain]));
    row("bytes in Redis per queued job", format!("{:.0}", ours.submits.bytes));
    row("  bare", format!("{:.0}", bare.submits.bytes));
    row("bytes in Redis per finished job", format!("{:.0}", ours.finished));
}

/// The worker's own parts, with the jobs of `bench`.
async fn whole_worker(bench: &Bench) -> Result<()> {
    bench.empty()?;
    bench.slots(WHOLE_SLOTS).await?;
    bench.submit_all(WHOLE_JOBS).await?;
    let before = bench.mark()?;
    whole::drain(&bench.store, &bench.pool, &bench.worker, WHOLE_SLOTS, WHOLE_JOBS).await?;
    let took = before.until_now(bench, WHOLE_JOBS)?;
    row(&format!("drain, whole worker, {WHOLE_SLOTS} slots"), format!("{:.0}/s", took.rate));
    row("  Redis CPU per job", format!("{:.0} µs", took.cpu_us));
    Ok(())
}

impl Bench {
    fn start() -> Result<Self> {
        let redis = RedisServer::start_from(REDIS_CONF);
        let many = 100 * JOBS as u32;
        let store = redis.store_with(QueueOptions {
            queue_max: many,
            session_max: many,
            ..QueueOptions::default()
        });
        let sessions = (0..SESSIONS).map(|_| SessionId::new(Cell::FIRST, Uuid::new_v4()));
        let sessions = Arc::new(sessions.collect());
        let pool = "default".parse().context("a pool")?;
        Ok(Self { redis, store, pool, worker: WorkerId::new(Uuid::new_v4()), sessions })
    }

    /// Removes everything, and waits until it is gone.
    fn empty(&self) -> Result<()> {
        redis_cli(&self.redis, &["FLUSHALL", "SYNC"]).map(drop)
    }

    /// Has Redis count on this many slots.
    async fn slots(&self, slots: usize) -> Result<()> {
        let hour = Duration::from_secs(3_600);
        self.store.heartbeat(Cell::FIRST, &self.pool, &self.worker, slots as u32, hour).await?;
        Ok(())
    }

    fn mark(&self) -> Result<Mark> {
        let cpu = |field| info(&self.redis, "cpu", field);
        Ok(Mark {
            cpu_s: cpu("used_cpu_user")? + cpu("used_cpu_sys")?,
            memory: info(&self.redis, "memory", "used_memory")?,
            at: Instant::now(),
        })
    }

    async fn bare(&self) -> Result<Bare> {
        self.empty()?;
        let start = self.mark()?;
        let (store, pool, sessions) =
            (self.store.clone(), self.pool.clone(), self.sessions.clone());
        spread(JOBS, move |n| {
            let (store, pool, sessions) = (store.clone(), pool.clone(), sessions.clone());
            Box::pin(async move {
                let session = &sessions[n % sessions.len()];
                Ok(store.bare_submit(&new_id(), session, &pool, n as u64).await?)
            })
        })
        .await?;
        let submits = start.until_now(self, JOBS)?;

        let start = self.mark()?;
        let (store, session) = (self.store.clone(), self.sessions[0].clone());
        self.drain(
            JOBS,
            Arc::new(move |hint| {
                let (store, session) = (store.clone(), session.clone());
                Box::pin(async move { Ok(store.bare_complete(&hint.job, &session).await?) })
            }),
        )
        .await?;
        Ok(Bare { submits, drain: start.until_now(self, JOBS)? })
    }

    async fn ours(&self) -> Result<Ours> {
        self.empty()?;
        self.slots(SLOTS).await?;
        let start = self.mark()?;
        self.submit_all(JOBS).await?;
        let submits = start.until_now(self, JOBS)?;
        let bytes_queued = self.bytes_by_key()?;

        let full = self.mark()?;
        self.drain(JOBS, self.transitions()).await?;
        let drain = full.until_now(self, JOBS)?;
        let finished = start.until_now(self, JOBS)?.bytes;
        Ok(Ours { submits, drain, finished, bytes_queued, bytes_finished: self.bytes_by_key()? })
    }

    async fn submit_all(&self, jobs: usize) -> Result<()> {
        let (store, pool, sessions) =
            (self.store.clone(), self.pool.clone(), self.sessions.clone());
        spread(jobs, move |n| {
            let (store, pool, sessions) = (store.clone(), pool.clone(), sessions.clone());
            Box::pin(async move {
                submit(&store, &pool, &sessions[n % sessions.len()], &new_id()).await
            })
        })
        .await
    }

    /// What a worker does with a popped job, without a picture.
    fn transitions(&self) -> Settle {
        let (store, worker) = (self.store.clone(), self.worker.clone());
        Arc::new(move |hint| {
            let (store, worker) = (store.clone(), worker.clone());
            Box::pin(async move {
                let lease = claim(&store, &worker, hint.job).await?;
                advance(&store, &lease).await?;
                complete(&store, &lease).await
            })
        })
    }

    /// Pops and settles until `jobs` are done.
    async fn drain(&self, jobs: usize, settle: Settle) -> Result<()> {
        let slots = Arc::new(Semaphore::new(SLOTS));
        let (sender, mut settled) = mpsc::channel(SLOTS);
        // A popper goes with its task, and its socket with it.
        let mut poppers = JoinSet::new();
        for _ in 0..POPPERS {
            let mut popper = self.store.popper(Cell::FIRST, std::slice::from_ref(&self.pool));
            let (slots, settle, sender) = (slots.clone(), settle.clone(), sender.clone());
            poppers.spawn(async move {
                let mut running = JoinSet::new();
                loop {
                    while running.try_join_next().is_some() {}
                    let Ok(slot) = slots.clone().acquire_owned().await else { return };
                    match popper.pop().await {
                        Ok(None) => {}
                        Ok(Some(hint)) => {
                            let (done, sender) = (settle(hint), sender.clone());
                            running.spawn(async move {
                                let _slot = slot;
                                sender.send(done.await).await.ok();
                            });
                        }
                        Err(error) => {
                            sender.send(Err(error.into())).await.ok();
                            return;
                        }
                    }
                }
            });
        }
        for _ in 0..jobs {
            let next = tokio::time::timeout(JOB_TIMEOUT, settled.recv()).await;
            next.context("no job ended for 20 s")?.context("a popper")??;
        }
        Ok(())
    }

    /// Submits at a steady rate while workers are idle; gives p50 and p99 until `started` is heard.
    async fn latency(&self) -> Result<String> {
        self.empty()?;
        self.slots(SLOTS).await?;
        let (mut sink, mut stream) = self.store.tail(Cell::FIRST).await?;
        sink.subscribe(&self.sessions).await?;
        let jobs = (RATE * STEADY_S) as usize;
        let (mut submitted, mut took) = (HashMap::new(), Vec::new());
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        let mut submits = JoinSet::new();
        let drained = self.drain(jobs, self.transitions());
        tokio::pin!(drained);
        let mut drained_too = false;
        while took.len() < jobs || !drained_too {
            tokio::select! {
                _ = ticks.tick(), if submitted.len() < jobs => {
                    let session = self.sessions[submitted.len() % SESSIONS].clone();
                    let (store, pool, id) = (self.store.clone(), self.pool.clone(), new_id());
                    submitted.insert(id.to_string(), Instant::now());
                    submits.spawn(async move { submit(&store, &pool, &session, &id).await });
                }
                heard = stream.next() => {
                    let now = Instant::now();
                    let Some(Heard::Event(_, text)) = heard else { bail!("the tail broke") };
                    let mut words = text.split_whitespace().skip(2);
                    if words.next() == Some("started") {
                        let job = words.next().and_then(|job| submitted.get(job));
                        took.push(now - *job.context("a job of ours")?);
                    }
                }
                ended = &mut drained, if !drained_too => { ended?; drained_too = true; }
            }
        }
        while let Some(submit) = submits.join_next().await {
            submit??;
        }
        Ok(milliseconds(&mut took))
    }

    fn bytes_by_key(&self) -> Result<HashMap<String, f64>> {
        let said = redis_cli(&self.redis, &["EVAL", BYTES_BY_KEY, "0"])?;
        let pair = |line: &str| {
            let (word, bytes) = line.split_once(' ')?;
            Some((word.to_owned(), bytes.trim().parse().ok()?))
        };
        Ok(said.lines().filter_map(pair).collect())
    }

    fn command_stats(&self) -> Result<CommandStats> {
        Ok(CommandStats::parse(&redis_cli(&self.redis, &["INFO", "commandstats"])?))
    }

    /// Runs rounds of jobs step by step, under a full queue, and prints what each step called.
    async fn where_the_time_goes(&self) -> Result<()> {
        const STEPS: [&str; 4] = ["submit", "claim", "advance ×2", "complete"];
        self.empty()?;
        self.slots(SLOTS).await?;
        // As many wait as are taken, so that every round meets the same queue.
        self.submit_all(SLOTS * ROUNDS).await?;
        let mut steps: [CommandStats; STEPS.len()] = Default::default();
        let mut seen = self.command_stats()?;
        let mut note = |step: &mut CommandStats| -> Result<()> {
            let now = self.command_stats()?;
            step.add_since(&std::mem::replace(&mut seen, now.clone()), &now);
            Ok(())
        };
        for _ in 0..ROUNDS {
            self.submit_all(SLOTS).await?;
            note(&mut steps[0])?;
            let mut jobs = Vec::new();
            while let Some(job) = self.redis.pop(&self.pool) {
                jobs.push(job);
            }
            // The pops and their connections are nobody's.
            note(&mut CommandStats::default())?;
            let mut leases = Vec::new();
            for job in jobs {
                leases.push(claim(&self.store, &self.worker, job).await?);
            }
            note(&mut steps[1])?;
            for lease in &leases {
                advance(&self.store, lease).await?;
            }
            note(&mut steps[2])?;
            for lease in &leases {
                complete(&self.store, lease).await?;
            }
            note(&mut steps[3])?;
        }
        print_steps(&STEPS, &steps, (SLOTS * ROUNDS) as f64);
        Ok(())
    }
}

impl Mark {
    fn until_now(&self, bench: &Bench, jobs: usize) -> Result<Took> {
        let seconds = self.at.elapsed().as_secs_f64();
        let (now, jobs) = (bench.mark()?, jobs as f64);
        Ok(Took {
            rate: jobs / seconds,
            cpu_us: (now.cpu_s - self.cpu_s) / jobs * 1e6,
            bytes: (now.memory - self.memory) / jobs,
            busy: (now.cpu_s - self.cpu_s) / seconds,
        })
    }
}

/// Does `work` for 0 to `count`, [`TASKS`] of them at once.
async fn spread(
    count: usize,
    work: impl Fn(usize) -> BoxFuture<'static, Result<()>> + Clone + Send + 'static,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let work = work.clone();
        tasks.spawn(async move {
            for n in (task..count).step_by(TASKS) {
                work(n).await?;
            }
            anyhow::Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect()
}

fn print_bytes(queued: &HashMap<String, f64>, finished: &HashMap<String, f64>) {
    println!("\n| {:<20} | {:>20} | {:>20} |", "bytes per job in", "queued", "finished");
    println!("|{:-<22}|{:->22}|{:->22}|", "", "", "");
    let mut keys: Vec<&String> = queued.keys().chain(finished.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let each = |bytes: &HashMap<String, f64>| {
            format!("{:.0}", bytes.get(key).copied().unwrap_or_default() / JOBS as f64)
        };
        if each(queued) != "0" || each(finished) != "0" {
            println!("| {key:<20} | {:>20} | {:>20} |", each(queued), each(finished));
        }
    }
}

fn print_steps(names: &[&str; 4], steps: &[CommandStats; 4], jobs: f64) {
    let line = |name: &str, cell: &dyn Fn(&CommandStats) -> String| {
        let cells: Vec<String> = steps.iter().map(|step| format!("{:>16}", cell(step))).collect();
        println!("| {name:<26} | {} |", cells.join(" | "));
    };
    let titles: Vec<String> = names.iter().map(|name| format!("{name:>16}")).collect();
    println!("\n| {:<26} | {} |", "per job: calls × µs", titles.join(" | "));
    println!("|{:-<28}|{}|", "", ["-".repeat(18).as_str(); 4].join("|"));
    let mut commands: Vec<&str> =
        steps.iter().flat_map(CommandStats::inside).map(|(name, _)| name).collect();
    commands.sort_unstable();
    commands.dedup();
    for command in commands {
        line(command, &|step| match step.0.get(command) {
            Some(all) if all.calls > 0.0 => {
                format!("{:.2} × {:.1}", all.calls / jobs, all.us / all.calls)
            }
            _ => String::new(),
        });
    }
    line("in commands", &|step| format!("{:.1}", step.script_us().1 / jobs));
    line("in Lua", &|step| format!("{:.1}", (step.script_us().0 - step.script_us().1) / jobs));
    line("scripts in all", &|step| format!("{:.1}", step.script_us().0 / jobs));
}
