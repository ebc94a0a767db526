//! A launcher that a test has started, and what it prints.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for anything; far above what it takes, since other tests share the machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Settings that make crashes cheap to wait for.
const SETTINGS: [(&str, &str); 7] = [
    ("FRAMEWIRE_GATEWAY_LISTEN", "127.0.0.1:0"),
    ("FRAMEWIRE_BUILTIN_FAULTS", "true"),
    ("FRAMEWIRE_QUEUE_LEASE_MS", "1500"),
    ("FRAMEWIRE_QUEUE_RENEW_MS", "400"),
    ("FRAMEWIRE_GATEWAY_DRAIN_MS", "100"),
    ("FRAMEWIRE_WORKER_DRAIN_S", "1"),
    ("FRAMEWIRE_LOG_FILTER", "info"),
];

/// A running `framewire up`; stopped when dropped.
pub(crate) struct Launcher {
    child: Child,
    data: PathBuf,
    /// Where its gateway is, like `http://127.0.0.1:40001`.
    pub(crate) url: String,
    printed: Printed,
}

/// Gives the command, ready for more arguments; fails if the other programs are not built.
pub(crate) fn up(data: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_framewire"));
    for name in ["framewire-gateway", "framewire-worker"] {
        assert!(
            program.with_file_name(name).is_file(),
            "{name} is not built; run the tests with --workspace, or: cargo build --workspace"
        );
    }
    let mut command = Command::new(program);
    command.args(["up", "--data"]).arg(data).envs(SETTINGS).stdin(Stdio::null());
    command
}

/// Runs a command that is expected to refuse; gives what it said.
pub(crate) fn refused(command: &mut Command) -> String {
    let output: Output = command.output().expect("start the launcher");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

impl Launcher {
    /// Starts everything on a data directory, with one slot so that a second job waits.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(up(data).args(["--slots", "1"]), data)
    }

    /// Starts everything as the command says, and waits until it says that it is up.
    pub(crate) fn start_with(command: &mut Command, data: &Path) -> Self {
        let mut launcher = Self::spawn(command, data);
        launcher.wait_until_up();
        launcher
    }

    /// Starts the launcher, and waits for nothing.
    pub(crate) fn spawn(command: &mut Command, data: &Path) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the launcher");
        let printed = Printed::default();
        printed.follow(child.stdout.take().expect("piped"));
        printed.follow(child.stderr.take().expect("piped"));
        Self { child, data: data.to_owned(), url: String::new(), printed }
    }

    /// Waits until it says that it is up.
    pub(crate) fn wait_until_up(&mut self) {
        let is_it = |line: &str| line.contains("  studio  ");
        let line = self.printed.wait_for("the studio's address", is_it, 1);
        let (_, url) = line.rsplit_once(' ').expect("an address at the line's end");
        url.trim_end_matches("/studio").clone_into(&mut self.url);
    }

    /// Gives the id of a child that runs now.
    pub(crate) fn pid_of(&self, name: &str) -> Pid {
        pid_of(&self.data, name)
    }

    /// Kills a child at once, and waits until the launcher has started it again.
    pub(crate) fn kill_child(&self, name: &str) {
        let before = self.printed.count(|line| again(line, name));
        kill(self.pid_of(name), Signal::SIGKILL).expect("kill a child");
        self.printed.wait_for("it is started again", |line| again(line, name), before + 1);
    }

    /// Waits until a line was printed this many times.
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        self.printed.wait_for(text, |line| line.contains(text), times);
    }

    /// Asks it to stop, and waits for nothing.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGINT);
        self.wait_for_silence();
        self.child.wait().expect("collect the launcher")
    }

    /// Kills it at once, without any chance to stop its children.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("collect the launcher");
    }

    /// Waits until nobody is left who could print: neither it nor a child.
    pub(crate) fn wait_for_silence(&self) {
        self.printed.wait_for_end();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(pid, signal).expect("signal the launcher");
    }

    /// Gives the socket of its private Redis.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("redis.sock")
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // The second one hurries; by then the first may have done it.
            self.signal(Signal::SIGTERM);
            self.signal(Signal::SIGTERM);
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- the launcher printed:\n{}", self.printed.all());
        }
    }
}

fn again(line: &str, name: &str) -> bool {
    line.contains(&format!("{name} is started again as process"))
}

/// Reads the id of a child from a data directory.
pub(crate) fn pid_of(data: &Path, name: &str) -> Pid {
    let file = data.join("run").join(format!("{name}.pid"));
    let text = std::fs::read_to_string(file).expect("read a pid file");
    Pid::from_raw(text.trim().parse().expect("a process id"))
}

/// Tells whether a process runs; one that has ended and is not collected yet does not.
pub(crate) fn runs(pid: Pid) -> bool {
    if !cfg!(target_os = "linux") {
        return kill(pid, None).is_ok();
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some(Some('Z' | 'X')))
}

/// Lines as they come in.
#[derive(Clone, Default)]
struct Printed {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    open_pipes: usize,
}

impl Printed {
    fn follow(&self, pipe: impl Read + Send + 'static) {
        self.shared.0.lock().expect("not poisoned").open_pipes += 1;
        let shared = self.shared.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                shared.0.lock().expect("not poisoned").lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().expect("not poisoned").open_pipes -= 1;
            shared.1.notify_all();
        });
    }

    fn count(&self, is_it: impl Fn(&str) -> bool) -> usize {
        let lines = self.shared.0.lock().expect("not poisoned");
        lines.lines.iter().filter(|line| is_it(line)).count()
    }

    fn wait_for(&self, what: &str, is_it: impl Fn(&str) -> bool, times: usize) -> String {
        let found = self.wait_until(|lines| {
            let nth = lines.lines.iter().filter(|line| is_it(line)).nth(times - 1);
            match nth {
                None if lines.open_pipes == 0 => Some(None),
                None => None,
                found => Some(found.cloned()),
            }
        });
        found
            .flatten()
            .unwrap_or_else(|| panic!("waited in vain for {what}; it printed:\n{}", self.all()))
    }

    fn wait_for_end(&self) {
        let ended = self.wait_until(|lines| (lines.open_pipes == 0).then_some(()));
        assert!(ended.is_some(), "it does not end; it printed:\n{}", self.all());
    }

    fn wait_until<T>(&self, look: impl Fn(&Lines) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + DEADLINE;
        let mut lines = self.shared.0.lock().expect("not poisoned");
        loop {
            if let Some(found) = look(&lines) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.shared.1.wait_timeout(lines, left).expect("not poisoned").0;
        }
    }

    fn all(&self) -> String {
        self.shared.0.lock().expect("not poisoned").lines.join("\n")
    }
}
