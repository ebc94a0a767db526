//! Storm and calm: users, readers and faults at once, then a time in which everything may settle.
//!
//! Goes out: what users were promised and what readers saw. The calm ends when every job has ended
//! and every reader has everything, or when nothing moves any more, which is left to the verdict.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::pulse::Beat;
use super::reader::Diary;
use super::schedule::Cast;
use super::set::Places;
use super::stage::Stage;
use super::storm::Storm;
use super::user::{Promise, User};
use super::witness::Witness;
use super::{ChaosArgs, ChaosError, course, orders, pulse, reader, schedule, storm};

/// Readers of each session.
const READERS: usize = 2;
/// Longest calm until users give up and jobs are taken as they are; only a machine that others use
/// needs more than a fraction of it.
const CALM: Duration = Duration::from_secs(1_200);
/// Jobs are stuck when nothing at all happens for so long: longer than leases, retries, watchdogs.
const STUCK: Duration = Duration::from_secs(15);
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
    pub(super) storm: Storm,
    /// When each gateway was ready.
    pub(super) pulses: Vec<Vec<Beat>>,
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
    let length = args.storm();
    let storm_ms = length.as_millis() as u64;
    let cast = Cast { workers: args.workers.into(), gateways: args.gateways.into() };
    let (faults, orders) = match args.is_course() {
        true => (course::faults(cast), course::orders()),
        false => (
            schedule::draw(&mut dice.fork(), cast, storm_ms),
            orders::draw(&mut dice.fork(), args.jobs, storm_ms),
        ),
    };
    let over = Instant::now() + length;

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
    let gateways = places.gateways.iter().cloned();
    let pulses = gateways.map(|gateway| tokio::spawn(pulse::feel(gateway, stop.clone())));
    let pulses: Vec<_> = pulses.collect();
    let enough = CancellationToken::new();
    let load = tokio::spawn(order_all(orders, users.to_vec(), dice.fork(), enough.clone()));

    let mut storm = Storm::new(&places.socket);
    storm.rage(stage, faults, over).await?;
    storm::calm(stage, length < LONG_STORM);
    let calm_at = Instant::now();
    let stuck = if args.weaken.is_some() { STUCK_WEAKENED } else { STUCK };
    let promises = settle(stage, &mut storm, witness, load, enough, stuck).await?;
    let settled_after = calm_at.elapsed();

    // A deaf connection that nobody cuts is found out by a probe after half a minute.
    let patience = match length < LONG_STORM {
        true if args.weaken.is_some() => STUCK_WEAKENED,
        true => Duration::from_secs(10),
        false => Duration::from_secs(90),
    };
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
        storm,
        pulses: join_all(pulses).await.into_iter().map(Result::unwrap_or_default).collect(),
        settled_after,
        caught_up_after,
    })
}

/// Has every order seen through, each by a task that starts at its time.
async fn order_all(
    orders: Vec<orders::Order>,
    users: Vec<User>,
    mut dice: Dice,
    enough: CancellationToken,
) -> Vec<Promise> {
    let began_at = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for order in orders {
        tokio::time::sleep_until(began_at + Duration::from_millis(order.at_ms)).await;
        let user = users[order.session].clone();
        tasks.spawn(user.see_through(order, dice.fork(), enough.clone()));
    }
    tasks.join_all().await
}

/// Waits until every user is done and every job has ended, or nothing happens any more; then it is
/// `enough` for the users too.
async fn settle(
    stage: &mut Stage,
    storm: &mut Storm,
    witness: &Witness,
    mut load: tokio::task::JoinHandle<Vec<Promise>>,
    enough: CancellationToken,
    patience: Duration,
) -> Result<Vec<Promise>, ChaosError> {
    let limit = Instant::now() + CALM;
    let (mut promises, mut events, mut changed_at) = (None, 0, Instant::now());
    loop {
        stage.tend()?;
        storm.hunt(stage);
        tokio::select! {
            done = &mut load, if promises.is_none() => promises = Some(done.unwrap_or_default()),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let (count, unfinished) = witness.with(|seen| {
            let count: usize = seen.logs.iter().map(|log| log.entries.len()).sum();
            (count, seen.unfinished > 0)
        });
        if count != std::mem::replace(&mut events, count) {
            changed_at = Instant::now();
        }
        let stuck = changed_at.elapsed() > patience || Instant::now() > limit;
        if stuck {
            enough.cancel();
        }
        if let Some(promises) = promises.take_if(|_| !unfinished || stuck) {
            return Ok(promises);
        }
    }
}
