//! Whole workers from their settings, against a scripted server: what breaker, budget and retries come
//! to when all parts run by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framewire_shared::domain::guard::Phase;
use framewire_shared::domain::{Cell, ErrorCode, JobId, Pool, State};
use framewire_shared::service::settings::Settings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::dead::Shown;
use framewire_shared::store::queue::Submission;
use framewire_shared::testing::{submission, until};
use framewire_worker::app::App;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::scripted::{Play, Server};
use crate::world::{World, png};

const INPUT: &str = r#"{"prompt":"a fox","width":64,"height":64,"seed":1}"#;

/// Workers that run until the test ends.
struct Workers {
    shutdown: Shutdown,
    running: JoinSet<()>,
}

impl Workers {
    fn start(count: usize, world: &World, server: &Server, guard: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("framewire.toml");
        let text = format!(
            "[openai]\nurl = \"{}/v1\"\nmodel = \"any\"\n[openai.guard]\n{guard}\n\
             [worker]\npools = [\"openai\"]\nslots = 4\n[artifacts]\npath = {:?}\n",
            server.url,
            world.folder.path().join("artifacts"),
        );
        std::fs::write(&file, text).unwrap();
        let shutdown = Shutdown::new();
        let mut running = JoinSet::new();
        for _ in 0..count {
            let environment = world.redis.environment().map(|(name, it)| (name.to_owned(), it));
            let settings = Settings::load(Some(&file), environment.into_iter()).unwrap();
            let app = App::build(settings).unwrap();
            let shutdown = shutdown.clone();
            running.spawn(async move { app.run_until(shutdown).await.unwrap() });
        }
        Self { shutdown, running }
    }

    async fn stop(self) {
        self.shutdown.drain.cancel();
        self.shutdown.stop.cancel();
        self.running.join_all().await;
    }
}

async fn submit(world: &World) -> JobId {
    let pool: Pool = "openai".parse().unwrap();
    let id = JobId::new(Cell::FIRST, Uuid::now_v7());
    let new = submission(&id, &world.session, &pool, INPUT);
    world.store.submit(&Submission { model: "any", ..new }).await.unwrap();
    id
}

async fn reaches(world: &World, job: &JobId, state: State) {
    until(state.as_str(), async || (world.job(job).await.state == state).then_some(())).await;
}

fn picture() -> Play {
    let picture = json!({ "b64_json": STANDARD.encode(png(64, 64).bytes) });
    Play::json(200, json!({ "data": [picture] }))
}

/// Plays these answers one after the other, and then pictures.
async fn playing(first: impl Fn(u32) -> Option<Play> + Send + Sync + 'static) -> Server {
    let asked = AtomicU32::new(0);
    Server::start(move |_| first(asked.fetch_add(1, Ordering::SeqCst)).unwrap_or_else(picture))
        .await
}

async fn phase(world: &World) -> Phase {
    world.store.guard("openai").await.unwrap().0.breaker.phase
}

#[tokio::test]
async fn three_timeouts_in_a_row_open_the_breaker_and_three_probes_close_it() {
    let world = World::new();
    let server = playing(|asked| (asked < 3).then(|| Play::Hang(Vec::new()))).await;
    let guard = "budget_capacity = 0\nconcurrency = 1\nrest_ms = 400\nprobe_every_ms = 100\n\
        timeout_floor_ms = 200\ntimeout_ceiling_ms = 200\ntimeout_margin_ms = 0";
    let workers = Workers::start(2, &world, &server, guard);
    let jobs = [submit(&world).await, submit(&world).await, submit(&world).await];
    until("the open breaker", async || (phase(&world).await == Phase::Open).then_some(())).await;
    assert_eq!(server.requests().len(), 3, "it opened too late");
    until("the sockets' end", async || (server.left() == 3).then_some(())).await;
    until("the closed breaker", async || (phase(&world).await == Phase::Closed).then_some(()))
        .await;
    let asked = server.requests();
    let probes = asked.iter().filter(|it| it.text().contains("a plain grey circle")).count();
    assert_eq!(probes, 3);
    assert!(asked[3..6].iter().all(|it| it.text().contains("a plain grey circle")), "a job");
    for job in &jobs {
        reaches(&world, job, State::Completed).await;
    }
    workers.stop().await;
}

#[tokio::test]
async fn two_workers_spend_one_budget() {
    let world = World::new();
    let server = playing(|_| None).await;
    let guard = "budget_capacity = 5\nbudget_every_ms = 3600000\nconcurrency = 4";
    let workers = Workers::start(2, &world, &server, guard);
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(submit(&world).await);
    }
    let pool: Pool = "openai".parse().unwrap();
    let done = async || {
        let mut done = 0;
        for job in &jobs {
            done += u32::from(world.job(job).await.state == State::Completed);
        }
        (done == 5).then_some(())
    };
    until("five frames", done).await;
    // Both have heard that there is no more, and say so to those who wait.
    let closed = async || world.store.closed(Cell::FIRST, &pool, None).await.unwrap();
    until("the word that it is closed", closed).await;
    assert_eq!(server.requests().len(), 5);
    workers.stop().await;
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_terminal_error_is_a_dead_letter_with_the_providers_words_and_never_sent_again() {
    let world = World::new();
    let refusal = json!({"error": {"code": "moderation_blocked", "message": "no"}});
    let server = playing(move |asked| {
        let answer = || Play::json(400, refusal.clone()).with("x-request-id", "req-1");
        (asked == 0).then(answer)
    })
    .await;
    let workers = Workers::start(2, &world, &server, "");
    let refused = submit(&world).await;
    reaches(&world, &refused, State::Failed).await;
    // What comes after it is drawn, and it is not.
    let next = submit(&world).await;
    reaches(&world, &next, State::Completed).await;
    workers.stop().await;
    assert_eq!(server.requests().len(), 2);
    let letters = world.store.dead_letters(Cell::FIRST, 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    let record = letter.record.as_ref().unwrap();
    assert_eq!((&letter.job, record.code), (&refused, ErrorCode::Permanent));
    assert!(record.detail.contains("moderation_blocked"), "{record:?}");
    let Shown::Failed(fields) = world.store.dead_letter(&refused).await.unwrap() else {
        panic!("no letter")
    };
    let origin: serde_json::Value = serde_json::from_str(&fields["error_origin"]).unwrap();
    let expected = json!({"provider_status": 400, "provider_code": "moderation_blocked",
        "provider_request_id": "req-1"});
    assert_eq!(origin, expected);
    assert_eq!(phase(&world).await, Phase::Closed, "a user's prompt is no reason to open it");
}

#[tokio::test]
async fn a_quota_error_is_waited_out_and_leaves_the_breaker_closed() {
    let world = World::new();
    let slow = json!({"error": {"code": "rate_limit_exceeded", "message": "slower"}});
    let server = playing(move |asked| {
        let answer = || Play::json(429, slow.clone()).with("retry-after", "2");
        (asked < 2).then(answer)
    })
    .await;
    let workers = Workers::start(1, &world, &server, "");
    let began_at = Instant::now();
    let job = submit(&world).await;
    reaches(&world, &job, State::Completed).await;
    assert!(began_at.elapsed() >= Duration::from_secs(4), "it did not wait");
    assert_eq!((server.requests().len(), phase(&world).await), (3, Phase::Closed));
    workers.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_once_more_and_makes_one_frame() {
    let world = World::new();
    let server = playing(|asked| {
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{\"data\":[{\"b64_json\":\"iVBOR";
        (asked == 0).then(|| Play::Cut(cut.into()))
    })
    .await;
    let server = Arc::new(server);
    let workers = Workers::start(1, &world, &server, "");
    let job = submit(&world).await;
    reaches(&world, &job, State::Completed).await;
    let stored = world.job(&job).await;
    assert_eq!((stored.attempt_count, stored.artifacts.len()), (2, 1));
    let frames = world.events().await.iter().filter(|it| *it == "frame-ready").count();
    assert_eq!((server.requests().len(), frames), (2, 1));
    workers.stop().await;
}
