//! `framewire chaos`: everything that can be killed is killed, and then the books are compared.
//!
//! A Redis of its own, workers and gateways as real processes with a proxy each before Redis, users
//! who order, cancel and retry over HTTP, readers who follow the streams. A storm of faults goes over
//! all of them; after it, a calm in which everything may settle. Then three books must agree: what
//! users were promised (`user`), what Redis had at any moment (`witness`), what readers saw
//! (`reader`). The seed fixes orders and faults; how they meet is chance.
//! Reading order below: what is planned, who is on stage, who watches, the judgement.

// Chance that can be repeated.
mod dice;
// Which faults come when.
mod schedule;
// What users will ask for.
mod orders;
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
mod sabotage;
// A user with a session.
mod user;
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
// The run in numbers.
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::dice::Dice;
use self::findings::{Findings, Kind};
use self::forger::Forger;
use self::report::Report;
use self::sabotage::Saboteur;
pub(crate) use self::sabotage::Weaken;
use self::user::Town;
use self::wire::Wire;
use self::witness::{Seen, Witness};
use crate::console;
use crate::data::{DataDir, DataError};
use crate::redis::RedisError;

/// What `framewire chaos` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ChaosArgs {
    /// Jobs that users order
    #[arg(long, value_name = "N", default_value_t = 500)]
    jobs: u32,
    /// Length of the storm; the calm after it takes as long as the jobs do
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
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
    /// An empty folder for Redis' file, frames and logs [default: one that goes if all is well]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the report is written as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Takes a protection away, to see that the run can fail
    #[arg(long, value_name = "NAME")]
    weaken: Option<Weaken>,
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
    #[error("have every gateway ready in time; {0}")]
    Opening(String),
    #[error("handle files and processes of the run")]
    Io(#[from] std::io::Error),
    #[error("open sessions before the storm")]
    Http(#[from] reqwest::Error),
}

/// Holds the run and shows the report; tells whether every promise held.
pub(crate) async fn chaos(args: ChaosArgs) -> Result<bool, ChaosError> {
    let seed = args.seed.unwrap_or_else(|| storm::epoch_ms() % 1_000_000);
    let temporary = std::env::temp_dir().join(format!("framewire-chaos-{}", std::process::id()));
    let path = args.data.clone().unwrap_or_else(|| temporary.clone());
    if std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ChaosError::NotEmpty(path));
    }
    console::show(&format!(
        "framewire chaos --seed {seed}: {} jobs in a storm of {} s, logs in {}\n",
        args.jobs,
        args.seconds,
        path.display()
    ));
    let data = DataDir::take(&path)?;
    let report = hold(&args, seed, &data).await?;
    console::show(&report.text());
    if let Some(file) = &args.report {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    let clean = report.is_clean();
    if clean && args.data.is_none() {
        std::fs::remove_dir_all(&temporary)?;
    }
    Ok(clean)
}

async fn hold(args: &ChaosArgs, seed: u64, data: &DataDir) -> Result<Report, ChaosError> {
    let whole = Instant::now();
    let mut dice = Dice::new(seed);
    let forger = (args.weaken == Some(Weaken::Offset)).then(Forger::default);
    let (mut stage, places) = set::up(args, data, forger)?;
    set::open(&mut stage, &places).await?;
    let town = Town::new(places.gateways.clone())?;
    let mut users = Vec::new();
    for _ in 0..orders::SESSIONS {
        users.push(town.session(&mut dice).await?);
    }
    let names: Vec<String> = users.iter().map(|user| user.session.clone()).collect();
    let witness = Witness::start(&places.socket, &names)?;
    let saboteur = args.weaken.map(|what| Saboteur::start(what, &places.socket));

    let books = play::play(args, &mut dice, &mut stage, &places, &users, &witness).await?;

    if let Some(saboteur) = saboteur {
        saboteur?.stop();
    }
    let mut wire = Wire::new(&places.socket, Duration::from_secs(20));
    let records = inventory::jobs(&mut wire)?;
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
    stage.leave().await;
    let lives = verdict::lives(&seen, &mut findings);
    verdict::jobs(&books.promises, &records, &lives, &mut findings);
    for diary in &books.diaries {
        let head = books.heads[diary.session];
        verdict::reader(diary, head, &seen, &mut findings);
    }
    let mut report = Report {
        seed,
        weakened: args.weaken.map(|what| format!("{what:?}").to_lowercase()),
        processes: format!(
            "{} workers with {} slots, {} gateways, Redis",
            args.workers, args.slots, args.gateways
        ),
        storm: Duration::from_secs(args.seconds),
        whole: whole.elapsed(),
        frames: checked.frames,
        findings,
        ..Report::default()
    };
    count(&mut report, books, &records, seen);
    Ok(report)
}

/// Counts what is worth a number.
fn count(report: &mut Report, books: play::Books, records: &[inventory::Record], seen: Seen) {
    report.recoveries = verdict::recoveries(&books.struck.kills, &seen);
    report.ordered = books.promises.len();
    report.accept_times = books
        .promises
        .iter()
        .filter_map(|promise| promise.accepted_after)
        .map(|time| time.as_millis() as u64)
        .collect();
    report.accept_times.sort_unstable();
    report.accepted = report.accept_times.len();
    let unknown = books.promises.iter().filter(|promise| promise.unknown);
    report.unknown = unknown.count();
    for job in records {
        *report.ends.entry(job.state.clone()).or_default() += 1;
        report.losses += job.losses;
        report.retries += job.retries;
    }
    report.faults = books.struck.counts;
    report.readers = books.diaries.len();
    for diary in &books.diaries {
        report.connections += diary.connections;
        report.delivered += diary.lines.len();
        report.snapshots += diary.snapshots.len();
        for reset in &diary.resets {
            *report.resets.entry(reset.cause.clone()).or_default() += 1;
        }
    }
    report.events = seen.logs.iter().map(|log| log.entries.len()).sum();
    report.looks = seen.looks;
    report.load_most = seen.load_most;
    report.session_most = seen.session_most;
    report.redis_away = seen.blind;
    report.settled_after = books.settled_after;
    report.caught_up_after = books.caught_up_after;
}
