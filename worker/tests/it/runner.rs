//! One attempt, from claim to settlement, with a provider that does what it likes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use framewire_shared::domain::{
    ArtifactId, CatalogueId, Cell, ErrorCode, Failure, FrameInput, JobId, MediaType, SessionId,
    State, Usage,
};
use framewire_shared::store::codec::Claim;
use framewire_shared::store::queue::{Lease, Submission};
use framewire_shared::store::stream::Heard;
use framewire_shared::testing::{submission, until};
use framewire_worker::lease_keeper::StopReason;
use framewire_worker::provider::{Picture, Update};
use framewire_worker::runner::{Runner, Settled};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::world::{Act, Scripted, World, frame, png};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_frame_is_stored_before_the_event_that_points_at_it() {
    let world = World::new();
    let (mut sink, mut stream) = world.store.tail(Cell::FIRST).await.unwrap();
    sink.subscribe(std::slice::from_ref(&world.session)).await.unwrap();
    let blobs = world.blobs.clone();
    let watch = async {
        let mut seen = 0;
        while let Some(Heard::Event(_, text)) = stream.next().await {
            let (head, data) = text.split_once('\n').unwrap();
            if head.contains(" frame-ready ") {
                let data: serde_json::Value = serde_json::from_str(data).unwrap();
                let name = data["frame"]["url"].as_str().unwrap().rsplit('/').next().unwrap();
                let id: ArtifactId = name.parse().unwrap();
                let size = blobs.size(&id).await.unwrap().expect("an event points at nothing");
                assert_eq!(data["frame"]["bytes"], size);
                seen += 1;
            }
            if head.contains(" completed ") {
                return seen;
            }
        }
        seen
    };
    let (job, claimed) = world.claimed(3).await;
    let provider = Scripted::new([vec![frame(0), frame(1), frame(2)]]);
    let runner = world.runner(LONG);
    let (seen, settled) = tokio::join!(watch, runner.run(job.clone(), claimed, provider));
    assert_eq!((seen, settled), (3, Settled::Completed));
    let stored = world.job(&job).await;
    assert_eq!((stored.state, stored.artifacts.len()), (State::Completed, 3));
    let expected = ["queued", "started", "frame-ready", "frame-ready", "frame-ready", "completed"];
    assert_eq!(world.events().await, expected);
}

#[tokio::test]
async fn bytes_that_are_not_the_promised_picture_never_become_a_frame() {
    let garbage = Picture { media_type: MediaType::Png, bytes: "<html>busy".into() };
    for picture in [garbage, png(32, 32)] {
        let world = World::new();
        let (job, claimed) = world.claimed(1).await;
        let act = Act::Yield(Update::Frame { index: 0, seed: 1, picture });
        let settled =
            world.runner(LONG).run(job.clone(), claimed, Scripted::new([vec![act]])).await;
        assert_eq!(settled, Settled::Retrying);
        let stored = world.job(&job).await;
        assert_eq!((stored.state, stored.artifacts.len()), (State::Queued, 0));
        assert_eq!(world.events().await, ["queued", "started", "queued"]);
    }
}

#[tokio::test]
async fn a_picture_that_came_broken_is_paid_for_and_asked_for_once_more_and_no_oftener() {
    let world = World::new();
    let broken = || Act::Yield(Update::Frame { index: 0, seed: 1, picture: png(1, 1) });
    let used = |tokens| {
        Act::Yield(Update::Usage(Usage { output_tokens: Some(tokens), ..Usage::default() }))
    };
    let provider = Scripted::new([vec![used(3), used(4), broken()], vec![used(5), broken()]]);
    let (job, claimed) = world.claimed(1).await;
    let runner = world.runner(LONG);
    assert_eq!(runner.run(job.clone(), claimed, provider.clone()).await, Settled::Retrying);
    let claimed = world.claimed_again(&job).await;
    assert_eq!(runner.run(job.clone(), claimed, provider).await, Settled::Failed);
    let stored = world.job(&job).await;
    assert_eq!((stored.error_code, stored.attempt_count), (Some(ErrorCode::Unknown), 2));
    // Both attempts are on the bill.
    assert_eq!(stored.usage, Usage { output_tokens: Some(12), ..Usage::default() });
}

#[tokio::test]
async fn a_provider_that_yields_no_frame_has_failed() {
    let world = World::new();
    let (job, claimed) = world.claimed(2).await;
    let settled = world.runner(LONG).run(job.clone(), claimed, Scripted::new([vec![]])).await;
    assert_eq!(settled, Settled::Retrying);
    let error = world.job(&job).await.error_message;
    assert_eq!(error.as_deref(), Some("the provider sent too few frames"));
}

#[tokio::test]
async fn a_permanent_failure_is_final_and_names_its_stage() {
    let world = World::new();
    let (job, claimed) = world.claimed(1).await;
    let refusal = Failure::new(ErrorCode::Permanent, "refused").detail("policy 7");
    let provider = Scripted::new([vec![Act::Fail(refusal)]]);
    let settled = world.runner(LONG).run(job.clone(), claimed, provider).await;
    assert_eq!(settled, Settled::Failed);
    let stored = world.job(&job).await;
    assert_eq!(stored.failure_stage, Some(State::Generating));
    assert_eq!(stored.error_message.as_deref(), Some("refused"));
}

#[tokio::test]
async fn a_hung_provider_is_dropped_at_the_deadline() {
    let world = World::new();
    let (job, claimed) = world.claimed(1).await;
    let provider = Scripted::new([vec![Act::Hang]]);
    let runner = world.runner(Duration::from_millis(50));
    let settled = runner.run(job.clone(), claimed, provider.clone()).await;
    assert_eq!(settled, Settled::Retrying);
    assert_eq!(provider.ended.load(Ordering::SeqCst), 1, "the call goes on");
    let stored = world.job(&job).await;
    assert_eq!(stored.error_code, Some(ErrorCode::Timeout));
}

#[tokio::test]
async fn a_cancelled_job_stops_its_provider_and_ends_once() {
    let world = World::new();
    let (job, claimed) = world.claimed(1).await;
    let provider = Scripted::new([vec![Act::Hang]]);
    let runner = world.runner(LONG);
    let cancel = async {
        until("the call", async || (provider.calls.load(Ordering::SeqCst) == 1).then_some(()))
            .await;
        world.store.cancel(&job, "user").await.unwrap();
        world.keeper.tick(Cell::FIRST).await.unwrap();
    };
    let (settled, ()) = tokio::join!(runner.run(job.clone(), claimed, provider.clone()), cancel);
    assert_eq!(settled, Settled::Cancelled);
    assert_eq!(provider.ended.load(Ordering::SeqCst), 1);
    assert_eq!(world.events().await, ["queued", "started", "cancelled"]);
    assert_eq!(
        world.keeper.tick(Cell::FIRST).await.unwrap().renewed,
        0,
        "a settled lease is still kept"
    );
}

#[tokio::test]
async fn an_attempt_whose_lease_was_lost_writes_nothing() {
    let world = World::new();
    let (job, claimed) = world.claimed(1).await;
    let gate = Arc::new(Notify::new());
    let provider = Scripted::new([vec![Act::Wait(gate.clone()), frame(0)]]);
    let runner = world.runner(LONG);
    let thief = async {
        until("the call", async || (provider.calls.load(Ordering::SeqCst) == 1).then_some(()))
            .await;
        // Somebody else ends the job under the same fence; to the runner it is lost.
        let lease = Lease { job: job.clone(), fence: claimed.fence };
        world.store.release(&lease).await.unwrap();
        gate.notify_one();
    };
    let run = runner.run(job.clone(), claimed.clone(), provider.clone());
    let (settled, ()) = tokio::join!(run, thief);
    assert_eq!(settled, Settled::Abandoned);
    assert_eq!(world.events().await, ["queued", "started", "queued"]);
}

#[tokio::test]
async fn a_drain_hands_back_without_burning_the_attempt() {
    let world = World::new();
    let (job, claimed) = world.claimed(1).await;
    let provider = Scripted::new([vec![Act::Hang]]);
    let runner = world.runner(LONG);
    let drain = async {
        until("the call", async || (provider.calls.load(Ordering::SeqCst) == 1).then_some(()))
            .await;
        world.keeper.stop_all(StopReason::Drain);
    };
    let (settled, ()) = tokio::join!(runner.run(job.clone(), claimed, provider.clone()), drain);
    assert_eq!(settled, Settled::Released);
    let stored = world.job(&job).await;
    assert_eq!((stored.state, stored.attempt_count), (State::Queued, 0));
}

#[tokio::test]
async fn a_redis_that_dies_and_returns_costs_no_second_call() {
    let mut world = World::new();
    let (job, claimed) = world.claimed(1).await;
    let gate = Arc::new(Notify::new());
    let step = |step| Act::Yield(Update::Progress { step, steps: 3 });
    let acts = vec![step(1), Act::Wait(gate.clone()), step(2), step(3), frame(0)];
    let provider = Scripted::new([acts]);
    let runner = world.runner(LONG);
    let run = tokio::spawn({
        let (job, provider) = (job.clone(), provider.clone());
        async move { runner.run(job, claimed, provider).await }
    });
    until("progress", async || world.job(&job).await.progress).await;
    world.redis.kill();
    gate.notify_one();
    until("the provider's end", async || {
        (provider.ended.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    world.redis.restart();
    assert_eq!(run.await.unwrap(), Settled::Completed);
    assert_eq!(provider.calls.load(Ordering::SeqCst), 1);
    assert_eq!(world.events().await, ["queued", "started", "frame-ready", "completed"]);
}

#[tokio::test]
async fn a_disk_that_takes_no_frame_is_a_temporary_failure() {
    let world = World::new();
    let (job, claimed) = world.claimed(1).await;
    let folder = world.folder.path().join("artifacts");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, b"no folder any more").unwrap();
    let provider = Scripted::new([vec![frame(0)]]);
    let settled = world.runner(LONG).run(job.clone(), claimed, provider).await;
    assert_eq!(settled, Settled::Retrying);
    let stored = world.job(&job).await;
    assert_eq!(stored.error_message.as_deref(), Some("the frame could not be stored"));
    assert_eq!(world.events().await, ["queued", "started", "queued"]);
}

#[tokio::test]
async fn progress_is_told_at_most_four_times_a_second_and_the_last_step_always() {
    let world = World::new();
    let (mut sink, mut stream) = world.store.tail(Cell::FIRST).await.unwrap();
    sink.subscribe(std::slice::from_ref(&world.session)).await.unwrap();
    let (job, claimed) = world.claimed(1).await;
    let steps = (1..=50).map(|step| Act::Yield(Update::Progress { step, steps: 50 }));
    let provider = Scripted::new([steps.chain([frame(0)]).collect()]);
    let settled = world.runner(LONG).run(job, claimed, provider).await;
    assert_eq!(settled, Settled::Completed);
    let mut told = Vec::new();
    while let Some(Heard::Event(_, text)) = stream.next().await {
        let (head, data) = text.split_once('\n').unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        if head.contains(" progress ") && data["step"].is_u64() {
            assert!(head.starts_with("- - "), "progress has a place in the stream");
            told.push(data["step"].as_u64().unwrap());
        }
        if head.contains(" completed ") {
            break;
        }
    }
    assert_eq!((told.first(), told.last()), (Some(&1), Some(&50)));
    assert!(told.len() < 10, "{told:?}");
}

#[tokio::test]
async fn only_a_job_that_another_worker_goes_on_with_is_handed_on() {
    let world = World::new();
    let (job, claimed) = world.claimed(1).await;
    for (reason, handed_on) in [
        (StopReason::Cancel, false),
        (StopReason::Deadline, false),
        (StopReason::Drain, true),
        (StopReason::Lost, true),
    ] {
        let held = world.keeper.keep(Lease { job: job.clone(), fence: claimed.fence });
        held.stop(reason);
        assert!(held.stopped().is_cancelled());
        assert_eq!(held.handed_on().is_cancelled(), handed_on, "{reason:?}");
    }
}

/// Has a job of a session drawn; gives its frame.
async fn drawn(world: &World, runner: &Runner, session: &SessionId, catalogue: bool) -> ArtifactId {
    let id = JobId::new(Cell::FIRST, Uuid::now_v7());
    let input = FrameInput { width: 64, height: 64, seed: Some(1), ..FrameInput::new("x") };
    let input = serde_json::to_string(&input).unwrap();
    let new = Submission { catalogue, ..submission(&id, session, &world.pool, &input) };
    world.store.submit(&new).await.unwrap();
    let claimed = match world.store.claim(&id, &world.worker, "scripted").await.unwrap() {
        Claim::Claimed(claimed) => claimed,
        gone => panic!("{gone:?}"),
    };
    let settled = runner.run(id.clone(), claimed, Scripted::new([vec![frame(0)]])).await;
    assert_eq!(settled, Settled::Completed);
    let url = world.job(&id).await.artifacts[0].url.clone();
    url.rsplit('/').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_frame_is_published_where_its_model_and_its_submit_say_so_and_goes_with_its_job() {
    let world = World::new();
    let hour = Duration::from_secs(3_600);
    world.store.heartbeat(Cell::FIRST, &world.pool, &world.worker, 1, hour).await.unwrap();
    let stranger = SessionId::new(Cell::FIRST, Uuid::new_v4());
    let shown =
        async |world: &World| world.store.fallback(&stranger, "builtin", true).await.unwrap().url;
    let silent = drawn(&world, &world.runner(LONG), &world.session, true).await;
    let published = CatalogueId::of(&silent).unwrap();
    assert_eq!(world.blobs.read_published(&published).await.unwrap(), None);
    assert_eq!(shown(&world).await, "/v1/fallback.webp");

    let mut runner = world.runner(LONG);
    runner.catalogue.insert("builtin".into());
    let frame = drawn(&world, &runner, &world.session, true).await;
    let published = CatalogueId::of(&frame).unwrap();
    assert_eq!(shown(&world).await, published.url());
    let size = world.blobs.size(&frame).await.unwrap().unwrap();
    let bytes = world.blobs.read(&frame, 0..size).await.unwrap();
    assert_eq!(world.blobs.read_published(&published).await.unwrap(), bytes);

    // A store that takes no second name costs no job its frame.
    let folder = world.folder.path().join("artifacts/catalogue");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, b"no folder any more").unwrap();
    drawn(&world, &runner, &world.session, true).await;
    assert_eq!(shown(&world).await, published.url(), "what was told of stays until it is deleted");
    std::fs::remove_file(&folder).unwrap();

    let frame = drawn(&world, &runner, &world.session, true).await;
    let published = CatalogueId::of(&frame).unwrap();
    world.store.delete(&frame.job, &world.session).await.unwrap();
    assert_eq!(world.blobs.remove_job(&frame.job).await.unwrap(), 2);
    assert_eq!(world.blobs.read_published(&published).await.unwrap(), None);
    assert_eq!(shown(&world).await, "/v1/fallback.webp");
}
