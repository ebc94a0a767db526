//! The very same asked for twice: drawn once, and given to each as its own.

use std::time::{Duration, SystemTime};

use framewire_shared::domain::{
    ArtifactId, ErrorCode, Failure, Fence, JobId, Priority, SessionId, State,
};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::codec::{Cancel, Completed, Deleted, Retried, Submitted};
use framewire_shared::store::queue::Lease;
use framewire_shared::store::share::{Shared, Sharer};

use crate::world::{World, artifact, session};

const SAME: &str = "same";
const MS: Duration = Duration::from_millis(1);
const CELL: framewire_shared::domain::Cell = framewire_shared::domain::Cell::FIRST;

/// A world with two slots, a folder of frames, and two sessions.
struct Studio {
    world: World,
    sharer: Sharer,
    ann: SessionId,
    ben: SessionId,
    _folder: tempfile::TempDir,
}

impl Studio {
    async fn new() -> Self {
        Self::with(QueueOptions::default()).await
    }

    async fn with(options: QueueOptions) -> Self {
        let (world, folder) = (World::with_clock(options), tempfile::tempdir().unwrap());
        world.slots(2).await;
        let blobs = Blobs::on_disk(folder.path()).unwrap();
        let sharer = Sharer { store: world.store.clone(), blobs };
        Self { world, sharer, ann: session(), ben: session(), _folder: folder }
    }

    async fn ask(&self, who: &SessionId) -> JobId {
        self.world.submit_same(who, SAME).await
    }

    /// Stores what a running job has drawn, and completes it.
    async fn draw(&self, lease: &Lease) -> Completed {
        for stage in [State::Generating, State::Uploading] {
            self.world.store.advance(lease, stage).await.unwrap();
        }
        let frame = artifact(lease);
        self.sharer.blobs.put(&name(&frame.url), b"0123456789"[..].into()).await.unwrap();
        self.world.store.complete(lease, &[frame], MS, MS).await.unwrap()
    }

    /// Tells what a job's only frame holds; `None` if it has none or its bytes are gone.
    async fn bytes(&self, job: &JobId) -> Option<Vec<u8>> {
        let row = self.world.store.job(job).await.unwrap().expect("a job");
        let url = &row.job.artifacts.first()?.url;
        assert!(url.contains(job.as_str()), "{url} is another's name");
        let bytes = self.sharer.blobs.read(&name(url), 0..10).await.unwrap();
        bytes.map(|bytes| bytes.to_vec())
    }

    async fn state(&self, job: &JobId) -> State {
        self.world.state(job).await
    }
}

fn name(url: &str) -> ArtifactId {
    url.rsplit('/').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_that_ask_for_the_same_cost_one_drawing_and_have_a_frame_each() {
    let studio = Studio::new().await;
    let first = studio.ask(&studio.ann).await;
    let second = studio.ask(&studio.ben).await;
    let lease = studio.world.take().await.unwrap();
    assert_eq!(lease.job, first);
    assert_eq!(studio.world.pop(), None, "a follower takes a slot");
    assert_eq!(studio.draw(&lease).await, Completed::Followed(SAME.into()));
    assert_eq!(studio.sharer.serve(CELL, Some(SAME)).await.unwrap(), 1);
    for job in [&first, &second] {
        assert_eq!(studio.state(job).await, State::Completed);
        assert_eq!(studio.bytes(job).await.unwrap(), b"0123456789");
    }
    let told = studio.world.events(&studio.ben).await;
    assert_eq!(told, ["queued", "frame-ready", "completed"]);
    let stream = format!("fw:{{c0}}:stream:{}", studio.ben);
    let last = studio.world.redis_cli(&["LINDEX", &stream, "-1"]);
    assert!(last.contains(r#""missing":[],"timings":{"#), "{last}");
    let stored = studio.world.store.job(&second).await.unwrap().unwrap().job;
    assert!(stored.cached && stored.attempt_count == 0 && stored.started_at.is_none());
    assert!(!studio.world.store.job(&first).await.unwrap().unwrap().job.cached);
}

#[tokio::test]
async fn who_asks_later_is_answered_with_copies_that_outlive_their_source() {
    let studio = Studio::new().await;
    let first = studio.ask(&studio.ann).await;
    studio.draw(&studio.world.take().await.unwrap()).await;
    let (second, answer) = studio.world.submit_by(&studio.ben, SAME, |_| ()).await;
    let Submitted::Hit { fence, leader, frames } = answer else { panic!("{answer:?}") };
    assert_eq!(leader, first);
    let own = Lease { job: second.clone(), fence };
    assert_eq!(studio.sharer.fulfil(&own, &frames).await.unwrap(), Shared::Fulfilled);
    assert_eq!(studio.sharer.fulfil(&own, &frames).await.unwrap(), Shared::Fulfilled, "repeated");
    assert_eq!(studio.world.events(&studio.ben).await, ["queued", "frame-ready", "completed"]);

    assert_eq!(studio.world.store.delete(&first, &studio.ann).await.unwrap(), Deleted::Deleted);
    studio.sharer.blobs.remove_job(&first).await.unwrap();
    assert_eq!(studio.bytes(&second).await.unwrap(), b"0123456789");
    // And what is gone answers nobody: the next one draws.
    let (third, answer) = studio.world.submit_by(&studio.ben, SAME, |_| ()).await;
    assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
    assert_eq!(studio.world.take().await.unwrap().job, third);
}

#[tokio::test]
async fn a_copy_of_an_old_frame_is_as_young_as_its_job() {
    let studio = Studio::new().await;
    studio.ask(&studio.ann).await;
    let lease = studio.world.take().await.unwrap();
    studio.draw(&lease).await;
    let source = name(&artifact(&lease).url);
    let file = studio._folder.path().join(lease.job.as_str()).join(source.to_string());
    let long_ago = SystemTime::now() - Duration::from_secs(80_000);
    std::fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    let copy = ArtifactId { job: studio.ask(&studio.ben).await, ..source.clone() };
    assert!(studio.sharer.blobs.copy(&source, &copy).await.unwrap());
    let age = Duration::from_secs(70_000);
    assert_eq!(studio.sharer.blobs.remove_older(age, SystemTime::now()).await.unwrap(), 0);
    assert_eq!(studio.sharer.blobs.size(&copy).await.unwrap(), Some(10));
}

#[tokio::test]
async fn of_two_that_share_each_can_be_cancelled_without_the_other() {
    for leader_leaves in [false, true] {
        let studio = Studio::new().await;
        let (first, second) = (studio.ask(&studio.ann).await, studio.ask(&studio.ben).await);
        let (leaves, stays) = if leader_leaves { (first, second) } else { (second, first) };
        assert_eq!(studio.world.store.cancel(&leaves, "user").await.unwrap(), Cancel::Cancelled);
        let lease = studio.world.take().await.expect("the other draws");
        assert_eq!(lease.job, stays);
        assert_eq!(studio.draw(&lease).await, Completed::Completed);
        assert_eq!(studio.state(&leaves).await, State::Cancelled);
    }
}

#[tokio::test]
async fn a_leader_that_fails_or_is_cancelled_while_it_runs_is_followed_by_the_next() {
    let studio = Studio::new().await;
    let (_, second) = (studio.ask(&studio.ann).await, studio.ask(&studio.ben).await);
    let third = studio.ask(&studio.ann).await;
    let lease = studio.world.take().await.unwrap();
    let refused = Failure::new(ErrorCode::Permanent, "refused");
    studio.world.store.fail(&lease, &refused, None).await.unwrap();
    let lease = studio.world.take().await.unwrap();
    assert_eq!(lease.job, second);
    assert_eq!(studio.world.store.cancel(&second, "user").await.unwrap(), Cancel::Cancelling);
    studio.world.store.cancelled_by_worker(&lease).await.unwrap();
    let lease = studio.world.take().await.unwrap();
    assert_eq!(lease.job, third);
    assert_eq!(studio.draw(&lease).await, Completed::Completed);
}

#[tokio::test]
async fn followers_of_a_worker_that_died_after_its_completion_are_served_by_the_next() {
    let studio = Studio::new().await;
    studio.ask(&studio.ann).await;
    let second = studio.ask(&studio.ben).await;
    studio.draw(&studio.world.take().await.unwrap()).await;
    assert_eq!(studio.sharer.serve(CELL, None).await.unwrap(), 0, "it may be at it");
    studio.world.at(3_000);
    assert_eq!(studio.sharer.serve(CELL, None).await.unwrap(), 1);
    assert_eq!(studio.state(&second).await, State::Completed);
    assert_eq!(studio.world.redis_cli(&["EXISTS", "fw:{c0}:landed"]), "0");
}

#[tokio::test]
async fn a_job_whose_gateway_died_before_it_could_copy_is_served_by_a_worker() {
    let studio = Studio::new().await;
    studio.ask(&studio.ann).await;
    studio.draw(&studio.world.take().await.unwrap()).await;
    let (second, answer) = studio.world.submit_by(&studio.ben, SAME, |_| ()).await;
    assert!(matches!(answer, Submitted::Hit { .. }), "{answer:?}");
    let row = studio.world.store.job(&second).await.unwrap().unwrap();
    assert_eq!((row.job.state, row.ahead, row.wait_ms), (State::Queued, Some(0), Some(0)));
    studio.world.at(3_000);
    assert_eq!(studio.sharer.serve(CELL, None).await.unwrap(), 1);
    assert_eq!(studio.bytes(&second).await.unwrap(), b"0123456789");
}

#[tokio::test]
async fn who_copied_under_an_earlier_fence_changes_nothing_and_leaves_nothing() {
    let studio = Studio::new().await;
    studio.ask(&studio.ann).await;
    let second = studio.ask(&studio.ben).await;
    studio.draw(&studio.world.take().await.unwrap()).await;
    let slow = studio.sharer.store.land(CELL, Some(SAME), None).await.unwrap().unwrap();
    let quick = studio.sharer.store.land(CELL, Some(SAME), None).await.unwrap().unwrap();
    let lost = studio.sharer.fulfil(&slow.followers[0], &slow.frames).await.unwrap();
    assert_eq!(lost, Shared::Lost(Some(State::Queued)));
    let done = studio.sharer.fulfil(&quick.followers[0], &quick.frames).await.unwrap();
    assert_eq!(done, Shared::Fulfilled);
    assert_eq!(studio.bytes(&second).await.unwrap(), b"0123456789");
    let folder = studio._folder.path().join(second.as_str());
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "two copies");
}

#[tokio::test]
async fn frames_that_are_gone_are_drawn_again_by_one_of_those_that_wait() {
    let studio = Studio::new().await;
    let first = studio.ask(&studio.ann).await;
    let (second, third) = (studio.ask(&studio.ben).await, studio.ask(&studio.ann).await);
    studio.draw(&studio.world.take().await.unwrap()).await;
    studio.sharer.blobs.remove_job(&first).await.unwrap();
    assert_eq!(studio.sharer.serve(CELL, Some(SAME)).await.unwrap(), 0);
    let lease = studio.world.take().await.expect("it draws");
    assert_eq!(lease.job, second);
    assert_eq!(studio.draw(&lease).await, Completed::Followed(SAME.into()));
    assert_eq!(studio.sharer.serve(CELL, Some(SAME)).await.unwrap(), 1);
    assert_eq!(studio.state(&third).await, State::Completed);
}

#[tokio::test]
async fn a_start_deadline_holds_for_a_follower_and_a_retry_finds_what_was_drawn_since() {
    let studio = Studio::new().await;
    studio.ask(&studio.ann).await;
    let lease = studio.world.take().await.unwrap();
    let hurry = Some(Duration::from_secs(5));
    let (second, _) =
        studio.world.submit_by(&studio.ben, SAME, |new| new.start_within = hurry).await;
    studio.world.at(5_000);
    let swept = studio.world.store.sweep_now(CELL, &studio.world.pool).await.unwrap();
    assert_eq!((swept.expired, studio.state(&second).await), (1, State::Failed));
    assert_eq!(studio.draw(&lease).await, Completed::Completed, "nobody follows any more");
    assert_eq!(studio.world.store.retry(&second).await.unwrap(), Retried::Queued(1));
    assert_eq!(studio.sharer.serve(CELL, None).await.unwrap(), 1);
    assert_eq!(studio.bytes(&second).await.unwrap(), b"0123456789");
}

#[tokio::test]
async fn nobody_waits_longer_because_somebody_asked_before() {
    // A class below: the newcomer leads, and its leader follows.
    let studio = Studio::new().await;
    studio.world.slots(0).await;
    let low = |new: &mut framewire_shared::store::queue::Submission<'_>| {
        new.priority = Priority::Low;
    };
    let (slow, _) = studio.world.submit_by(&studio.ann, SAME, low).await;
    let quick = studio.ask(&studio.ben).await;
    studio.world.slots(1).await;
    let lease = studio.world.take().await.unwrap();
    assert_eq!(lease.job, quick);
    studio.draw(&lease).await;
    studio.sharer.serve(CELL, Some(SAME)).await.unwrap();
    assert_eq!(studio.state(&slow).await, State::Completed);

    // Far back in another's line, likewise.
    let studio = Studio::new().await;
    studio.world.slots(0).await;
    for _ in 0..5 {
        studio.world.submit(&studio.ann).await;
    }
    studio.ask(&studio.ann).await;
    let newcomer = studio.ask(&studio.ben).await;
    studio.world.slots(2).await;
    let taken = [studio.world.take().await, studio.world.take().await];
    assert!(taken.iter().flatten().any(|lease| lease.job == newcomer), "{taken:?}");
}

#[tokio::test]
async fn who_could_run_at_once_does_not_wait_for_a_leaders_retry() {
    let studio = Studio::new().await;
    let first = studio.ask(&studio.ann).await;
    let lease = studio.world.take().await.unwrap();
    let busy = Failure::new(ErrorCode::Temporary, "busy");
    let delay = Some(Duration::from_secs(60));
    studio.world.store.fail(&lease, &busy, delay).await.unwrap();
    studio.world.slots(0).await;
    let waits = studio.ask(&studio.ben).await;
    studio.world.slots(2).await;
    assert_eq!(studio.world.pop(), None, "without a slot it follows, and nobody draws yet");

    let quick = studio.ask(&studio.ben).await;
    let lease = studio.world.take().await.expect("there are slots");
    assert_eq!(lease.job, quick);
    let retry_at = async || studio.world.store.job(&first).await.unwrap().unwrap().job.retry_at;
    assert_eq!(retry_at().await, None, "it follows");
    assert_eq!(studio.draw(&lease).await, Completed::Followed(SAME.into()));
    assert_eq!(studio.sharer.serve(CELL, Some(SAME)).await.unwrap(), 2);
    for job in [&first, &waits] {
        assert_eq!(studio.state(job).await, State::Completed);
    }
}

#[tokio::test]
async fn a_follower_is_told_its_leaders_place_and_counts_for_its_session_alone() {
    let options = QueueOptions { queue_max: 3, session_max: 2, ..QueueOptions::default() };
    let studio = Studio::with(options).await;
    studio.world.slots(0).await;
    for _ in 0..2 {
        studio.world.submit(&session()).await;
    }
    studio.ask(&studio.ann).await;
    let (second, answer) = studio.world.submit_by(&studio.ben, SAME, |_| ()).await;
    assert!(matches!(answer, Submitted::Accepted { ahead: 2, .. }), "{answer:?}");
    assert_eq!(studio.world.store.job(&second).await.unwrap().unwrap().ahead, Some(2));
    let (_, other) = studio.world.submit_by(&studio.ben, "another", |_| ()).await;
    assert!(matches!(other, Submitted::QueueFull(_)), "{other:?}");
    studio.ask(&studio.ben).await;
    let (_, full) = studio.world.submit_by(&studio.ben, SAME, |_| ()).await;
    assert!(matches!(full, Submitted::SessionFull(_)), "{full:?}");
}

#[tokio::test]
async fn a_picture_that_lacks_frames_answers_nobody_else() {
    let studio = Studio::new().await;
    let first = studio.ask(&studio.ann).await;
    let second = studio.ask(&studio.ben).await;
    let lease = studio.world.take().await.unwrap();
    studio.world.redis_cli(&["HSET", &format!("fw:{{c0}}:job:{first}"), "missing", "[1]"]);
    assert_eq!(studio.draw(&lease).await, Completed::Completed);
    assert_eq!(studio.world.take().await.unwrap().job, second);
}

#[tokio::test]
async fn beyond_a_thousand_followers_each_draws_for_itself() {
    let studio = Studio::new().await;
    let many = QueueOptions::default().session_max as usize;
    let leader = studio.ask(&studio.ann).await;
    for _ in 0..1_000 / many {
        let who = session();
        for _ in 0..many {
            studio.ask(&who).await;
        }
    }
    let alone = studio.ask(&studio.ben).await;
    let (first, second) = (studio.world.take().await.unwrap(), studio.world.take().await.unwrap());
    assert_eq!((first.job, second.job), (leader, alone));
    assert_eq!(second.fence, Fence(1));
}

#[tokio::test]
async fn what_is_asked_of_a_closed_pool_is_open_to_who_needs_none_of_its_providers() {
    let studio = Studio::new().await;
    studio.ask(&studio.ann).await;
    studio.draw(&studio.world.take().await.unwrap()).await;
    let World { store, pool, worker, .. } = &studio.world;
    let minute = Duration::from_secs(60);
    store.heartbeat_closed(CELL, pool, worker, minute, minute).await.unwrap();
    assert_eq!(store.closed(CELL, pool, None).await.unwrap(), Some(minute));
    assert_eq!(store.closed(CELL, pool, Some("another")).await.unwrap(), Some(minute));
    assert_eq!(store.closed(CELL, pool, Some(SAME)).await.unwrap(), None);
}
