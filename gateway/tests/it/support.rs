//! A gateway of one's own on a private Redis, a user to ask it, and a worker to move its jobs.
//!
//! The gateway is the real `App` on a free port of the loopback. The worker is no process: a test
//! makes each of its calls to the store itself, so a job is always exactly where the test put it.

use std::time::Duration;

use framewire_gateway::app::{App, AppError};
use framewire_shared::domain::artifact::Slot;
use framewire_shared::domain::{
    Artifact, ArtifactId, Cell, ErrorCode, Failure, JobId, MediaType, Pool, SessionId, State,
    WorkerId,
};
use framewire_shared::service::settings::Settings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::Store;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::codec::Claim;
use framewire_shared::store::queue::Lease;
use framewire_shared::store::window::Popper;
use framewire_shared::testing::RedisServer;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A running gateway and what it stands on.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) redis: RedisServer,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: JoinHandle<Result<(), AppError>>,
    pub(crate) http: Client,
    folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts one with the default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts one with changed settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_on(RedisServer::start(), change).await
    }

    /// Starts one on a Redis, whatever its condition.
    pub(crate) async fn start_on(redis: RedisServer, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&redis, folder.path(), change);
        let store = redis.store_with(settings.queue_options());
        let blobs = Blobs::on_disk(folder.path()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = App::build(settings, listener).await.unwrap();
        let shutdown = Shutdown::new();
        let running = tokio::spawn(app.run_until(shutdown.clone()));
        let http = Client::builder().pool_max_idle_per_host(64).build().unwrap();
        Self { url, redis, store, blobs, shutdown, running, http, folder }
    }

    /// Tells where the blobs are.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Asks without a session.
    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Makes a session.
    pub(crate) async fn user(&self) -> User<'_> {
        let response = self.ask(Method::POST, "/v1/sessions").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        let body: Value = response.json().await.unwrap();
        let token = body["token"].as_str().unwrap().to_owned();
        User { gateway: self, token }
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn until_ready(&self) {
        let asking = async {
            while self.ask(Method::GET, "/readyz").send().await.unwrap().status() != StatusCode::OK
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking).await.expect("ready within 20 s");
    }

    /// Waits until this gateway follows the events of a session.
    pub(crate) async fn until_followed(&self, session: &SessionId) {
        let channel = format!("fw:{{c0}}:stream:{session}");
        let asking = async {
            let asked = self.redis.spoken("NUMSUB");
            while !redis_cli(&self.redis, &["PUBSUB", &asked, &channel]).ends_with('1') {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking).await.expect("followed within 20 s");
    }

    /// Gives Redis a command; gives what it says.
    pub(crate) fn redis_cli(&self, arguments: &[&str]) -> String {
        redis_cli(&self.redis, arguments)
    }

    /// Sets a value of Redis that only an operator would set.
    pub(crate) fn set_redis(&self, name: &str, value: &str) {
        set_redis(&self.redis, name, value);
    }
}

/// Sets a value of Redis that only an operator would set.
pub(crate) fn set_redis(redis: &RedisServer, name: &str, value: &str) {
    assert_eq!(redis_cli(redis, &["CONFIG", "SET", name, value]), "OK", "{name} {value}");
}

/// Gives Redis a command; gives what it says.
fn redis_cli(redis: &RedisServer, arguments: &[&str]) -> String {
    let output = std::process::Command::new("redis-cli")
        .arg("-s")
        .arg(redis.socket())
        .args(arguments)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes the settings of a test's gateway.
pub(crate) fn settings(
    redis: &RedisServer,
    folder: &std::path::Path,
    change: impl FnOnce(&mut Settings),
) -> Settings {
    let mut settings = Settings::default();
    settings.redis.url = redis.url();
    settings.redis.cells = Some(std::num::NonZeroU16::MIN);
    settings.redis.call_timeout = Duration::from_secs(5);
    settings.artifacts.path = folder.to_owned();
    settings.gateway.drain = Duration::from_millis(50);
    change(&mut settings);
    settings
}

/// Somebody with a session.
pub(crate) struct User<'a> {
    gateway: &'a Gateway,
    pub(crate) token: String,
}

impl User<'_> {
    /// Tells the session's name.
    pub(crate) fn session(&self) -> SessionId {
        self.token.split_once('.').unwrap().0.parse().unwrap()
    }

    /// Asks with the session's token.
    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.gateway.ask(method, path).bearer_auth(&self.token)
    }

    /// Asks for a path, and wants this status.
    pub(crate) async fn get(&self, path: &str, wanted: u16) -> Value {
        json_of(self.ask(Method::GET, path).send().await.unwrap(), wanted).await
    }

    /// Posts nothing to a path, and wants this status.
    pub(crate) async fn post(&self, path: &str, wanted: u16) -> Value {
        json_of(self.ask(Method::POST, path).send().await.unwrap(), wanted).await
    }

    /// Submits a job, and wants this status.
    pub(crate) async fn submit(&self, body: &Value, wanted: u16) -> Value {
        let request = self.ask(Method::POST, "/v1/jobs").json(body);
        json_of(request.send().await.unwrap(), wanted).await
    }

    /// Submits a plain job; gives its name.
    pub(crate) async fn job(&self, prompt: &str) -> String {
        let job = self.submit(&json!({"input": {"prompt": prompt}}), 202).await;
        job["id"].as_str().unwrap().to_owned()
    }
}

/// Reads a JSON answer, and wants this status.
pub(crate) async fn json_of(response: Response, wanted: u16) -> Value {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(status, wanted, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

/// Wants a problem with this status and code, and gives it.
pub(crate) async fn problem_of(response: Response, status: u16, code: &str) -> Value {
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let problem = json_of(response, status).await;
    assert_eq!(content_type, "application/problem+json", "{problem}");
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["error"]["code"], code, "{problem}");
    assert_eq!(problem["error"]["message"], problem["detail"], "{problem}");
    assert_eq!(problem["type"], format!("urn:framewire:problem:{code}"), "{problem}");
    assert!(problem["title"].is_string() && problem["error"]["type"].is_string(), "{problem}");
    problem
}

/// The pool of the default model.
pub(crate) fn pool() -> Pool {
    "default".parse().unwrap()
}

/// What a worker would do, one call at a time.
pub(crate) struct Worker<'a> {
    gateway: &'a Gateway,
    id: WorkerId,
    popper: Popper,
}

impl<'a> Worker<'a> {
    /// Counts a worker with these slots into the pool.
    pub(crate) async fn start(gateway: &'a Gateway, slots: u32) -> Self {
        let id = WorkerId::new(Uuid::new_v4());
        let popper = gateway.store.popper(Cell::FIRST, &[pool()]);
        let lifetime = Duration::from_secs(60);
        gateway.store.heartbeat(Cell::FIRST, &pool(), &id, slots, lifetime).await.unwrap();
        Self { gateway, id, popper }
    }

    /// Pops and claims the next job.
    pub(crate) async fn claim(&mut self) -> Lease {
        let hint = loop {
            if let Some(hint) = self.popper.pop().await.unwrap() {
                break hint;
            }
        };
        match self.gateway.store.claim(&hint.job, &self.id, "builtin").await.unwrap() {
            Claim::Claimed(claimed) => Lease { job: hint.job, fence: claimed.fence },
            Claim::Gone(state) => panic!("{} is gone: {state:?}", hint.job),
        }
    }

    /// Stores and announces frame 0 with these bytes, and completes the job.
    pub(crate) async fn complete(&self, lease: &Lease, bytes: &[u8]) -> ArtifactId {
        let store = &self.gateway.store;
        store.advance(lease, State::Generating).await.unwrap();
        store.advance(lease, State::Uploading).await.unwrap();
        let id = ArtifactId {
            job: lease.job.clone(),
            fence: lease.fence,
            slot: Slot::Frame(0),
            media_type: MediaType::Png,
        };
        self.gateway.blobs.put(&id, bytes.to_vec().into()).await.unwrap();
        let artifact = Artifact {
            index: 0,
            url: id.url(),
            content_type: MediaType::Png,
            width: 64,
            height: 64,
            bytes: bytes.len() as u64,
            sha256: "00".into(),
            seed: 1,
        };
        let ms = Duration::from_millis(1);
        store.complete(lease, &[artifact], ms, ms).await.unwrap();
        id
    }

    /// Fails the job for good.
    pub(crate) async fn fail(&self, lease: &Lease) {
        let failure = Failure::new(ErrorCode::Permanent, "The provider refuses the prompt.")
            .detail("secret detail");
        self.gateway.store.fail(lease, &failure, None).await.unwrap();
    }
}

/// Reads a job's name.
pub(crate) fn job_id(text: &str) -> JobId {
    text.parse().unwrap()
}
