//! Storm and calm: users, readers and faults at once, then a time in which everything may settle.
//!
//! Goes out: what users were promised and what readers saw. The calm ends when every job has ended
//! and every reader has everything, or when nothing moves any more, which is left to the verdict.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::findings::Findings;
use super::reader::Diary;
use super::schedule::Cast;
use super::set::Places;
use super::stage::Stage;
use super::storm::Struck;
use super::user::{Promise, User};
use super::witness::Witness;
use super::{ChaosArgs, ChaosError, orders, reader, schedule, storm, verdict};

/// Readers of each session.
const READERS: usize = 2;
/// How long users insist after the storm.
const INSIST: Duration = Duration::from_secs(15);
/// Jobs are stuck when nothing at all happens for so long: longer than leases, retries and watchdogs.
const STUCK: Duration = Duration::from_secs(10);
/// The same where a protection is missing, and being stuck is what is expected.
const STUCK_WEAKENED: Duration = Duration::from_secs(5);
/// A storm this long is followed by a calm in which half-open connections must be found out.
const LONG_STORM: Duration = Duration::from_secs(30);

/// What was collected until the end of the storm and after it.
pub(super) struct Books {
    pub(super) promises: Vec<Promise>,
    pub(super) diaries: Vec<Diary>,
    /// What each session's readers had to have in the end.
    pub(super) heads: Vec<u64>,
    pub(super) struck: Struck,
    pub(super) settled_after: Duration,
    pub(super) caught_up_after: Duration,
}

/// Storm and calm.
pub(super) async fn play(
    args: &ChaosArgs,
    dice: &mut Dice,
    stage: &mut Stage,
    places: &Places,
    users: &[User],
    witness: &Witness,
) -> Result<Books, ChaosError> {
    let storm = Duration::from_secs(args.seconds);
    let storm_ms = args.seconds * 1_000;
    let cast = Cast { workers: args.workers.into(), gateways: args.gateways.into() };
    let faults = schedule::draw(&mut dice.fork(), cast, storm_ms);
    let orders = orders::draw(&mut dice.fork(), args.jobs, storm_ms);
    let over = Instant::now() + storm;

    let stop = CancellationToken::new();
    let mut readers = JoinSet::new();
    let mut positions = Vec::new();
    for number in 0..users.len() * READERS {
        let session = number % users.len();
        let (told, position) = watch::channel(0);
        positions.push((session, position));
        let user = users[session].clone();
        readers.spawn(reader::read(user, session, dice.fork(), told, stop.clone()));
    }
    let load = tokio::spawn(order_all(orders, users.to_vec(), dice.fork(), over + INSIST));

    let struck = storm::rage(stage, faults, &places.socket, over).await?;
    storm::calm(stage, storm < LONG_STORM);
    let calm_at = Instant::now();
    let (limit, stuck) = match args.weaken {
        None => (Duration::from_secs(40) + storm, STUCK),
        Some(_) => (Duration::from_secs(10) + storm, STUCK_WEAKENED),
    };
    let promises = settle(stage, witness, load, stuck, calm_at + limit).await?;
    let settled_after = calm_at.elapsed();

    // A deaf connection that nobody cuts is found out by a probe after half a minute.
    let patience = Duration::from_secs(if storm < LONG_STORM { 10 } else { 90 });
    let settled_at = Instant::now();
    let heads: Vec<u64> = witness.with(|seen| {
        let lengths = seen.logs.iter().map(|log| log.entries.len() as u64);
        lengths.collect()
    });
    let behind = |(session, at): &(usize, watch::Receiver<u64>)| *at.borrow() < heads[*session];
    while positions.iter().any(behind) && settled_at.elapsed() < patience {
        stage.tend()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let caught_up_after = settled_at.elapsed();
    stop.cancel();
    Ok(Books {
        promises,
        diaries: readers.join_all().await,
        heads,
        struck,
        settled_after,
        caught_up_after,
    })
}

/// Has every order seen through, each by a task that starts at its time.
async fn order_all(
    orders: Vec<orders::Order>,
    users: Vec<User>,
    mut dice: Dice,
    until: Instant,
) -> Vec<Promise> {
    let began_at = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for order in orders {
        tokio::time::sleep_until(began_at + Duration::from_millis(order.at_ms)).await;
        let user = users[order.session].clone();
        tasks.spawn(user.see_through(order, dice.fork(), until));
    }
    tasks.join_all().await
}

/// Waits until every user is done and every job has ended, or nothing happens any more.
async fn settle(
    stage: &mut Stage,
    witness: &Witness,
    mut load: tokio::task::JoinHandle<Vec<Promise>>,
    patience: Duration,
    limit: Instant,
) -> Result<Vec<Promise>, ChaosError> {
    let (mut promises, mut events, mut changed_at) = (None, 0, Instant::now());
    loop {
        stage.tend()?;
        tokio::select! {
            done = &mut load, if promises.is_none() => promises = Some(done.unwrap_or_default()),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        let (count, unfinished) = witness.with(|seen| {
            let mut scratch = Findings::default();
            let lives = verdict::lives(seen, &mut scratch);
            let count: usize = seen.logs.iter().map(|log| log.entries.len()).sum();
            (count, lives.values().any(|life| !life.is_over()))
        });
        if count != std::mem::replace(&mut events, count) {
            changed_at = Instant::now();
        }
        let stuck = changed_at.elapsed() > patience || Instant::now() > limit;
        if let Some(promises) = promises.take_if(|_| !unfinished || stuck) {
            return Ok(promises);
        }
    }
}
