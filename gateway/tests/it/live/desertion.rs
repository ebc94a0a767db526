//! Readers that leave for good, and those that only move: on a clock that the tests own.

use std::time::Duration;

use framewire_gateway::live::{Asked, LiveOptions};
use framewire_shared::domain::{Cell, JobId, Pool, SessionId, State};
use framewire_shared::store::{QueueOptions, Store};
use framewire_shared::testing::{prompt, submission, until};

use super::world::{Gateway, World, job, key, quiet, session};

const AFTER_MS: u64 = 1_000;
const EVERY_MS: u64 = 10;
/// By then whoever left is taken to have left.
const LEFT_MS: u64 = AFTER_MS + 4 * EVERY_MS;
/// The clock's steps: shorter than what looks like an outage.
const STEP_MS: u64 = 20;

/// A Redis with a clock, and a session with one waiting job.
struct Scene {
    world: World,
    store: Store,
    mine: SessionId,
    job: JobId,
    now_ms: u64,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new();
        let store = world.redis.store_with_clock(QueueOptions::default());
        let (mine, job, pool): (_, _, Pool) = (session(), job(), "default".parse().unwrap());
        let now_ms = 1_800_000_000_000;
        world.redis.set_clock(now_ms);
        store.submit(&submission(&job, &mine, &pool, &prompt("a fox"))).await.unwrap();
        Self { world, store, mine, job, now_ms }
    }

    fn gateway(&self) -> Gateway {
        let options = LiveOptions {
            cancel_on_disconnect: Some(Duration::from_millis(AFTER_MS)),
            watch: Duration::from_millis(EVERY_MS),
            ..quiet()
        };
        Gateway::new(self.store.clone(), options)
    }

    /// Lets time pass, with a round of a gateway at every step; where a reader is said to be there,
    /// one that names it.
    async fn pass(&mut self, ms: u64, is_read: bool) {
        for _ in (0..ms).step_by(STEP_MS as usize) {
            self.now_ms += STEP_MS;
            self.world.redis.set_clock(self.now_ms);
            let cell = Cell::FIRST;
            let (watch, watched) =
                (format!("fw:{{{cell}}}:watch"), format!("fw:{{{cell}}}:watched"));
            let named = (self.now_ms + AFTER_MS + 2 * EVERY_MS).to_string();
            until("a round", async || {
                let seen = self.world.run(&["HGET", &watch, "seen_at"]);
                let left_at = self.world.run(&["ZSCORE", &watched, self.mine.as_str()]);
                let is_named = !is_read || left_at == [named.clone()];
                (is_named && seen == [self.now_ms.to_string()]).then_some(())
            })
            .await;
        }
    }

    async fn state(&self) -> State {
        self.store.job(&self.job).await.unwrap().unwrap().job.state
    }
}

#[tokio::test]
async fn the_jobs_of_a_session_are_cancelled_when_its_last_reader_has_stayed_away() {
    let mut scene = Scene::new().await;
    let gateway = scene.gateway();
    let (first, _) = gateway.join(&scene.mine, None).await;
    let (last, _) = gateway.join(&scene.mine, None).await;
    scene.pass(100, true).await;
    drop(first);
    scene.pass(2 * LEFT_MS, true).await;
    drop(last);
    scene.pass(AFTER_MS, false).await;
    assert_eq!(scene.state().await, State::Queued, "too soon");
    scene.pass(LEFT_MS, false).await;
    assert_eq!(scene.state().await, State::Cancelled);
    let events = scene.world.run(&["LRANGE", &key("stream", &scene.mine), "-1", "-1"]);
    assert!(events[0].contains(r#""by":"disconnect""#), "{events:?}");
}

#[tokio::test]
async fn a_reader_that_comes_back_within_the_time_saves_its_jobs() {
    let mut scene = Scene::new().await;
    let gateway = scene.gateway();
    for _ in 0..3 {
        let (reader, _) = gateway.join(&scene.mine, None).await;
        scene.pass(100, true).await;
        drop(reader);
        scene.pass(AFTER_MS - 100, false).await;
    }
    assert_eq!(scene.state().await, State::Queued);
}

#[tokio::test]
async fn a_reader_that_came_and_went_between_two_rounds_is_missed_too() {
    let mut scene = Scene::new().await;
    let gateway = scene.gateway();
    scene.pass(100, false).await;
    drop(gateway.join(&scene.mine, None).await);
    scene.pass(2 * LEFT_MS, false).await;
    assert_eq!(scene.state().await, State::Cancelled);
}

#[tokio::test]
async fn a_reader_at_another_gateway_keeps_the_session() {
    let mut scene = Scene::new().await;
    let (here, there) = (scene.gateway(), scene.gateway());
    let (leaving, _) = here.join(&scene.mine, None).await;
    let (_staying, _) = there.join(&scene.mine, None).await;
    scene.pass(100, true).await;
    drop(leaving);
    scene.pass(2 * LEFT_MS, true).await;
    assert_eq!(scene.state().await, State::Queued);
}

#[tokio::test]
async fn a_gateway_that_dies_takes_nobody_with_it_who_arrives_at_another() {
    let mut scene = Scene::new().await;
    let (dying, heir) = (scene.gateway(), scene.gateway());
    let (orphan, _) = dying.join(&scene.mine, None).await;
    scene.pass(100, true).await;
    // No last word: its tasks end where they are.
    drop((orphan, dying));
    scene.pass(AFTER_MS - 200, false).await;
    let (_reader, _) = heir.join(&scene.mine, None).await;
    scene.pass(2 * LEFT_MS, true).await;
    assert_eq!(scene.state().await, State::Queued);
}

#[tokio::test]
async fn while_no_gateway_lives_nobody_leaves_and_afterwards_all_have_their_time_again() {
    let mut scene = Scene::new().await;
    let only = scene.gateway();
    let (orphan, _) = only.join(&scene.mine, None).await;
    scene.pass(100, true).await;
    drop((orphan, only));
    scene.now_ms += 60_000;
    let restarted = scene.gateway();
    scene.pass(AFTER_MS - 200, false).await;
    assert_eq!(scene.state().await, State::Queued);
    let (_reader, _) = restarted.join(&scene.mine, None).await;
    scene.pass(2 * LEFT_MS, true).await;
    assert_eq!(scene.state().await, State::Queued);
}

#[tokio::test]
async fn a_reader_that_can_hold_no_stream_any_more_and_polls_is_still_there() {
    let mut scene = Scene::new().await;
    let gateway = scene.gateway();
    let mine = scene.mine.clone();
    drop(gateway.join(&mine, None).await);
    for _ in 0..4 {
        scene.pass(AFTER_MS / 2, false).await;
        gateway.live.poll(&mine, Asked::Nothing, Duration::ZERO).await.unwrap();
    }
    scene.pass(AFTER_MS / 2, false).await;
    assert_eq!(scene.state().await, State::Queued);
    scene.pass(2 * LEFT_MS, false).await;
    assert_eq!(scene.state().await, State::Cancelled);
}

#[tokio::test]
async fn a_session_that_only_waits_and_polls_is_never_watched() {
    let mut scene = Scene::new().await;
    let gateway = scene.gateway();
    let (mine, job) = (scene.mine.clone(), scene.job.clone());
    gateway.live.wait_for(&mine, &job, Duration::from_millis(50)).await.unwrap();
    gateway.live.poll(&mine, Asked::Nothing, Duration::ZERO).await.unwrap();
    scene.pass(2 * LEFT_MS, false).await;
    assert_eq!(scene.state().await, State::Queued);
    assert_eq!(LiveOptions::default().cancel_on_disconnect, None, "off by default");
}
