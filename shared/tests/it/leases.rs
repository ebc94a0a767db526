//! Leases, fences, and workers that are declared dead and come back.

use std::time::Duration;

use framewire_shared::domain::{Cell, ErrorCode, Failure, State, Usage};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::codec::{Completed, Failed, Noted, Released, Renewal, Swept};

use crate::world::{World, artifact, session};

impl World {
    async fn sweep(&self) -> Swept {
        self.store.sweep_now(Cell::FIRST, &self.pool).await.unwrap()
    }
}

#[tokio::test]
async fn a_result_of_a_lost_lease_is_not_recorded() {
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    let mine = session();
    let job = world.submit(&mine).await;
    let zombie = world.take().await.unwrap();
    assert_eq!(world.store.advance(&zombie, State::Generating).await.unwrap(), Noted::Noted);
    world.at(8_000);
    assert_eq!(world.sweep().await.lapsed, 1);
    let heir = world.take().await.unwrap();
    assert!(heir.fence > zombie.fence);

    let lost = Some(State::Processing);
    let store = &world.store;
    assert_eq!(store.advance(&zombie, State::Uploading).await.unwrap(), Noted::Lost(lost));
    let frames = [artifact(&zombie)];
    assert_eq!(store.announce_frame(&zombie, &frames).await.unwrap(), Noted::Lost(lost));
    let zero = Duration::ZERO;
    assert_eq!(store.complete(&zombie, &frames, zero, zero).await.unwrap(), Completed::Lost(lost));
    let failure = Failure::new(ErrorCode::Unknown, "x");
    assert_eq!(store.fail(&zombie, &failure, None).await.unwrap(), Failed::Lost(lost));
    assert_eq!(store.release(&zombie).await.unwrap(), Released::Lost(lost));
    let verdicts = store.renew(Cell::FIRST, &[zombie, heir.clone()]).await.unwrap();
    assert_eq!(verdicts, [Renewal::Lost, Renewal::Renewed]);

    world.finish(&heir).await;
    let events = world.events(&mine).await;
    assert_eq!(
        events,
        ["queued", "started", "queued", "started", "frame-ready", "completed"],
        "{job}"
    );
}

#[tokio::test]
async fn a_lost_worker_burns_no_attempt_but_the_third_loss_ends_the_job() {
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    let mine = session();
    let job = world.submit(&mine).await;
    for loss in 1..=3 {
        let lease = world.take().await.expect("offered again");
        assert_eq!(lease.fence.0, loss);
        world.at(loss * 10_000);
        assert_eq!(world.sweep().await.lapsed, 1);
        let stored = world.store.job(&job).await.unwrap().unwrap().job;
        assert_eq!(stored.losses, loss as u32);
        if loss < 3 {
            assert_eq!((stored.state, stored.attempt_count), (State::Queued, 0));
        } else {
            assert_eq!(stored.state, State::Failed);
            assert_eq!(stored.failure_stage, Some(State::Processing));
        }
    }
    assert_eq!(world.events(&mine).await.last().unwrap(), "failed");
}

#[tokio::test]
async fn a_renewed_lease_does_not_lapse_and_a_hung_attempt_is_not_renewed_for_ever() {
    let options = QueueOptions { attempt_max: Duration::from_secs(60), ..Default::default() };
    let world = World::with_clock(options);
    world.slots(1).await;
    world.submit(&session()).await;
    let lease = world.take().await.unwrap();
    for second in (5..=60).step_by(5) {
        world.at(second * 1_000);
        assert_eq!(world.sweep().await.lapsed, 0, "at {second} s");
        let verdict = world.store.renew(Cell::FIRST, std::slice::from_ref(&lease)).await.unwrap();
        assert_eq!(verdict, [Renewal::Renewed], "at {second} s");
    }
    world.at(61_000);
    let verdict = world.store.renew(Cell::FIRST, std::slice::from_ref(&lease)).await.unwrap();
    assert_eq!(verdict, [Renewal::Overtime]);
    world.at(69_000);
    assert_eq!(world.sweep().await.lapsed, 1);
}

#[tokio::test]
async fn a_job_handed_back_keeps_its_place_and_its_attempts() {
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    let (first, second) = (session(), session());
    let job = world.submit(&first).await;
    let lease = world.take().await.unwrap();
    world.at(5);
    world.submit(&second).await;
    world.slots(0).await;
    assert_eq!(world.store.release(&lease).await.unwrap(), Released::Released);
    let row = world.store.job(&job).await.unwrap().unwrap();
    assert_eq!((row.job.attempt_count, row.ahead), (0, Some(0)), "back at its old place");
}

#[tokio::test]
async fn leases_that_nobody_could_renew_are_not_called_lost_at_once() {
    // After an outage of Redis every lease has passed. The first sweeps leave their holders time
    // to renew, so that a paid call is not started a second time.
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    world.submit(&session()).await;
    let lease = world.take().await.unwrap();
    let sweep = || world.store.sweep(Cell::FIRST, &world.pool);
    world.at(60_000);
    assert_eq!(sweep().await.unwrap().expect("the first sweep").lapsed, 0);
    let verdict = world.store.renew(Cell::FIRST, std::slice::from_ref(&lease)).await.unwrap();
    assert_eq!(verdict, [Renewal::Renewed]);
}

#[tokio::test]
async fn a_worker_that_is_not_heard_of_holds_no_capacity() {
    let world = World::with_clock(QueueOptions::default());
    let life = Duration::from_secs(5);
    let capacity = world.store.heartbeat(Cell::FIRST, &world.pool, &world.worker, 3, life).await;
    assert_eq!(capacity.unwrap(), 3);
    world.at(5_000);
    assert_eq!(world.sweep().await.workers_gone, 1);
    world.submit(&session()).await;
    assert!(world.pop().is_none(), "admitted although nobody could run it");
    world.slots(1).await;
    assert!(world.pop().is_some());
}

#[tokio::test]
async fn what_generations_use_is_counted_once_where_the_next_worker_resumes_them() {
    for (resumed, tokens) in [(true, 5), (false, 15)] {
        let world = World::with_clock(QueueOptions::default());
        world.slots(1).await;
        let job = world.submit(&session()).await;
        let used = Usage { output_tokens: Some(5), ..Usage::default() };
        for turn in ["drained", "lost", "last"] {
            let lease = world.take().await.unwrap();
            if resumed {
                assert_eq!(world.store.checkpoint(&lease, "id").await.unwrap(), Noted::Noted);
            }
            assert_eq!(world.store.usage(&lease, &used).await.unwrap(), Noted::Noted);
            match turn {
                "drained" => drop(world.store.release(&lease).await.unwrap()),
                "lost" => {
                    world.at(60_000);
                    assert_eq!(world.sweep().await.lapsed, 1);
                }
                _ => {}
            }
        }
        let stored = world.store.job(&job).await.unwrap().expect("a job").job;
        assert_eq!(stored.usage.output_tokens, Some(tokens), "resumed: {resumed}");
    }
}
