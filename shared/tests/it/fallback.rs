//! What is shown where there is no frame, and that it never leads to bytes that are gone.

use std::time::Duration;

use framewire_shared::domain::{
    Cell, ErrorCode, Event, Failure, Fallback, FallbackKind, JobId, SessionId, State,
};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::codec::{Deleted, Full, Submitted};
use framewire_shared::store::queue::Lease;
use framewire_shared::testing::{prompt, submission};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, artifact, session};

const RETENTION_MS: u64 = 3_600_000;
/// How long before its end a last frame is not told of any more.
const MARGIN_MS: u64 = 960_000;

fn world() -> World {
    let retention = Duration::from_millis(RETENTION_MS);
    World::with_clock(QueueOptions { retention, ..QueueOptions::default() })
}

/// Has a job of this session completed; gives its name and what it leaves to show.
async fn completed(world: &World, session: &SessionId) -> (JobId, Fallback) {
    let job = world.submit(session).await;
    let lease = world.take().await.unwrap();
    assert_eq!(lease.job, job);
    world.finish(&lease).await;
    (job, last_of(&lease))
}

fn last_of(lease: &Lease) -> Fallback {
    Fallback { url: artifact(lease).url, kind: FallbackKind::Session }
}

async fn submit(world: &World, session: &SessionId, model: &str) -> (JobId, Submitted) {
    let (id, input) = (JobId::new(Cell::FIRST, Uuid::now_v7()), prompt("x"));
    let mut new = submission(&id, session, &world.pool, &input);
    new.model = model;
    let answer = world.store.submit(&new).await.unwrap();
    (id, answer)
}

/// Submits a job that is accepted; gives what it shows until it has a frame.
async fn accepted(world: &World, session: &SessionId, model: &str) -> Fallback {
    match submit(world, session, model).await {
        (_, Submitted::Accepted { fallback, .. }) => fallback,
        (_, answer) => panic!("{answer:?}"),
    }
}

async fn shown(world: &World, job: &JobId) -> Option<Fallback> {
    world.store.job(job).await.unwrap().expect("a job").fallback
}

/// Gives what the newest event of a session, which must be of this kind, says of a fallback.
async fn told(world: &World, session: &SessionId, kind: &str) -> Value {
    let zero = "0-00000000".parse().unwrap();
    let events = world.store.replay(session, Some(&zero)).await.unwrap().events;
    let event = Event::parse(events.last().unwrap()).unwrap();
    assert_eq!(event.kind.as_str(), kind);
    let data: Value = serde_json::from_str(event.data).unwrap();
    data.get("fallback").expect("the member is always there").clone()
}

#[tokio::test]
async fn the_last_frame_of_a_session_and_model_stands_in_for_those_alone() {
    let world = world();
    world.slots(1).await;
    let (mine, other) = (session(), session());
    let first = submit(&world, &mine, "builtin").await.0;
    assert_eq!(shown(&world, &first).await, Some(Fallback::shipped()));
    let lease = world.take().await.unwrap();
    world.finish(&lease).await;
    assert_eq!(shown(&world, &first).await, None, "a job that has frames shows them");

    let last = last_of(&lease);
    assert_eq!(accepted(&world, &mine, "builtin").await, last);
    assert_eq!(accepted(&world, &mine, "another").await, Fallback::shipped());
    assert_eq!(accepted(&world, &other, "builtin").await, Fallback::shipped());
    assert_eq!(world.store.fallback(&mine, "builtin", false).await.unwrap(), last);
    assert_eq!(world.store.fallback(&mine, "another", false).await.unwrap(), Fallback::shipped());
    let snapshot = world.store.snapshot(&mine).await.unwrap();
    let rows: Vec<_> = snapshot.jobs.into_iter().map(|row| row.fallback.unwrap()).collect();
    assert_eq!(rows, [Fallback::shipped(), last]);
}

#[tokio::test]
async fn the_newer_frame_takes_the_place_of_the_older() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    completed(&world, &mine).await;
    let (_, newer) = completed(&world, &mine).await;
    assert_eq!(accepted(&world, &mine, "builtin").await, newer);
}

#[tokio::test]
async fn a_last_frame_is_not_told_of_when_it_may_be_gone_before_it_is_fetched() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    let (_, last) = completed(&world, &mine).await;
    let waiting = submit(&world, &mine, "builtin").await.0;
    world.at(RETENTION_MS - MARGIN_MS);
    assert_eq!(shown(&world, &waiting).await, Some(last));
    world.at(RETENTION_MS - MARGIN_MS + 1);
    assert_eq!(shown(&world, &waiting).await, Some(Fallback::shipped()));
    assert_eq!(accepted(&world, &mine, "builtin").await, Fallback::shipped());
    assert_eq!(world.store.fallback(&mine, "builtin", false).await.unwrap(), Fallback::shipped());
    world.store.cancel(&waiting, "user").await.unwrap();
    assert_eq!(told(&world, &mine, "cancelled").await, json!(Fallback::shipped()));
}

#[tokio::test]
async fn a_job_that_ends_without_a_frame_is_told_of_with_one_to_show() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    let last = json!(completed(&world, &mine).await.1);
    let failure = Failure::new(ErrorCode::Permanent, "no");

    world.submit(&mine).await;
    let lease = world.take().await.unwrap();
    world.store.fail(&lease, &failure, None).await.unwrap();
    assert_eq!(told(&world, &mine, "failed").await, last);
    assert_eq!(json!(shown(&world, &lease.job).await), last);

    let job = world.submit(&mine).await;
    world.store.cancel(&job, "user").await.unwrap();
    assert_eq!(told(&world, &mine, "cancelled").await, last);

    // One of its own is better than any of another.
    world.submit(&mine).await;
    let lease = world.take().await.unwrap();
    world.store.announce_frame(&lease, &[artifact(&lease)]).await.unwrap();
    world.store.fail(&lease, &failure, None).await.unwrap();
    assert_eq!(told(&world, &mine, "failed").await, Value::Null);
    assert_eq!(shown(&world, &lease.job).await, None);
}

#[tokio::test]
async fn refusals_say_when_there_should_be_room_and_what_to_show() {
    let options = QueueOptions { queue_max: 3, session_max: 2, ..QueueOptions::default() };
    let world = World::with_clock(options);
    let (mine, other) = (session(), session());
    let full =
        |jobs, room_ms, fallback: &Fallback| Full { jobs, room_ms, fallback: fallback.clone() };

    for _ in 0..2 {
        accepted(&world, &mine, "builtin").await;
    }
    let refused = submit(&world, &mine, "builtin").await.1;
    let nobody_can_tell = full(2, None, &Fallback::shipped());
    assert_eq!(refused, Submitted::SessionFull(nobody_can_tell));

    // Two workers' slots, and each job takes eight seconds: a place comes free every four.
    world.slots(2).await;
    world.redis_cli(&["HSET", "fw:{c0}:pool:default", "service_ms", "8000"]);
    let leases = [world.take().await.unwrap(), world.take().await.unwrap()];
    let refused = submit(&world, &mine, "builtin").await.1;
    assert_eq!(refused, Submitted::SessionFull(full(2, Some(8_000), &Fallback::shipped())));
    accepted(&world, &other, "builtin").await;
    accepted(&world, &other, "builtin").await;
    accepted(&world, &session(), "builtin").await;
    let refused = submit(&world, &session(), "builtin").await.1;
    assert_eq!(refused, Submitted::QueueFull(full(3, Some(4_000), &Fallback::shipped())));

    // Its own jobs wait behind nobody, but have to be drawn.
    let refused = submit(&world, &other, "builtin").await.1;
    assert_eq!(refused, Submitted::SessionFull(full(2, Some(8_000), &Fallback::shipped())));

    world.finish(&leases[0]).await;
    world.redis_cli(&["HSET", "fw:{c0}:pool:default", "service_ms", "8000"]);
    let refused = submit(&world, &mine, "builtin").await.1;
    assert_eq!(refused, Submitted::QueueFull(full(3, Some(4_000), &last_of(&leases[0]))));
}

#[tokio::test]
async fn a_key_that_is_taken_is_refused_with_something_to_show() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    let (_, last) = completed(&world, &mine).await;
    let input = prompt("x");
    let mut answers = Vec::new();
    for digest in ["d", "e"] {
        let id = JobId::new(Cell::FIRST, Uuid::now_v7());
        let mut new = submission(&id, &mine, &world.pool, &input);
        new.idempotency = Some(("k", digest));
        answers.push((id.clone(), world.store.submit(&new).await.unwrap()));
    }
    assert_eq!(answers[1].1, Submitted::KeyReused(answers[0].0.clone(), last));
}

#[tokio::test]
async fn a_session_none_of_whose_jobs_has_ended_is_asked_for_no_last_frame() {
    let world = world();
    let mine = session();
    let asked = || {
        let stats = world.redis_cli(&["INFO", "commandstats"]);
        let calls = stats.split_once("cmdstat_hget:calls=").map_or("0", |(_, rest)| rest);
        calls.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    for _ in 0..3 {
        accepted(&world, &mine, "builtin").await;
    }
    assert_eq!(asked(), 0);
    let (job, _) = submit(&world, &mine, "builtin").await;
    world.store.cancel(&job, "user").await.unwrap();
    let before = asked();
    accepted(&world, &mine, "builtin").await;
    assert_eq!(asked(), before + 1);
}

#[tokio::test]
async fn a_deleted_job_leaves_nothing_and_is_not_the_last_any_more() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    completed(&world, &mine).await;
    let (job, last) = completed(&world, &mine).await;
    assert_eq!(world.store.fallback(&mine, "builtin", false).await.unwrap(), last);
    assert_eq!(world.store.delete(&job, &session()).await.unwrap(), Deleted::Missing);
    assert_eq!(world.store.delete(&job, &mine).await.unwrap(), Deleted::Deleted);
    assert_eq!(world.store.delete(&job, &mine).await.unwrap(), Deleted::Missing);
    assert_eq!(world.store.fallback(&mine, "builtin", false).await.unwrap(), Fallback::shipped());
    assert_eq!(world.store.job(&job).await.unwrap(), None);
    let left = world.redis_cli(&["KEYS", &format!("*{job}*")]);
    assert_eq!(left, "");
    assert_eq!(world.store.jobs(&mine, None, 10).await.unwrap().0.len(), 1);

    // One that is not the last takes nothing of another with it.
    let (_, newest) = completed(&world, &mine).await;
    let older = world.store.jobs(&mine, None, 10).await.unwrap().0[1].job.id.clone();
    assert_eq!(world.store.delete(&older, &mine).await.unwrap(), Deleted::Deleted);
    assert_eq!(world.store.fallback(&mine, "builtin", false).await.unwrap(), newest);
}

#[tokio::test]
async fn only_a_job_that_has_ended_is_deleted_and_its_letter_and_key_go_with_it() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    let (id, input) = (JobId::new(Cell::FIRST, Uuid::now_v7()), prompt("x"));
    let mut new = submission(&id, &mine, &world.pool, &input);
    new.idempotency = Some(("k", "d"));
    world.store.submit(&new).await.unwrap();
    let refused = world.store.delete(&id, &mine).await.unwrap();
    assert_eq!(refused, Deleted::Refused(State::Queued));
    let lease = world.take().await.unwrap();
    let refused = world.store.delete(&id, &mine).await.unwrap();
    assert_eq!(refused, Deleted::Refused(State::Processing));
    let failure = Failure::new(ErrorCode::Permanent, "no");
    world.store.fail(&lease, &failure, None).await.unwrap();
    assert_eq!(world.store.dead_letters(Cell::FIRST, 10).await.unwrap().len(), 1);
    assert_eq!(world.store.delete(&id, &mine).await.unwrap(), Deleted::Deleted);
    assert_eq!(world.store.dead_letters(Cell::FIRST, 10).await.unwrap(), []);

    let again = JobId::new(Cell::FIRST, Uuid::now_v7());
    new.id = &again;
    let answer = world.store.submit(&new).await.unwrap();
    assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
}
