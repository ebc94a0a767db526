//! A master, its replica, and sentinels that watch them.

use std::process::{Child, Command, Stdio};

use super::process::Process;
use super::redis_server;
use super::wait::until_blocking;
use crate::store::{QueueOptions, RedisOptions, Store};

/// The name under which the sentinels know the master.
const NAME: &str = "framewire";
const ARGUMENTS: [&str; 4] = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];

/// A master, its replica and one sentinel.
pub struct RedisSentinel {
    /// The master at first.
    pub master: Process,
    /// Its replica at first.
    pub replica: Process,
    sentinel: Sentinel,
}

struct Sentinel {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl RedisSentinel {
    /// Starts them, and waits until the replica has caught up and the sentinel knows both.
    pub fn start() -> Self {
        let master = Process::start_on_a_port(&ARGUMENTS);
        let replica = Process::start_on_a_port(&ARGUMENTS);
        let () = replica.say(&format!("REPLICAOF 127.0.0.1 {}", master.port())).unwrap();
        master.until_its_replica_has_caught_up();
        let sentinel = Sentinel::start(master.port());
        until_blocking("a sentinel that knows the replica", || {
            let told: String = sentinel.say("INFO", &["sentinel"])?;
            (told.contains("status=ok") && told.contains("slaves=1")).then_some(())
        });
        Self { master, replica, sentinel }
    }

    /// Gives its URL.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{NAME}", self.sentinel.port)
    }

    /// Gives options for stores.
    pub fn options(&self) -> RedisOptions {
        redis_server::options(self.url())
    }

    /// Opens a store.
    pub fn store(&self) -> Store {
        Store::open(self.options(), QueueOptions::default()).expect("open a store")
    }

    /// Has the sentinel make the replica the master now, with the old one alive.
    pub fn fail_over(&self) {
        // Refused until it has asked the replica whether that is fit to lead.
        until_blocking("a sentinel that begins a fail-over", || {
            self.sentinel.say::<String>("SENTINEL", &["FAILOVER", NAME])
        });
    }
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("fw-").tempdir().expect("make a folder");
        let conf = folder.path().join("sentinel.conf");
        let port = super::process::free_port();
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 3000\n",
            folder.path().display()
        );
        std::fs::write(&conf, text).expect("write the sentinel's settings");
        let child = Command::new("redis-server")
            .arg(&conf)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start redis-server as a sentinel");
        Self { child, port, _folder: folder }
    }

    /// Runs a command, if it answers.
    fn say<T: redis::FromRedisValue>(&self, verb: &str, words: &[&str]) -> Option<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).ok()?;
        redis::cmd(verb).arg(words).query(&mut client.get_connection().ok()?).ok()
    }
}
