//! One job's way through the scripts, with every event it leaves.

use std::time::Duration;

use framewire_shared::domain::{Cell, ErrorCode, Failure, Origin, State};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::codec::{Cancel, Completed, Failed, Noted, Retried, Submitted};
use framewire_shared::testing::{prompt, submission};

use crate::world::{World, session};

#[tokio::test]
async fn a_job_goes_from_submit_to_completed_and_leaves_every_event_in_order() {
    let world = World::new();
    let mine = session();
    world.slots(1).await;
    let mut popper = world.store.popper(Cell::FIRST, std::slice::from_ref(&world.pool));
    let job = world.submit(&mine).await;
    assert_eq!(popper.pop().await.unwrap().expect("a job in the window").job, job);
    let (lease, claimed) = world.claim(&job).await.unwrap();
    assert_eq!(claimed.input, prompt("a fox"));
    world.finish(&lease).await;
    let (frames, zero) = ([crate::world::artifact(&lease)], Duration::ZERO);
    let again = world.store.complete(&lease, &frames, zero, zero).await.unwrap();
    assert_eq!(again, Completed::Completed, "the same fence may say it twice");

    let row = world.store.job(&job).await.unwrap().unwrap();
    assert_eq!((row.job.state, row.job.artifacts.len()), (State::Completed, 1));
    assert!(row.job.expires_at > row.job.finished_at);
    assert_eq!(world.events(&mine).await, ["queued", "started", "frame-ready", "completed"]);
    assert_eq!(world.store.snapshot(&mine).await.unwrap().jobs, []);
}

#[tokio::test]
async fn a_failed_attempt_comes_back_after_its_delay_and_ends_as_a_dead_letter() {
    let world = World::with_clock(QueueOptions::default());
    let mine = session();
    world.slots(1).await;
    let job = world.submit(&mine).await;
    let origin = Origin {
        status: Some(529),
        code: Some("over\"loaded".into()),
        request_id: Some("req-1".into()),
    };
    let busy = Failure::new(ErrorCode::Temporary, "busy").detail("HTTP 529 from 10.0.0.1");
    let busy = busy.from_provider(origin.clone());

    let lease = world.take().await.unwrap();
    let delay = Some(Duration::from_secs(5));
    let answer = world.store.fail(&lease, &busy, delay).await.unwrap();
    assert_eq!(answer, Failed::Retrying(crate::world::START_MS + 5_000));
    let sweep = || world.store.sweep_now(Cell::FIRST, &world.pool);
    world.at(4_999);
    assert_eq!(sweep().await.unwrap().due, 0);
    assert!(world.pop().is_none(), "it came back early");
    world.at(5_000);
    assert_eq!(sweep().await.unwrap().due, 1);

    let lease = world.take().await.unwrap();
    assert_eq!(world.store.fail(&lease, &busy, None).await.unwrap(), Failed::Failed);
    let row = world.store.job(&job).await.unwrap().unwrap().job;
    assert_eq!((row.attempt_count, row.failure_stage), (2, Some(State::Processing)));
    assert_eq!(row.error_message.as_deref(), Some("busy"));
    assert_eq!(row.error_origin, origin);
    let told = world.last_event(&mine).await["error"].take();
    let expected = serde_json::json!({"code": "TEMPORARY", "message": "busy",
        "failure_stage": "processing", "retryable": true, "provider": "builtin",
        "provider_status": 529, "provider_code": "over\"loaded", "provider_request_id": "req-1"});
    assert_eq!(told, expected);
    let dead = world.store.dead_letters(Cell::FIRST, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].job, job);
    assert_eq!(world.events(&mine).await, ["queued", "started", "queued", "started", "failed"]);

    assert_eq!(world.store.retry(&job).await.unwrap(), Retried::Queued(1));
    let (_, claimed) = world.claim(&world.pop().unwrap()).await.unwrap();
    assert_eq!((claimed.attempt, claimed.attempt_limit), (3, 5), "a retry buys three attempts");
    let row = world.store.job(&job).await.unwrap().unwrap().job;
    assert_eq!(row.error_origin, Origin::default(), "words of an attempt that counts no more");
}

#[tokio::test]
async fn cancelling_a_running_job_is_heard_by_its_worker_and_ends_it_once() {
    let world = World::new();
    let mine = session();
    world.slots(1).await;
    let job = world.submit(&mine).await;
    let lease = world.take().await.unwrap();
    assert_eq!(world.store.cancel(&job, "user").await.unwrap(), Cancel::Cancelling);
    assert_eq!(world.state(&job).await, State::Processing);
    assert_eq!(world.store.advance(&lease, State::Generating).await.unwrap(), Noted::Cancel);
    assert_eq!(world.store.cancelled_by_worker(&lease).await.unwrap(), Cancel::Cancelled);
    assert_eq!(world.store.cancel(&job, "user").await.unwrap(), Cancel::Ended(State::Cancelled));
    assert_eq!(world.events(&mine).await, ["queued", "started", "cancelled"]);
}

#[tokio::test]
async fn a_job_that_nobody_starts_in_time_fails_as_queued_with_timeout() {
    let world = World::with_clock(QueueOptions::default());
    let mine = session();
    world.slots(0).await;
    let (id, input) = (new_id(), prompt("x"));
    let mut new = submission(&id, &mine, &world.pool, &input);
    new.start_within = Some(Duration::from_secs(10));
    world.store.submit(&new).await.unwrap();
    world.at(10_000);
    let swept = world.store.sweep_now(Cell::FIRST, &world.pool).await;
    assert_eq!(swept.unwrap().expired, 1);
    let job = world.store.job(&id).await.unwrap().unwrap().job;
    assert_eq!(job.failure_stage, Some(State::Queued));
    assert_eq!(job.error_code, Some(ErrorCode::Timeout));
}

#[tokio::test]
async fn beyond_the_limits_a_submit_is_refused_whole() {
    let options = QueueOptions { queue_max: 3, session_max: 2, ..QueueOptions::default() };
    let world = World::with_clock(options);
    let (mine, other) = (session(), session());
    world.submit(&mine).await;
    world.submit(&mine).await;
    let input = prompt("x");
    let id = new_id();
    let refused = world.store.submit(&submission(&id, &mine, &world.pool, &input)).await.unwrap();
    assert!(matches!(refused, Submitted::SessionFull(full) if full.jobs == 2));
    world.submit(&other).await;
    let refused = world.store.submit(&submission(&id, &other, &world.pool, &input)).await.unwrap();
    assert!(matches!(refused, Submitted::QueueFull(full) if full.jobs == 3));
    assert_eq!(world.store.job(&id).await.unwrap(), None);
}

fn new_id() -> framewire_shared::domain::JobId {
    framewire_shared::domain::JobId::new(Cell::FIRST, uuid::Uuid::now_v7())
}
