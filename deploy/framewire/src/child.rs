//! One child process: started, heard, stopped.
//!
//! A child is in a process group of its own, so that Ctrl-C on the terminal reaches the launcher
//! alone, which then stops everything in order. What it prints is shown line by line under its
//! name; two things are picked out of it on the way: the address a gateway listens on, and the last
//! line, which is the reason if it refuses to start.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::console::Console;
use crate::lifeline;
use crate::pid_file::{self, PidFile};

/// The words in a gateway's log before its address, with and without TLS.
const ADDRESS_AFTER: [&str; 2] = ["listening on http://", "listening on https://"];
/// How long a dead child's last lines may take; a process of its own may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What is to run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its name on the console and in `run/`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(String, String)>,
    /// What to do if it refuses to start and its last line leaves that open.
    pub(crate) advice: Option<String>,
    /// What it gets from the kernel if the launcher dies.
    pub(crate) orphan_signal: Signal,
}

/// What all children have in common.
#[derive(Debug, Clone)]
pub(crate) struct Nursery {
    /// This program, which is each child's first.
    pub(crate) launcher: PathBuf,
    /// Where the living children's files are.
    pub(crate) run: PathBuf,
    pub(crate) console: Console,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[error("start {name}")]
pub(crate) struct StartError {
    name: String,
    #[source]
    source: std::io::Error,
}

/// What has been heard from a child.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// Where it listens, like `127.0.0.1:8080`.
    pub(crate) address: Option<String>,
    /// The last line.
    pub(crate) last: String,
}

/// A started process; killed if dropped while it runs.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: u32,
    pid_file: PathBuf,
    started_at: Instant,
    heard: watch::Receiver<Heard>,
    readers: JoinSet<()>,
}

impl Nursery {
    /// Starts a program.
    pub(crate) fn start(&self, program: &Program) -> Result<Process, StartError> {
        self.spawn(program).map_err(|source| StartError { name: program.name.clone(), source })
    }

    fn spawn(&self, program: &Program) -> std::io::Result<Process> {
        let path = self.run.join(format!("{}.pid", program.name));
        let pid_file = PidFile::create(&path)?;
        let mut child = Command::new(&self.launcher)
            .args(lifeline::arguments(program.orphan_signal))
            .arg(&program.path)
            .args(&program.arguments)
            .envs(program.environment.iter().cloned())
            .envs(self.console.environment())
            .stdin(pid_file.stdin()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        pid_file.hand_over(pid)?;
        let (said, heard) = watch::channel(Heard::default());
        let mut readers = JoinSet::new();
        if let Some(output) = child.stdout.take() {
            readers.spawn(listen(output, program.name.clone(), self.console.clone(), said.clone()));
        }
        if let Some(output) = child.stderr.take() {
            readers.spawn(listen(output, program.name.clone(), self.console.clone(), said));
        }
        Ok(Process { child, pid, pid_file: path, started_at: Instant::now(), heard, readers })
    }
}

impl Process {
    /// Gives its id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells how long it has lived.
    pub(crate) fn age(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// Gives what it says, as it says it.
    pub(crate) fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }

    /// Waits until it has ended and all it said is shown; cancel safe.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        let all_read = async { while self.readers.join_next().await.is_some() {} };
        // Late words are dropped; the process that could still say them is not ours to wait for.
        drop(tokio::time::timeout(LAST_WORDS, all_read).await);
        drop(pid_file::remove(&self.pid_file));
        Ok(status)
    }

    /// Sends a signal, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) {
        // Without an id it has been collected, and the number may be another's by now.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Says how a process ended, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended".into(),
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("was killed by {}", signal.as_str()),
            Err(_) => format!("was killed by signal {number}"),
        },
        (None, None) => "ended".into(),
    }
}

/// Shows what comes out of a pipe until its end.
async fn listen(
    output: impl AsyncRead + Unpin,
    name: String,
    console: Console,
    said: watch::Sender<Heard>,
) {
    let mut output = BufReader::new(output);
    let mut bytes = Vec::new();
    while let Ok(1..) = output.read_until(b'\n', &mut bytes).await {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if line.is_empty() {
            continue;
        }
        console.forward(&name, &line);
        said.send_modify(|heard| {
            if let Some(address) = address_in(&line) {
                heard.address = Some(address.to_owned());
            }
            heard.last = line;
        });
    }
}

/// Finds the address in a gateway's log line, whether it is text or JSON.
fn address_in(line: &str) -> Option<&str> {
    let (_, rest) = ADDRESS_AFTER.iter().find_map(|words| line.split_once(words))?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || ".:[]%".contains(c);
    let address = rest.split(|c| !is_part(c)).next()?;
    address.contains(':').then_some(address)
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn the_address_is_found_in_text_and_in_json() {
        let text = "2026-01-01T00:00:00Z  INFO listening on http://127.0.0.1:8080 threads=2";
        assert_eq!(address_in(text), Some("127.0.0.1:8080"));
        let json = r#"{"level":"INFO","message":"listening on http://[::1]:8080/","x":1}"#;
        assert_eq!(address_in(json), Some("[::1]:8080"));
        assert_eq!(address_in("listening on https://127.0.0.1:8443"), Some("127.0.0.1:8443"));
        assert_eq!(address_in("listening on http://nowhere"), None);
        assert_eq!(address_in("ready"), None);
    }
}
