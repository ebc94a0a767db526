//! One job's stream, positions, and waiting for a job's end; all with real jobs.

use std::time::Duration;

use framewire_gateway::live::LiveOptions;
use framewire_shared::domain::{
    Artifact, Cell, ErrorCode, Failure, JobId, MediaType, Pool, SessionId, State, WorkerId,
};
use framewire_shared::store::Store;
use framewire_shared::store::codec::{Cancel, Claim, JobRow};
use framewire_shared::store::queue::Lease;
use framewire_shared::testing::{prompt, submission, until};
use serde_json::{Value, json};

use super::world::{Frame, Gateway, NEVER, Reader, World, job, quiet, session};

fn pool() -> Pool {
    "default".parse().unwrap()
}

fn worker() -> WorkerId {
    "w-1".parse().unwrap()
}

/// Shows a job in short.
fn render(row: &JobRow) -> Value {
    json!({"id": row.job.id.as_str(), "status": row.job.state.as_str(), "v": row.job.v})
}

async fn submit(store: &Store, session: &SessionId) -> JobId {
    let id = job();
    let input = prompt("a fox");
    store.submit(&submission(&id, session, &pool(), &input)).await.unwrap();
    id
}

/// Makes room for one job, so that the first one may be claimed.
async fn heartbeat(store: &Store, slots: u32) {
    store.heartbeat(Cell::FIRST, &pool(), &worker(), slots, NEVER).await.unwrap();
}

async fn claim(store: &Store, job: &JobId) -> Lease {
    let Claim::Claimed(claimed) = store.claim(job, &worker(), "builtin").await.unwrap() else {
        panic!("not claimed")
    };
    Lease { job: job.clone(), fence: claimed.fence }
}

async fn finish(store: &Store, lease: &Lease) {
    store.advance(lease, State::Generating).await.unwrap();
    store.advance(lease, State::Uploading).await.unwrap();
    let frame = Artifact {
        index: 0,
        url: format!("/v1/artifacts/{}-1-0.png", lease.job),
        content_type: MediaType::Png,
        width: 64,
        height: 64,
        bytes: 10,
        sha256: "00".into(),
        seed: 1,
    };
    store.complete(lease, &[frame], Duration::ZERO, Duration::ZERO).await.unwrap();
}

fn watch(gateway: &Gateway, session: &SessionId, job: &JobId) -> Reader {
    Reader::new(gateway.live.job_stream(session, job, render).unwrap())
}

async fn to_the_end(reader: &mut Reader) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = reader.maybe_next().await {
        frames.push(frame);
    }
    frames
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| &*frame.event).collect()
}

#[tokio::test]
async fn a_jobs_stream_is_a_snapshot_then_its_own_newer_events_then_a_final_farewell() {
    let world = World::new();
    let (store, gateway, session) = (world.store(), world.gateway(quiet()), session());
    heartbeat(&store, 2).await;
    let (mine, other) = (submit(&store, &session).await, submit(&store, &session).await);
    let mut reader = watch(&gateway, &session, &mine);
    let snapshot = reader.next().await;
    assert_eq!((&*snapshot.event, snapshot.id.as_deref()), ("snapshot", Some("1")));
    assert_eq!(snapshot.data, json!({"id": mine.as_str(), "status": "queued", "v": 1}));
    assert!(snapshot.retry_ms.is_some());

    let (lease, others) = (claim(&store, &mine).await, claim(&store, &other).await);
    finish(&store, &others).await;
    finish(&store, &lease).await;
    let frames = to_the_end(&mut reader).await;
    let durable: Vec<Frame> = frames.iter().filter(|frame| frame.is_durable()).cloned().collect();
    assert_eq!(names(&durable), ["started", "frame-ready", "completed"]);
    for frame in &durable {
        assert_eq!(frame.word("job"), mine.as_str());
        assert_eq!(frame.id, Some(frame.v().to_string()), "ids tell nothing of other jobs");
    }
    assert!(frames.iter().all(|frame| frame.event == "bye" || frame.word("job") == mine.as_str()));
    let bye = frames.last().unwrap();
    assert_eq!((bye.word("reason"), &bye.data["final"]), ("done", &true.into()));
}

#[tokio::test]
async fn an_event_older_than_the_snapshot_is_not_shown_after_it() {
    let mut world = World::new();
    let (store, gateway, session) = (world.store(), world.gateway(quiet()), session());
    heartbeat(&store, 1).await;
    let id = submit(&store, &session).await;
    let lease = claim(&store, &id).await;
    let mut reader = watch(&gateway, &session, &id);
    assert_eq!(reader.next().await.v(), 2);
    for v in [1, 2] {
        world.append(&session, "preview", id.as_str(), v);
    }
    finish(&store, &lease).await;
    let frames = to_the_end(&mut reader).await;
    assert!(!names(&frames).contains(&"preview"), "{frames:?}");
}

#[tokio::test]
async fn the_stream_of_a_job_that_has_ended_or_is_gone_says_so_at_once() {
    let world = World::new();
    let (store, gateway, session) = (world.store(), world.gateway(quiet()), session());
    let ended = submit(&store, &session).await;
    assert_eq!(store.cancel(&ended, "user").await.unwrap(), Cancel::Cancelled);
    let frames = to_the_end(&mut watch(&gateway, &session, &ended)).await;
    assert_eq!(names(&frames), ["snapshot", "bye"]);
    assert_eq!(frames[0].word("status"), "cancelled");
    let frames = to_the_end(&mut watch(&gateway, &session, &job())).await;
    assert_eq!(names(&frames), ["bye"]);
    assert_eq!(frames[0].data["final"], true);
}

#[tokio::test]
async fn a_jobs_stream_that_lost_its_place_goes_on_with_a_new_snapshot() {
    let mut world = World::new();
    let (store, session) = (world.store(), session());
    let gateway = world.gateway(quiet());
    heartbeat(&store, 1).await;
    let id = submit(&store, &session).await;
    let mut reader = watch(&gateway, &session, &id);
    assert_eq!(reader.next().await.event, "snapshot");
    world.append_unheard(&session, "preview", "another", 1);
    let lease = claim(&store, &id).await;
    let snapshot = reader.next().await;
    assert_eq!((&*snapshot.event, snapshot.word("status")), ("snapshot", "processing"));
    finish(&store, &lease).await;
    assert_eq!(to_the_end(&mut reader).await.last().unwrap().word("reason"), "done");
}

#[tokio::test]
async fn a_queued_job_is_told_where_it_stands_whenever_that_changes() {
    let world = World::new();
    let (store, session, others) = (world.store(), session(), session());
    let gateway = world.gateway(LiveOptions { positions: Duration::from_millis(20), ..quiet() });
    let ahead = [submit(&store, &others).await, submit(&store, &others).await];
    let (mut reader, _) = gateway.join(&session, None).await;
    let id = submit(&store, &session).await;
    assert_eq!(reader.next().await.event, "queued");
    let mut places = Vec::new();
    for job in ahead.iter().map(Some).chain([None]) {
        let frame = reader.next().await;
        assert_eq!((&*frame.event, frame.word("job"), &frame.id), ("position", id.as_str(), &None));
        assert_eq!((frame.word("status"), frame.v()), ("queued", 1));
        places.push(frame.data["ahead"].as_u64().unwrap());
        if let Some(job) = job {
            store.cancel(job, "user").await.unwrap();
        }
    }
    assert_eq!(places, [2, 1, 0]);
}

#[tokio::test]
async fn a_session_without_queued_jobs_is_not_asked_for_until_it_has_one_again() {
    let mut world = World::new();
    let (store, session) = (world.store(), session());
    let gateway = world.gateway(LiveOptions { positions: Duration::from_millis(10), ..quiet() });
    let (mut reader, _) = gateway.join(&session, None).await;
    until("the rounds to leave it out", async || {
        (gateway.live.asks_positions_of() == 0).then_some(())
    })
    .await;
    let id = submit(&store, &session).await;
    assert_eq!(reader.next().await.event, "queued");
    assert_eq!(reader.next().await.event, "position");
    assert_eq!(gateway.live.asks_positions_of(), 1);
    store.cancel(&id, "user").await.unwrap();
    until("the rounds to leave it out again", async || {
        (gateway.live.asks_positions_of() == 0).then_some(())
    })
    .await;
    // A retry stands in no line until it is due, and comes back into one without an event.
    let (at, retry_at) = (1_000_u64, 3_601_000_u64);
    let event = format!("- - queued {id}\n{{\"at\":{at},\"retry_at\":{retry_at}}}");
    let channel = super::world::key("stream", &session);
    let publish = world.redis.spoken("publish");
    world.run(&[&publish, &channel, &event]);
    let mut kinds = vec![reader.next().await.event, reader.next().await.event];
    kinds.sort();
    assert_eq!(kinds, ["cancelled", "queued"]);
    let scripts = world.calls("evalsha");
    until("some more rounds", async || (world.calls("evalsha") > scripts + 5).then_some(())).await;
    assert_eq!(gateway.live.asks_positions_of(), 1);
}

#[tokio::test]
async fn waiting_for_a_job_returns_at_its_end_or_at_the_timeout_and_reads_it_either_way() {
    let world = World::new();
    let (store, gateway, session) = (world.store(), world.gateway(quiet()), session());
    heartbeat(&store, 1).await;
    let live = &gateway.live;
    let id = submit(&store, &session).await;
    let short = Duration::from_millis(50);
    let row = live.wait_for(&session, &id, short).await.unwrap().unwrap();
    assert_eq!(row.job.state, State::Queued);
    assert_eq!(live.wait_for(&session, &job(), NEVER).await.unwrap(), None);

    let lease = claim(&store, &id).await;
    let failure = Failure::new(ErrorCode::Permanent, "no");
    let (row, _) = tokio::join!(live.wait_for(&session, &id, NEVER), async {
        store.fail(&lease, &failure, None).await.unwrap();
    });
    assert_eq!(row.unwrap().unwrap().job.state, State::Failed);
    let row = live.wait_for(&session, &id, NEVER).await.unwrap().unwrap();
    assert_eq!(row.job.state, State::Failed, "an end before the wait is seen too");
    assert_eq!(live.readers(), 0);
}

#[tokio::test]
async fn waiting_for_a_job_survives_the_loss_of_the_connection_and_ends_with_a_drain() {
    let mut world = World::new();
    let (store, gateway, session) = (world.store(), world.gateway(quiet()), session());
    let id = submit(&store, &session).await;
    let waiting = tokio::spawn({
        let (live, session, id) = (gateway.live.clone(), session.clone(), id.clone());
        async move { live.wait_for(&session, &id, NEVER).await }
    });
    // A stream of the same session tells when the session is subscribed, before and after.
    let (mut witness, _) = gateway.join(&session, None).await;
    world.kill_pubsub();
    world.append(&session, "preview", "another", 1);
    witness.versions(1).await;
    store.cancel(&id, "user").await.unwrap();
    let row = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!(row.job.state, State::Cancelled);

    let id = submit(&store, &session).await;
    let (row, ()) = tokio::join!(gateway.live.wait_for(&session, &id, NEVER), async {
        gateway.shutdown.drain.cancel();
    });
    assert_eq!(row.unwrap().unwrap().job.state, State::Queued);
}
