//! One redis-server process: started, killed, started again.
//!
//! Has a unix socket in a folder that goes with it, and a port where others must find it. Starts in
//! about 50 ms. Killed by handle when dropped, so a failed test leaves nothing behind.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::wait::until_blocking;

/// Ports that tests take: below those that the kernel gives to outgoing connections (from 32768 on),
/// so that a server that is killed finds its own free when it comes back.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
/// Where a cluster's node listens for the others, above its port.
const BUS: u16 = 10_000;
/// Ports that are tried for one server.
const PORTS_TRIED: usize = 5;

/// A redis-server, running or killed.
pub struct Process {
    child: Child,
    folder: tempfile::TempDir,
    port: Option<u16>,
    arguments: Vec<String>,
}

impl Process {
    /// Starts one on a socket alone, with AOF, as the launcher does; waits until it answers.
    pub fn start() -> Self {
        Self::start_with(None, Vec::new())
    }

    /// Starts one on a socket alone, with this settings file; what is said here wins over it.
    pub fn start_from(settings: &str) -> Self {
        Self::start_with(None, vec![settings.to_owned()])
    }

    /// Starts one on a free port of the loopback besides, with further arguments.
    pub fn start_on_a_port(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        // Between a look at a port and the server's own, another test may have taken it.
        let mut starts =
            (0..PORTS_TRIED).map(|_| Self::try_start_with(Some(free_port()), arguments.clone()));
        starts.find_map(Result::ok).expect("a redis-server that finds its port free")
    }

    fn start_with(port: Option<u16>, arguments: Vec<String>) -> Self {
        let started = Self::try_start_with(port, arguments);
        started.unwrap_or_else(|status| panic!("redis-server ended: {status}"))
    }

    /// Errors: the server ended by itself.
    fn try_start_with(port: Option<u16>, arguments: Vec<String>) -> Result<Self, ExitStatus> {
        let folder = tempfile::Builder::new().prefix("fw-").tempdir().expect("make a folder");
        let child = spawn(folder.path(), port, &arguments);
        let mut process = Self { child, folder, port, arguments };
        process.until_it_answers()?;
        Ok(process)
    }

    /// Gives the URL of this server alone.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Gives `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Gives its port.
    pub fn port(&self) -> u16 {
        self.port.expect("a server that was started on a port")
    }

    /// Gives the port on which a cluster's nodes speak to each other.
    pub(super) fn bus(&self) -> u16 {
        self.port() + BUS
    }

    /// Gives the path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Tells its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives a fresh connection for commands that only tests may give.
    pub fn connection(&self) -> redis::Connection {
        self.try_connection().expect("connect to our own redis-server")
    }

    /// Gives a fresh connection, if it answers.
    pub fn try_connection(&self) -> Option<redis::Connection> {
        let mut connection = redis::Client::open(self.url()).ok()?.get_connection().ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()?;
        Some(connection)
    }

    /// Runs a command of these words, separated by spaces.
    pub fn say<T: redis::FromRedisValue>(&self, words: &str) -> redis::RedisResult<T> {
        let mut command = redis::Cmd::new();
        for word in words.split(' ') {
            command.arg(word);
        }
        command.query(&mut redis::Client::open(self.url())?.get_connection()?)
    }

    /// Waits until its one replica counts for WAIT.
    pub(super) fn until_its_replica_has_caught_up(&self) {
        until_blocking("a replica that has caught up", || {
            let told: String = self.say("INFO replication").ok()?;
            // Until its first acknowledgement, up to a second later, it is not sent anything.
            (told.contains("state=online") && !told.contains("offset=0,")).then_some(())
        });
    }

    /// Kills it at once, as a power cut would; its AOF stays.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill our own redis-server");
        self.child.wait().expect("collect our own redis-server");
    }

    /// Starts it again on what it left.
    pub fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.port, &self.arguments);
        self.until_it_answers().unwrap_or_else(|status| panic!("redis-server ended: {status}"));
    }

    /// Errors: it ended by itself.
    fn until_it_answers(&mut self) -> Result<(), ExitStatus> {
        until_blocking("redis-server, which must be installed", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            UnixStream::connect(self.socket()).ok()?;
            self.try_connection().map(|_| Ok(()))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already, when a test has killed it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Finds a port that is free, and whose neighbour for a cluster's bus is.
pub(super) fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::random_range(PORTS));
    ports.find(|&port| is_free(port) && is_free(port + BUS)).expect("some port is free")
}

fn spawn(folder: &Path, port: Option<u16>, arguments: &[String]) -> Child {
    // A settings file comes before all options.
    let is_file = |word: &String| !word.starts_with("--");
    let (file, arguments) = arguments.split_at(arguments.first().is_some_and(is_file).into());
    Command::new("redis-server")
        .args(file)
        .args(["--port", &port.unwrap_or(0).to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--hash-max-ziplist-value", "8192", "--unixsocket"])
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start redis-server; install it with: apt-get install redis-server")
}
