//! Jobs of several frames of which some can't be made.

use std::time::Duration;

use framewire_shared::domain::{ErrorCode, Event, Failure, Job, MediaType, State};
use framewire_shared::store::queue::Lease;
use framewire_worker::provider::{Picture, Update};
use framewire_worker::runner::Settled;
use serde_json::{Value, json};

use crate::world::{Act, Scripted, World, frame};

const LONG: Duration = Duration::from_secs(60);

/// Has one frame fail.
fn fails(index: u32, code: ErrorCode) -> Act {
    Act::Yield(Update::FrameFailed { index, failure: Failure::new(code, "no such picture") })
}

/// Yields a frame that does not decode.
fn broken(index: u32) -> Act {
    let picture = Picture { media_type: MediaType::Png, bytes: "<html>busy".into() };
    Act::Yield(Update::Frame { index, seed: 1, picture })
}

/// Runs one attempt of a job of so many frames.
async fn ran(n: u32, acts: Vec<Act>) -> (World, Settled, Job) {
    let world = World::new();
    let (job, claimed) = world.claimed(n).await;
    let settled = world.runner(LONG).run(job.clone(), claimed, Scripted::new([acts])).await;
    let job = world.job(&job).await;
    (world, settled, job)
}

/// Gives what the newest event, which must be `completed`, tells.
async fn told(world: &World) -> Value {
    let zero = "0-00000000".parse().unwrap();
    let events = world.store.replay(&world.session, Some(&zero)).await.unwrap().events;
    let event = Event::parse(events.last().unwrap()).unwrap();
    assert_eq!(event.kind.as_str(), "completed");
    serde_json::from_str(event.data).unwrap()
}

fn indexes(job: &Job) -> Vec<u32> {
    job.artifacts.iter().map(|frame| frame.index).collect()
}

#[tokio::test]
async fn whichever_frames_fail_the_others_complete_the_job_and_it_says_which_are_missing() {
    use ErrorCode::{Permanent, Unknown};
    let cases = [
        (vec![fails(0, Permanent), frame(1), frame(2)], vec![1, 2], vec![(0, Permanent)]),
        (vec![frame(0), fails(1, Permanent), frame(2)], vec![0, 2], vec![(1, Permanent)]),
        (vec![frame(0), frame(1), fails(2, Permanent)], vec![0, 1], vec![(2, Permanent)]),
        (vec![broken(0), frame(1), frame(2)], vec![1, 2], vec![(0, Unknown)]),
        (vec![frame(0), frame(1), broken(2)], vec![0, 1], vec![(2, Unknown)]),
        (
            vec![broken(0), frame(1), fails(2, Permanent)],
            vec![1],
            vec![(0, Unknown), (2, Permanent)],
        ),
        (
            vec![fails(0, Permanent), broken(1), frame(2)],
            vec![2],
            vec![(0, Permanent), (1, Unknown)],
        ),
        // It never said what became of these.
        (vec![frame(1)], vec![1], vec![(0, Unknown), (2, Unknown)]),
        (vec![frame(2)], vec![2], vec![(0, Unknown), (1, Unknown)]),
    ];
    for (number, (acts, made, missing)) in cases.into_iter().enumerate() {
        let (world, settled, job) = ran(3, acts).await;
        assert_eq!((settled, job.state), (Settled::Completed, State::Completed), "case {number}");
        assert_eq!(indexes(&job), made, "case {number}");
        let known: Vec<_> = job.missing.iter().map(|it| (it.index, it.error.code)).collect();
        assert_eq!(known, missing, "case {number}");
        let told = told(&world).await;
        assert_eq!(told["missing"], json!(job.missing), "case {number}");
        assert_eq!(told["frames"], json!(job.artifacts), "case {number}");
        let ready = world.events().await.iter().filter(|kind| *kind == "frame-ready").count();
        assert_eq!(ready, made.len(), "case {number}: each frame is announced once");
    }
}

#[tokio::test]
async fn a_job_without_any_frame_has_failed_and_is_tried_again_while_there_is_hope() {
    use ErrorCode::{Permanent, Unknown};
    for (acts, expected, code) in [
        (vec![fails(0, Permanent), fails(1, Permanent)], Settled::Failed, Permanent),
        (vec![fails(0, Permanent), broken(1)], Settled::Retrying, Unknown),
        (vec![broken(0), broken(1)], Settled::Retrying, Unknown),
        (vec![fails(0, Permanent)], Settled::Failed, Permanent),
    ] {
        let (_world, settled, job) = ran(2, acts).await;
        assert_eq!((settled, job.error_code), (expected, Some(code)));
        assert!(job.artifacts.is_empty() && job.missing.is_empty(), "{job:?}");
    }
}

#[tokio::test]
async fn a_call_that_breaks_off_is_made_again_and_its_last_attempt_keeps_what_it_has() {
    let busy = || Act::Fail(Failure::new(ErrorCode::Temporary, "busy"));
    let (world, settled, job) = ran(3, vec![frame(0), busy()]).await;
    assert_eq!((settled, indexes(&job)), (Settled::Retrying, vec![]));
    for (acts, expected) in
        [(vec![busy()], Settled::Retrying), (vec![frame(0), frame(1), busy()], Settled::Completed)]
    {
        let _due = world.store.sweep_now(job.id.cell(), &world.pool).await.unwrap();
        let claimed = match world.store.claim(&job.id, &world.worker, "scripted").await.unwrap() {
            framewire_shared::store::codec::Claim::Claimed(claimed) => claimed,
            gone => panic!("{gone:?}"),
        };
        let settled = world.runner(LONG).run(job.id.clone(), claimed, Scripted::new([acts])).await;
        assert_eq!(settled, expected);
    }
    let job = world.job(&job.id).await;
    assert_eq!((job.state, indexes(&job)), (State::Completed, vec![0, 1]));
    let missing = &told(&world).await["missing"];
    assert_eq!(*missing, json!([{"index": 2, "error": {"code": "TEMPORARY", "message": "busy"}}]));
}

#[tokio::test]
async fn frames_that_are_there_are_not_paid_for_again() {
    let busy = || Act::Fail(Failure::new(ErrorCode::Temporary, "busy"));
    // Nothing is left to draw: only the end of the call has failed.
    let (world, settled, job) = ran(2, vec![frame(0), frame(1), busy()]).await;
    assert_eq!((settled, indexes(&job)), (Settled::Completed, vec![0, 1]));
    assert_eq!(told(&world).await["missing"], json!([]));

    // What is tried again freely is so once more at most, after frames were made.
    let (world, settled, job) = ran(2, vec![busy()]).await;
    assert_eq!(settled, Settled::Retrying);
    let claimed = world.claimed_again(&job.id).await;
    let provider = Scripted::new([vec![frame(0), busy()]]);
    let settled = world.runner(LONG).run(job.id.clone(), claimed, provider).await;
    assert_eq!((settled, indexes(&world.job(&job.id).await)), (Settled::Completed, vec![0]));
}

#[tokio::test]
async fn a_cancelled_job_is_cancelled_though_it_has_frames_to_keep() {
    let world = World::new();
    let (job, claimed) = world.claimed(2).await;
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let refused = Failure::new(ErrorCode::Permanent, "no");
    let provider = Scripted::new([vec![frame(0), Act::Wait(gate.clone()), Act::Fail(refused)]]);
    let runner = world.runner(LONG);
    let lease = Lease { job: job.clone(), fence: claimed.fence };
    let cancel = async {
        framewire_shared::testing::until("a frame", async || {
            (world.job(&job).await.artifacts.len() == 1).then_some(())
        })
        .await;
        world.store.cancel(&lease.job, "user").await.unwrap();
        gate.notify_one();
    };
    let (settled, ()) = tokio::join!(runner.run(job.clone(), claimed, provider), cancel);
    assert_eq!(settled, Settled::Cancelled);
    assert_eq!(world.job(&job).await.state, State::Cancelled);
}
