//! What a worker says of itself over HTTP, as a process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use framewire_shared::domain::{Fault, FrameInput, State};
use framewire_shared::testing::until;
use reqwest::StatusCode;
use serde_json::Value;

use crate::process::{Worker, command, input, reaches};
use crate::scripted::{Play, Server};
use crate::world::World;

/// Longest wait for a line of the log; a test that needs it has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// Starts a worker; gives what it logs, line by line.
fn start(command: &mut Command) -> (Worker, Receiver<Value>) {
    let mut child: Child =
        command.env("FRAMEWIRE_LOG_FORMAT", "json").stderr(Stdio::piped()).spawn().unwrap();
    let said: BufReader<ChildStderr> = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            // The test may have heard enough.
            drop(serde_json::from_str(&line).map(|line| sender.send(line)));
        }
    });
    (Worker::of(child), lines)
}

fn listening(world: &World) -> (Worker, String) {
    let (worker, lines) = start(command(world).env("FRAMEWIRE_WORKER_LISTEN", "127.0.0.1:0"));
    let url = lines.iter().find_map(|line| {
        let said = line["message"].as_str()?.strip_prefix("metrics on ")?;
        Some(said.strip_suffix("/metrics")?.to_owned())
    });
    (worker, url.expect("an address"))
}

async fn ask(url: &str, path: &str) -> (StatusCode, String) {
    let response = reqwest::get(format!("{url}{path}")).await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn scrape(url: &str) -> BTreeMap<String, f64> {
    let (status, text) = ask(url, "/metrics").await;
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_worker_counts_what_it_claims_draws_stores_and_fails() {
    let world = World::new();
    let (_worker, url) = listening(&world);
    let drawn = world.submit_input(&input(1, 0)).await;
    reaches(&world, &drawn, State::Completed).await;
    let refused = FrameInput { fault: Some(Fault::Permanent), ..input(1, 0) };
    let refused = world.submit_input(&refused).await;
    reaches(&world, &refused, State::Failed).await;
    let settled =
        r#"framewire_worker_attempts_total{model="builtin",outcome="failed",pool="default"}"#;
    let values = until("two settled", async || {
        let values = scrape(&url).await;
        values.contains_key(settled).then_some(values)
    })
    .await;
    assert_eq!(values[r#"framewire_worker_claims_total{pool="default"}"#], 2.0);
    let calls = |outcome| {
        let labels = format!(r#"{{outcome="{outcome}",provider="builtin"}}"#);
        values[&format!("framewire_worker_call_seconds_count{labels}")]
    };
    assert_eq!((calls("success"), calls("4xx")), (1.0, 1.0));
    let code = r#"{code="PERMANENT",kind="4xx",provider="builtin"}"#;
    assert_eq!(values[&format!("framewire_worker_failures_total{code}")], 1.0);
    assert_eq!(values["framewire_worker_frames_total"], 1.0);
    assert!(values["framewire_worker_frame_bytes_total"] > 100.0);
    assert_eq!(values["framewire_worker_slots"], 1.0);
}

#[tokio::test]
async fn a_worker_is_ready_while_redis_answers_its_pops_and_alive_in_any_case() {
    let mut world = World::new();
    let (_worker, url) = listening(&world);
    let ready = async |wanted: u16| {
        until("readiness", async || (ask(&url, "/readyz").await.0 == wanted).then_some(())).await;
    };
    ready(200).await;
    let running = world.submit_input(&input(60, 200)).await;
    reaches(&world, &running, State::Generating).await;
    assert_eq!(ask(&url, "/readyz").await.0, 200, "with all slots busy");
    let busy = scrape(&url).await;
    assert_eq!(busy["framewire_worker_slots_busy"], 1.0);
    world.redis.kill();
    ready(503).await;
    let (status, text) = ask(&url, "/readyz").await;
    assert!(status == 503 && text.contains("redis:"), "{text}");
    assert_eq!(ask(&url, "/healthz").await.0, 200);
    assert!(scrape(&url).await["framewire_worker_redis_silence_seconds"] > 6.0);
    world.redis.restart();
    ready(200).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_by_name() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = command(&world);
    let output = command.env("FRAMEWIRE_WORKER_LISTEN", &address).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&address) && said.contains("worker.listen"), "{said}");
}

// Reading the log blocks its thread, and the server needs one.
#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_moves_is_logged_with_stable_fields_and_so_is_the_budget() {
    let world = World::new();
    let server =
        Server::start(|_| Play::json(401, serde_json::json!({"error": {"message": "no"}})));
    let server = server.await;
    let (_worker, lines) = start(
        command(&world)
            .env("FRAMEWIRE_OPENAI_URL", &server.url)
            .env("FRAMEWIRE_OPENAI_API_KEY", "sk-test")
            .env("FRAMEWIRE_WORKER_POOLS", "openai"),
    );
    let pool = "openai".parse().unwrap();
    let id = framewire_shared::domain::JobId::new(
        framewire_shared::domain::Cell::FIRST,
        uuid::Uuid::now_v7(),
    );
    let text = serde_json::to_string(&FrameInput {
        width: 1_024,
        height: 1_024,
        seed: Some(1),
        ..FrameInput::new("x")
    })
    .unwrap();
    let new = framewire_shared::testing::submission(&id, &world.session, &pool, &text);
    let new = framewire_shared::store::queue::Submission { model: "gpt-image-1.5", ..new };
    world.store.submit(&new).await.unwrap();
    let find = |message: &str| loop {
        let line = lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no {message} in the log"));
        if line["message"] == message {
            break line;
        }
    };
    let request = find("gen.request");
    assert_eq!((&request["id"], &request["budgetBefore"]), (&id.as_str().into(), &5.into()));
    let moved = find("breaker.state");
    assert_eq!((&moved["state"], &moved["provider"]), (&"open".into(), &"openai".into()));
    assert!(moved["failureRate"].is_f64(), "{moved}");
}
