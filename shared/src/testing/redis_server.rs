//! A Redis of one's own: one server, or a cluster if the environment says so.
//!
//! With `TEST_REDIS=cluster` it is three masters, and everything is in one cell: whatever a
//! test says to "the" server is said to the one that holds it, so that the same tests pass on both.
//! `kill` and `restart` are for tests that break it.

use std::path::PathBuf;
use std::time::Duration;

use super::process::Process;
use super::redis_cluster::RedisCluster;
use crate::domain::{Cell, JobId, Pool, Priority};
use crate::store::{QueueOptions, RedisOptions, Store, keys};

/// A running Redis.
pub enum RedisServer {
    /// One redis-server on a unix socket.
    Alone(Process),
    /// Three masters.
    Cluster(RedisCluster),
}

/// Gives the options with which tests open stores.
pub(super) fn options(url: String) -> RedisOptions {
    RedisOptions { url, call_timeout: Duration::from_secs(5), ..RedisOptions::default() }
}

impl RedisServer {
    /// Starts one with AOF, as the launcher does, and waits until it answers.
    pub fn start() -> Self {
        match std::env::var("TEST_REDIS").as_deref() {
            Ok("cluster") => Self::Cluster(RedisCluster::start(3)),
            Ok(other) => panic!("TEST_REDIS is {other:?}; it may be \"cluster\""),
            Err(_) => Self::Alone(Process::start()),
        }
    }

    /// Starts a single one with this settings file of Redis, as far as its place is not settled here.
    pub fn start_from(settings: &str) -> Self {
        Self::Alone(Process::start_from(settings))
    }

    /// Gives the server that holds the one cell.
    fn process(&self) -> &Process {
        match self {
            Self::Alone(process) => process,
            Self::Cluster(cluster) => &cluster.masters[cluster.master_of(Cell::FIRST)],
        }
    }

    fn all(&mut self) -> &mut [Process] {
        match self {
            Self::Alone(process) => std::slice::from_mut(process),
            Self::Cluster(cluster) => &mut cluster.masters,
        }
    }

    /// Gives its URL.
    pub fn url(&self) -> String {
        match self {
            Self::Alone(process) => process.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// Gives the settings of a process that is to use it.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("FRAMEWIRE_REDIS_URL", self.url()), ("FRAMEWIRE_REDIS_CELLS", "1".into())]
    }

    /// Gives the path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.process().socket()
    }

    /// Gives a command, or a script, as this Redis has it: a cluster's channels are sharded.
    pub fn spoken(&self, text: &str) -> String {
        match (self, text) {
            (Self::Alone(_), _) => text.to_owned(),
            (Self::Cluster(_), "publish" | "subscribe" | "unsubscribe") => format!("s{text}"),
            (Self::Cluster(_), "NUMSUB") => "SHARDNUMSUB".into(),
            (Self::Cluster(_), _) => text.replace("'PUBLISH'", "'SPUBLISH'"),
        }
    }

    /// Gives a fresh connection for commands that only tests may give.
    pub fn connection(&self) -> redis::Connection {
        self.process().connection()
    }

    /// Gives a command that only tests may give.
    pub fn command(&self, words: &[&str]) {
        let mut command = redis::Cmd::new();
        let () = command.arg(words).query(&mut self.connection()).expect("obey a test");
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
        RedisOptions { cells: Some(1), ..options(self.url()) }
    }

    /// Tells its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Kills it at once, as a power cut would; its AOF stays.
    pub fn kill(&mut self) {
        self.all().iter_mut().for_each(Process::kill);
    }

    /// Starts it again on what it left.
    pub fn restart(&mut self) {
        self.all().iter_mut().for_each(Process::restart);
        if let Self::Cluster(cluster) = self {
            cluster.until_it_serves();
        }
    }
}
