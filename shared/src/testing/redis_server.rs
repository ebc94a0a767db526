//! A redis-server of one's own, on a unix socket in a folder that goes with it.
//!
//! Starts in about 50 ms. Killed by handle when dropped, so a failed test leaves nothing behind.
//! `pause`, `kill` and `restart` are for tests that break it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::domain::{Cell, JobId, Pool, Priority};
use crate::store::operate::Durability;
use crate::store::{QueueOptions, RedisOptions, Store, keys};

/// A running redis-server.
pub struct RedisServer {
    child: Child,
    folder: tempfile::TempDir,
    settings: Vec<String>,
}

/// Settings of most tests: the launcher's, as far as they show.
const SETTINGS: [&str; 8] =
    ["--port", "0", "--save", "", "--appendonly", "yes", "--hash-max-ziplist-value", "8192"];

impl RedisServer {
    /// Starts one with AOF, as the launcher does, and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&SETTINGS)
    }

    /// Starts one with these arguments (a settings file first, or options) and waits until it
    /// answers; its folder and its socket are ours.
    pub fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("fw-").tempdir().expect("make a folder");
        let settings: Vec<String> = settings.iter().map(|&word| word.to_owned()).collect();
        let child = spawn(&settings, folder.path());
        let server = Self { child, folder, settings };
        server.wait_until_it_answers();
        server
    }

    /// Gives its URL.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Gives a fresh connection for commands that only tests may give.
    pub fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("read our own URL");
        client.get_connection().expect("connect to our own redis-server")
    }

    /// Opens a store with these bounds.
    pub fn store_with(&self, queue: QueueOptions) -> Store {
        Store::open(self.options(), queue).expect("open a store")
    }

    /// Opens a store with the default bounds.
    pub fn store(&self) -> Store {
        self.store_with(QueueOptions::default())
    }

    /// Opens a store whose scripts read their time from [`RedisServer::set_clock`].
    pub fn store_with_clock(&self, queue: QueueOptions) -> Store {
        Store::open_with_clock(self.options(), queue).expect("open a store")
    }

    /// Sets the time of stores made by [`RedisServer::store_with_clock`], in epoch milliseconds.
    pub fn set_clock(&self, now_ms: u64) {
        let () = redis::cmd("SET")
            .arg(keys::clock(Cell::FIRST))
            .arg(now_ms)
            .query(&mut self.connection())
            .expect("set the clock");
    }

    /// Pops a pool's window as a worker does, high priority first, without waiting.
    pub fn pop(&self, pool: &Pool) -> Option<JobId> {
        let mut connection = self.connection();
        Priority::ALL.iter().find_map(|&class| {
            let window = keys::ready(Cell::FIRST, pool, class);
            let popped: Vec<String> =
                redis::cmd("ZPOPMIN").arg(window).query(&mut connection).expect("pop a window");
            popped.first().map(|job| job.parse().expect("a job's id in the window"))
        })
    }

    /// Gives the connection options of its stores.
    pub fn options(&self) -> RedisOptions {
        RedisOptions {
            url: self.url(),
            call_timeout: Duration::from_secs(5),
            durability: Durability::Relaxed,
        }
    }

    /// Tells its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once, as a power cut would; its AOF stays.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill our own redis-server");
        self.child.wait().expect("collect our own redis-server");
    }

    /// Starts it again on what it left.
    pub fn restart(&mut self) {
        self.child = spawn(&self.settings, self.folder.path());
        self.wait_until_it_answers();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if UnixStream::connect(self.socket()).is_ok() {
                let client = redis::Client::open(self.url()).expect("read our own URL");
                let pong = client
                    .get_connection()
                    .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
                if pong.is_ok() {
                    return;
                }
            }
            std::thread::yield_now();
        }
        panic!("redis-server did not answer within 20 s; is it installed?");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be dead already, when a test has killed it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(settings: &[String], folder: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args(settings)
        .arg("--unixsocket")
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start redis-server; install it with: apt-get install redis-server")
}
