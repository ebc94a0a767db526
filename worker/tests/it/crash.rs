//! A worker killed at every point where one step is done and the next is not.
//!
//! For each point of [`failpoint::POINTS`] that a worker meets: a worker is killed there by SIGKILL,
//! another one takes its place, and the job must end exactly as if nothing had happened.
//! `FRAMEWIRE_CRASH_ROUNDS` repeats the whole, 1 by default.

use std::os::unix::process::ExitStatusExt;

use framewire_shared::domain::{ArtifactId, FrameInput, JobId, State};
use framewire_shared::service::failpoint;
use nix::sys::signal::Signal;

use crate::process::{Worker, input, reaches};
use crate::world::World;

fn rounds() -> u32 {
    std::env::var("FRAMEWIRE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The points that a worker meets on a job's way; the gateway's and the drain's are tested apart.
fn points() -> impl Iterator<Item = &'static str> {
    let elsewhere = ["submit_before", "submit_after", "draining"];
    failpoint::POINTS.into_iter().filter(move |point| !elsewhere.contains(point))
}

/// Checks what must hold of a job whose worker was killed somewhere.
async fn check(world: &World, job: &JobId, point: &str) {
    let stored = world.job(job).await;
    assert_eq!(stored.attempt_count, 1, "{point}: a lost worker has burned an attempt");
    assert!(stored.losses <= 1, "{point}: {} losses", stored.losses);
    let ends = ["completed", "failed", "cancelled"];
    let events = world.events().await;
    let ended = events.iter().filter(|kind| ends.contains(&kind.as_str())).count();
    assert_eq!(ended, 1, "{point}: {events:?}");
    assert_eq!(events.last().map(String::as_str), Some("completed"), "{point}: {events:?}");
    assert!(!stored.artifacts.is_empty(), "{point}");
    for frame in &stored.artifacts {
        let id: ArtifactId = frame.url.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(id.fence, stored.fence, "{point}: the frame is of a lost attempt");
        let size = world.blobs.size(&id).await.unwrap();
        assert_eq!(size, Some(frame.bytes), "{point}: no such frame");
    }
}

#[tokio::test]
async fn a_worker_killed_at_any_point_of_a_job_changes_nothing_of_its_outcome() {
    for _ in 0..rounds() {
        for point in points() {
            let world = World::new();
            let victim = Worker::start(&world, &[("FRAMEWIRE_FAILPOINT", point)]);
            let two = FrameInput { n: 2, ..input(6, 30) };
            let job = world.submit_input(&two).await;
            let status = victim.wait();
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{point} was not reached");
            let _heir = Worker::start(&world, &[]);
            reaches(&world, &job, State::Completed).await;
            check(&world, &job, point).await;
        }
    }
}

#[tokio::test]
async fn a_job_that_follows_another_is_completed_wherever_that_ones_worker_is_killed() {
    for point in ["calling", "complete_before", "complete_after"] {
        let world = World::new();
        let victim = Worker::start(&world, &[("FRAMEWIRE_FAILPOINT", point)]);
        let same = input(6, 30);
        let (leader, follower) = (world.submit_same(&same).await, world.submit_same(&same).await);
        let status = victim.wait();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{point} was not reached");
        let _heir = Worker::start(&world, &[]);
        for job in [&leader, &follower] {
            reaches(&world, job, State::Completed).await;
        }
        let drawn = world.job(&leader).await;
        assert_eq!((drawn.attempt_count, drawn.cached), (1, false), "{point}");
        let stored = world.job(&follower).await;
        assert_eq!((stored.attempt_count, stored.cached), (0, true), "{point}: drawn twice");
        let frame = &stored.artifacts[0];
        let id: ArtifactId = frame.url.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!((&id.job, id.fence), (&follower, stored.fence), "{point}");
        assert_eq!(world.blobs.size(&id).await.unwrap(), Some(frame.bytes), "{point}");
        let told = world.events_of(&stored.session).await;
        assert_eq!(told, ["queued", "frame-ready", "completed"], "{point}");
    }
}

#[tokio::test]
async fn a_worker_killed_in_its_drain_leaves_its_job_to_the_next() {
    let world = World::new();
    let victim = Worker::start(&world, &[("FRAMEWIRE_FAILPOINT", "draining")]);
    let job = world.submit_input(&input(20, 60)).await;
    reaches(&world, &job, State::Generating).await;
    victim.signal(Signal::SIGTERM);
    assert_eq!(victim.wait().signal(), Some(Signal::SIGKILL as i32));
    let _heir = Worker::start(&world, &[]);
    reaches(&world, &job, State::Completed).await;
    check(&world, &job, "draining").await;
}

#[tokio::test]
async fn a_job_that_kills_every_worker_ends_after_three() {
    let world = World::new();
    let job = world.submit_input(&input(6, 60)).await;
    for _ in 0..3 {
        let victim = Worker::start(&world, &[("FRAMEWIRE_FAILPOINT", "calling")]);
        assert_eq!(victim.wait().signal(), Some(Signal::SIGKILL as i32));
    }
    let _heir = Worker::start(&world, &[]);
    reaches(&world, &job, State::Failed).await;
    assert_eq!(world.job(&job).await.losses, 3);
    assert_eq!(world.events().await.last().map(String::as_str), Some("failed"));
}
