//! `framewire chaos`: everything that can be killed is killed, and then the books are compared.
//!
//! A Redis of its own, workers and gateways as real processes with a proxy each before Redis, users
//! who order, cancel and retry over HTTP, readers who follow the streams. A storm of faults goes
//! over all of them: kills, drains, pauses, cut, torn, slow and half-open connections, jobs that
//! kill their workers, a Redis that dies and comes back on its append-only file; after it, a calm
//! in which everything may settle. Then three books must agree: what users were promised (`user`),
//! what Redis had at any moment (`witness`), what readers saw (`reader`). That the run can fail is
//! shown by mutants, each a protection that is missing (`mutant`); `--mutants` holds the `course` for
//! each, and every one must break the promise that is its own. The seed fixes orders and faults; how they meet is
//! chance. Reading order below: what is planned, who is on stage, who watches, the judgement.

// Chance that can be repeated.
mod dice;
// Which faults come when.
mod schedule;
// What users will ask for.
mod orders;
// Orders and faults in which every protection is needed.
mod course;
// The network between one process and Redis.
mod proxy;
// Takes published events out of a gateway's ears.
mod forger;
// Processes that are hit and come back.
mod stage;
// Sets the stage.
mod set;
// Does to the stage what the schedule says.
mod storm;
// Takes a protection away.
mod mutant;
// A user with a session.
mod user;
// When a gateway was ready.
mod pulse;
// A browser that follows its stream.
mod reader;
// Redis' protocol, as much as a witness needs.
mod wire;
// Sees everything that happens in Redis.
mod witness;
// Storm and calm.
mod play;
// What is there when everything is over.
mod inventory;
// What must be zero.
mod findings;
// What one job's events may say.
mod life;
// Compares the books.
mod verdict;
// How soon things went on, how long they waited.
mod measures;
// The run in numbers.
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use self::dice::Dice;
use self::findings::{Findings, Kind};
use self::measures::Times;
use self::mutant::{Mutant, Weaken};
use self::report::Report;
use self::user::{Promise, Town};
use self::wire::Wire;
use self::witness::{Entry, Seen, Witness};
use crate::console;
use crate::data::{DataDir, DataError};
use crate::redis::RedisError;

/// Jobs that a second of storm is enough for, with the slots of the defaults.
const JOBS_PER_SECOND: u64 = 20;

/// What `framewire chaos` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChaosArgs {
    /// Jobs that users order; each must be accepted
    #[arg(long, value_name = "N", default_value_t = 500)]
    jobs: u32,
    /// Length of the storm; the calm after it takes as long as the jobs do [default: by the jobs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: Option<u64>,
    /// Fixes orders and faults [default: a new one, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    workers: u8,
    /// Gateway processes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    gateways: u8,
    /// Jobs that run at the same time in each worker
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    slots: u8,
    /// When Redis syncs its append-only file
    #[arg(long, value_enum, default_value_t = Sync::Always)]
    appendfsync: Sync,
    /// An empty folder for Redis' file, frames and logs [default: one that goes if all is well]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the report is written as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Holds the course instead: a short run, not drawn, in which every protection is needed
    #[arg(long, conflicts_with_all = ["jobs", "seconds", "slots", "workers"])]
    course: bool,
    /// Holds the course without a protection, to see that its promise is broken then
    #[arg(long, value_name = "NAME", conflicts_with_all = ["jobs", "seconds", "slots", "workers"])]
    weaken: Option<Weaken>,
    /// Holds the course with all protections, then without each in turn; fails if one is not missed
    #[arg(long, conflicts_with_all = ["weaken", "jobs", "seconds", "slots", "workers", "data", "report"])]
    mutants: bool,
}

impl ChaosArgs {
    /// Gives the length of the storm.
    fn storm(&self) -> Duration {
        if self.is_course() {
            return course::LENGTH;
        }
        let by_jobs = || (u64::from(self.jobs) / JOBS_PER_SECOND).clamp(10, 3_600);
        Duration::from_secs(self.seconds.unwrap_or_else(by_jobs))
    }

    /// Gives the unfinished jobs of one session; the greedy one reaches it when the storm is bad.
    fn session_max(&self) -> u32 {
        if self.is_course() { course::SESSION_MAX } else { (self.jobs / 10).clamp(40, 120) }
    }

    /// Tells whether the course is held, and no storm.
    fn is_course(&self) -> bool {
        self.course || self.weaken.is_some()
    }

    /// Gives the jobs that run at the same time in each worker.
    fn slots(&self) -> u8 {
        if self.is_course() { course::SLOTS } else { self.slots }
    }
}

/// When Redis syncs its append-only file. What was answered survives a kill either way, as long as
/// the disk keeps up: with `everysec`, writes wait for a sync that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sync {
    /// Before each answer
    Always,
    /// Once a second, as `framewire up` has it
    Everysec,
}

impl Sync {
    /// Gives its name in Redis.
    fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
        }
    }
}

/// Why the run could not be held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChaosError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("find {0} beside this program")]
    Missing(&'static str),
    #[error("use {} for the run: it is not empty", .0.display())]
    NotEmpty(PathBuf),
    #[error("have everybody ready in time; {0}")]
    Opening(String),
    #[error("handle files and processes of the run")]
    Io(#[from] std::io::Error),
    #[error("take the protection {0} away: no script that was loaded has its line")]
    NoMutant(String),
    #[error("open sessions before the storm")]
    Http(#[from] reqwest::Error),
}

/// Holds the run, or one for each mutant, and shows what came of it; tells whether all was as it
/// must be.
pub(crate) async fn chaos(args: ChaosArgs) -> Result<bool, ChaosError> {
    let seed = args.seed.unwrap_or_else(|| storm::epoch_ms() % 1_000_000);
    if args.mutants {
        return mutants(&args, seed).await;
    }
    let (report, path) = hold_in_folder(&args, seed).await?;
    console::show(&report.text());
    if !report.is_clean() {
        console::show(&format!("logs are in {}\n", path.display()));
    }
    if let Some(file) = &args.report {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    Ok(report.is_clean())
}

/// Holds the course with everything and without each protection; tells whether the first was clean
/// and every other one broke the promise that is its mutant's.
async fn mutants(args: &ChaosArgs, seed: u64) -> Result<bool, ChaosError> {
    let mut failed = 0;
    let all = std::iter::once(None).chain(Weaken::value_variants().iter().copied().map(Some));
    for (weaken, seed) in all.zip(seed..) {
        let args = ChaosArgs { course: true, weaken, ..args.clone() };
        let (report, path) = hold_in_folder(&args, seed).await?;
        let (is_right, verdict) = match weaken {
            None if report.is_clean() => (true, "clean"),
            None => (false, "NOT CLEAN"),
            Some(_) if report.is_missed() => (true, "found"),
            Some(_) => (false, "NOT FOUND"),
        };
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
        failed += u32::from(!is_right);
        let name = weaken.map_or_else(|| "all there".to_owned(), Weaken::name);
        let took = report.whole.as_secs();
        console::show(&format!(
            "{verdict:<9} {name:<12} {took:>3} s, seed {seed}: {}\n",
            report.found()
        ));
    }
    Ok(failed == 0)
}

/// Holds a run in its folder, which is gone afterwards if it was ours and all was well.
async fn hold_in_folder(args: &ChaosArgs, seed: u64) -> Result<(Report, PathBuf), ChaosError> {
    let ours = || std::env::temp_dir().join(format!("framewire-chaos-{}", std::process::id()));
    let path = args.data.clone().unwrap_or_else(ours);
    if std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ChaosError::NotEmpty(path));
    }
    let what = match args.weaken {
        Some(weaken) => format!("--weaken {}", weaken.name()),
        None if args.course => "--course".to_owned(),
        None => format!("--jobs {} --seconds {}", args.jobs, args.storm().as_secs()),
    };
    console::show(&format!("framewire chaos --seed {seed} {what}\n"));
    let data = DataDir::take(&path)?;
    let report = hold(args, seed, &data).await?;
    if report.is_clean() && args.data.is_none() && args.weaken.is_none() {
        std::fs::remove_dir_all(&path)?;
    }
    Ok((report, path))
}

async fn hold(args: &ChaosArgs, seed: u64, data: &DataDir) -> Result<Report, ChaosError> {
    let whole = Instant::now();
    let mut dice = Dice::new(seed);
    let mutant = args.weaken.map(Mutant::new);
    let (mut stage, places) = set::up(args, data, mutant.as_ref())?;
    set::open(&mut stage, &places).await?;
    let town = Town::new(places.gateways.clone())?;
    let mut users = Vec::new();
    for _ in 0..orders::SESSIONS {
        users.push(town.session(&mut dice).await?);
    }
    let names: Vec<String> = users.iter().map(|user| user.session.clone()).collect();
    let witness = Witness::start(&places.socket, &names, args.session_max())?;

    let books = play::play(args, &mut dice, &mut stage, &places, &users, &witness).await?;

    if let Some(mutant) = mutant.filter(|mutant| !mutant.has_acted()) {
        return Err(ChaosError::NoMutant(mutant.name()));
    }
    let mut wire = Wire::new(&places.socket, Duration::from_secs(20));
    let records = inventory::jobs(&mut wire)?;
    let dead = inventory::dead(&mut wire)?;
    let leftovers = inventory::leftovers(&mut wire)?;
    let checked = inventory::fetch(&users, &records, &mut dice).await;
    let seen = witness.stop();
    stage.tend()?;

    let mut findings = Findings::default();
    findings.add_all(Kind::Leftover, leftovers);
    findings.add_all(Kind::BadFrame, checked.bad_frames);
    findings.add_all(Kind::Leaked, checked.leaked);
    findings.add_all(Kind::Complaint, town.complaints());
    findings.add_all(Kind::Crashed, stage.crashes.clone());
    findings.add_all(Kind::OverCap, seen.over_cap.clone());
    findings.add_all(Kind::Rewritten, seen.rewritten.clone());
    let late = |id: &String| format!("{id} waited on after a sweep past its start deadline");
    findings.add_all(Kind::Late, seen.late.iter().map(late));
    stage.leave().await;
    let lives = verdict::lives(&seen, &mut findings);
    verdict::jobs(&books.promises, &records, &lives, &mut findings);
    verdict::dead_letters(&dead, &records, &mut findings);
    for diary in &books.diaries {
        let head = books.heads[diary.session];
        verdict::reader(diary, head, &seen, &mut findings);
    }
    let lives = lives.into_values().collect::<Vec<_>>();
    let mut report = Report {
        seed,
        weakened: args.weaken,
        processes: format!(
            "{} workers with {} slots, {} gateways, Redis; every other one over TCP",
            args.workers,
            args.slots(),
            args.gateways
        ),
        appendfsync: args.appendfsync.word(),
        storm: args.storm(),
        whole: whole.elapsed(),
        processor: stage::processor_time(),
        frames: checked.frames,
        given_up: lives.iter().filter(|life| life.given_up).count(),
        missed_start: lives.iter().filter(|life| life.late_at.is_some()).count(),
        findings,
        ..Report::default()
    };
    count(&mut report, books, &records, &seen);
    Ok(report)
}

/// Counts what is worth a number.
fn count(report: &mut Report, books: play::Books, records: &[inventory::Record], seen: &Seen) {
    report.recoveries = measures::recoveries(&books.storm.strikes, &books.pulses, seen);
    report.waits = measures::waits(seen);
    let times = |time: fn(&Promise) -> Option<Duration>| -> Vec<u64> {
        let times = books.promises.iter().filter_map(time);
        times.map(|time| time.as_millis() as u64).collect()
    };
    let promised: Times = [
        ("202, from the request that got it", times(|promise| promise.answered_after)),
        ("202, from the first request", times(|promise| promise.accepted_after)),
    ]
    .into();
    report.waits.extend(promised);
    for times in report.recoveries.values_mut().chain(report.waits.values_mut()) {
        times.sort_unstable();
    }
    report.estimates = measures::estimates(&books.promises, seen);
    report.ordered = books.promises.len();
    report.accepted = books.promises.iter().filter(|it| !it.ids.is_empty()).count();
    report.unknown = books.promises.iter().map(|promise| promise.unknown).sum();
    report.jobs = records.len();
    for job in records {
        *report.ends.entry(job.state.clone()).or_default() += 1;
        report.losses += job.losses;
        report.retries += job.retries;
    }
    let drained = |entry: &&Entry| entry.data["reason"] == "worker_drain";
    report.handed_back = seen.entries().filter(drained).count();
    report.faults = books.storm.counts;
    report.readers = books.diaries.len();
    for diary in &books.diaries {
        report.connections += diary.connections;
        report.delivered += diary.lines.len();
        report.snapshots += diary.snapshots.len();
        for reset in &diary.resets {
            *report.resets.entry(reset.cause.clone()).or_default() += 1;
        }
    }
    report.events = seen.entries().count();
    report.looks = seen.looks;
    report.load_most = seen.load_most;
    report.session_most = seen.session_most;
    report.redis_away = seen.blind;
    report.settled_after = books.settled_after;
    report.caught_up_after = books.caught_up_after;
}
