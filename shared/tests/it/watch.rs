//! Whose readers have left for good, and who is only away for a moment.

use std::time::Duration;

use framewire_shared::domain::{Cell, JobId, SessionId, State};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::codec::Noted;
use framewire_shared::store::watch::Abandoned;

use crate::world::{World, session};

const AFTER: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_secs(2);
/// By then whoever left at 0 is taken to have left: the time and two rounds.
const LEFT_MS: u64 = 24_000;

/// Makes a gateway's rounds from one moment to another, with these sessions; gives what was ended.
async fn rounds(world: &World, span: std::ops::RangeInclusive<u64>, readers: &[SessionId]) -> u32 {
    let mut jobs = 0;
    for ms in span.step_by(EVERY.as_millis() as usize) {
        world.at(ms);
        world.store.watch(Cell::FIRST, readers, AFTER, EVERY).await.unwrap();
        jobs += world.store.abandon(Cell::FIRST).await.unwrap().jobs;
    }
    jobs
}

/// A world where gateways have been watching for a while, and a session with a running and a
/// waiting job, whose reader is there at 0.
async fn watched() -> (World, SessionId, [JobId; 2]) {
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    let mine = session();
    let jobs = [world.submit(&mine).await, world.submit(&mine).await];
    world.take().await.expect("something to run");
    world.at(0);
    world.store.watch(Cell::FIRST, std::slice::from_ref(&mine), AFTER, EVERY).await.unwrap();
    (world, mine, jobs)
}

async fn states(world: &World, jobs: &[JobId; 2]) -> [State; 2] {
    [world.state(&jobs[0]).await, world.state(&jobs[1]).await]
}

#[tokio::test]
async fn when_the_last_reader_stays_away_what_waits_is_cancelled_and_what_runs_is_stopped() {
    let (world, mine, jobs) = watched().await;
    assert_eq!(rounds(&world, 2_000..=LEFT_MS - 2_000, &[]).await, 0);
    assert_eq!(states(&world, &jobs).await, [State::Processing, State::Queued]);
    assert_eq!(rounds(&world, LEFT_MS..=LEFT_MS, &[]).await, 2);
    assert_eq!(states(&world, &jobs).await, [State::Processing, State::Cancelled]);
    let lease = framewire_shared::store::queue::Lease {
        job: jobs[0].clone(),
        fence: framewire_shared::domain::Fence(1),
    };
    assert_eq!(world.store.advance(&lease, State::Generating).await.unwrap(), Noted::Cancel);
    world.store.cancelled_by_worker(&lease).await.unwrap();
    let zero = "0-00000000".parse().unwrap();
    let events = world.store.replay(&mine, Some(&zero)).await.unwrap().events;
    let ends: Vec<_> = events.iter().filter(|event| event.contains(" cancelled ")).collect();
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|event| event.contains(r#""by":"disconnect""#)), "{ends:?}");
    // Once and for all: what it submits afterwards, by polling, is its own again.
    let later = world.submit(&mine).await;
    assert_eq!(rounds(&world, LEFT_MS + 2_000..=3 * LEFT_MS, &[]).await, 0);
    assert_eq!(world.state(&later).await, State::Queued);
}

#[tokio::test]
async fn a_reader_that_comes_back_in_time_saves_everything() {
    let (world, mine, jobs) = watched().await;
    // Back at the last moment, and named at the next round of its gateway.
    rounds(&world, 2_000..=20_000, &[]).await;
    assert_eq!(rounds(&world, 22_000..=80_000, &[mine]).await, 0);
    assert_eq!(states(&world, &jobs).await, [State::Processing, State::Queued]);
}

#[tokio::test]
async fn a_reader_at_another_gateway_keeps_its_session_whatever_the_first_one_sees() {
    let (world, mine, jobs) = watched().await;
    let readers = [mine];
    for ms in (2_000..=80_000).step_by(2_000) {
        world.at(ms);
        for readers in [&[], &readers[..]] {
            world.store.watch(Cell::FIRST, readers, AFTER, EVERY).await.unwrap();
            assert_eq!(world.store.abandon(Cell::FIRST).await.unwrap(), Abandoned::default());
        }
    }
    assert_eq!(states(&world, &jobs).await, [State::Processing, State::Queued]);
}

#[tokio::test]
async fn who_never_opened_a_stream_is_never_taken_to_have_left() {
    let (world, _, _) = watched().await;
    let polling = session();
    let job = world.submit(&polling).await;
    rounds(&world, 2_000..=3 * LEFT_MS, &[]).await;
    assert_eq!(world.state(&job).await, State::Queued);
}

#[tokio::test]
async fn an_outage_of_redis_or_of_all_gateways_is_not_taken_for_the_readers_leaving() {
    let (world, mine, jobs) = watched().await;
    // Nobody was heard of for ten minutes. The first gateway is back, the reader's not yet.
    let back = 600_000;
    assert_eq!(rounds(&world, back..=back + 18_000, &[]).await, 0);
    assert_eq!(states(&world, &jobs).await, [State::Processing, State::Queued]);
    // The reader's gateway, too: nothing has happened.
    assert_eq!(rounds(&world, back + 20_000..=back + 60_000, &[mine]).await, 0);
    assert_eq!(states(&world, &jobs).await, [State::Processing, State::Queued]);
    // And after an outage somebody may have left, too.
    assert_eq!(rounds(&world, back + 62_000..=back + 62_000 + LEFT_MS, &[]).await, 2);
}

#[tokio::test]
async fn many_jobs_of_one_who_left_are_cancelled_some_at_a_time() {
    let world = World::with_clock(QueueOptions::default());
    let mine = session();
    for _ in 0..90 {
        world.submit(&mine).await;
    }
    rounds(&world, 0..=0, &[mine]).await;
    rounds(&world, 2_000..=LEFT_MS - 2_000, &[]).await;
    world.at(LEFT_MS);
    let mut ended = Vec::new();
    for _ in 0..3 {
        let Abandoned { sessions, jobs } = world.store.abandon(Cell::FIRST).await.unwrap();
        ended.push((sessions, jobs));
    }
    assert_eq!(ended, [(0, 50), (1, 40), (0, 0)]);
}

#[tokio::test]
async fn a_session_that_only_polls_is_kept_under_watch_and_never_brought_there() {
    let (world, mine, jobs) = watched().await;
    let other = session();
    world.submit(&other).await;
    for ms in (2_000..=2 * LEFT_MS).step_by(EVERY.as_millis() as usize) {
        world.at(ms);
        world.store.watch(Cell::FIRST, &[], AFTER, EVERY).await.unwrap();
        let polling = [mine.clone(), other.clone()];
        world.store.watch_on(Cell::FIRST, &polling, AFTER, EVERY).await.unwrap();
        assert_eq!(world.store.abandon(Cell::FIRST).await.unwrap(), Abandoned::default());
    }
    assert_eq!(states(&world, &jobs).await, [State::Processing, State::Queued]);
    // Both stop: only the one that ever had a stream is taken to have left.
    let span = 2 * LEFT_MS + 2_000..=4 * LEFT_MS;
    assert_eq!(rounds(&world, span, &[]).await, 2);
}
