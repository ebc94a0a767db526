//! No session starves another, no class starves another, no cap is exceeded.

use framewire_shared::domain::{Cell, Priority, SessionId};
use framewire_shared::store::QueueOptions;

use crate::world::{World, session};

/// Runs whatever is next to its end, `n` times; gives whose it was.
async fn serve(world: &World, n: usize) -> Vec<SessionId> {
    let mut served = Vec::new();
    for second in 1..=n {
        world.at(second as u64 * 1_000);
        let lease = world.take().await.expect("something to run");
        served.push(world.store.owner(&lease.job).await.unwrap().unwrap());
        world.finish(&lease).await;
    }
    served
}

#[tokio::test]
async fn a_session_with_one_job_does_not_wait_behind_a_session_with_fifty() {
    let world = World::with_clock(QueueOptions::default());
    let (greedy, modest) = (session(), session());
    for _ in 0..50 {
        world.submit(&greedy).await;
    }
    world.submit(&modest).await;
    world.slots(1).await;
    let served = serve(&world, 3).await;
    assert!(served.contains(&modest), "{served:?}");
}

#[tokio::test]
async fn equal_sessions_take_turns() {
    let world = World::with_clock(QueueOptions::default());
    let sessions = [session(), session(), session()];
    for session in &sessions {
        for _ in 0..4 {
            world.submit(session).await;
        }
    }
    world.slots(1).await;
    let served = serve(&world, 12).await;
    for turn in served.chunks(3) {
        let mut once = turn.to_vec();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), 3, "{served:?}");
    }
}

#[tokio::test]
async fn one_low_job_is_served_within_twelve_admissions_of_an_endless_stream_of_high() {
    let world = World::with_clock(QueueOptions::default());
    let patient = session();
    world.submit_as(&patient, Priority::Low).await;
    for _ in 0..20 {
        world.submit_as(&session(), Priority::High).await;
    }
    world.slots(1).await;
    let served = serve(&world, 12).await;
    let place = served.iter().position(|served| *served == patient);
    assert!(
        place.is_some_and(|place| place > 0),
        "{place:?}: high goes first, low is not forgotten"
    );
}

#[tokio::test]
async fn an_urgent_job_passes_a_long_normal_queue() {
    let world = World::with_clock(QueueOptions::default());
    for _ in 0..30 {
        world.submit(&session()).await;
    }
    let urgent = session();
    world.submit_as(&urgent, Priority::High).await;
    world.slots(1).await;
    assert_eq!(serve(&world, 1).await, [urgent]);
}

#[tokio::test]
async fn a_session_never_runs_more_than_its_cap_and_the_slots_go_to_others() {
    let world = World::with_clock(QueueOptions::default());
    let (greedy, modest) = (session(), session());
    for _ in 0..10 {
        world.submit(&greedy).await;
    }
    world.submit(&modest).await;
    world.slots(8).await;
    let mut running = Vec::new();
    while let Some(lease) = world.take().await {
        running.push(world.store.owner(&lease.job).await.unwrap().unwrap());
    }
    assert_eq!(running.iter().filter(|who| **who == greedy).count(), 2, "{running:?}");
    assert_eq!(running.iter().filter(|who| **who == modest).count(), 1, "{running:?}");
}

#[tokio::test]
async fn a_lowered_cap_takes_effect_without_ending_what_runs() {
    let world = World::with_clock(QueueOptions::default());
    world.store.configure_session_cap(Cell::FIRST, 3).await.unwrap();
    let mine = session();
    for _ in 0..6 {
        world.submit(&mine).await;
    }
    world.slots(8).await;
    let mut running = Vec::new();
    while let Some(lease) = world.take().await {
        running.push(lease);
    }
    assert_eq!(running.len(), 3);
    world.store.configure_session_cap(Cell::FIRST, 1).await.unwrap();
    for lease in &running[..2] {
        world.finish(lease).await;
        assert!(world.pop().is_none(), "admitted beyond the new cap");
    }
    world.finish(&running[2]).await;
    assert!(world.pop().is_some(), "the line is stuck under the new cap");
}
