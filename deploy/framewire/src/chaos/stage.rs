//! Everybody on stage: Redis, workers and gateways as real processes that are hit and come back.
//!
//! Comes in: what the storm does to whom. Goes out: processes that run, and a note of each that
//! ended without our doing, or did not end well when it was asked to, which is a finding. Like the
//! children of `up` they go through the lifeline, so none outlives this process. Their logs are
//! files in the data directory.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::proxy::Link;
use crate::child::ending;
use crate::lifeline;

/// How long a process that died is left dead, unless the fault says longer.
const REVIVE: Duration = Duration::from_millis(50);

/// Longest time from SIGTERM to the end: a drain, a hand-back, and calls to a Redis that is away.
const DRAIN: Duration = Duration::from_secs(20);

/// Why an actor will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    /// It should not.
    #[default]
    None,
    Killed,
    /// It was asked to, and has until then.
    Asked(Instant),
}

/// One who plays.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(String, String)>,
    /// Its way to Redis; Redis itself has none.
    pub(super) link: Option<Link>,
    pub(super) log: PathBuf,
    child: Option<Child>,
    fate: Fate,
    start_at: Instant,
    resume_at: Option<Instant>,
    /// Where the log of its last start begins.
    log_from: u64,
    /// What it called itself when it was ready; none before.
    title: Option<String>,
}

impl Actor {
    /// Introduces one; it starts at the first [`Actor::tend`].
    pub(super) fn new(name: String, program: &Path, data: &Path) -> Self {
        Self {
            log: data.join(format!("{name}.log")),
            name,
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            link: None,
            child: None,
            fate: Fate::None,
            start_at: Instant::now(),
            resume_at: None,
            log_from: 0,
            title: None,
        }
    }

    /// Tells whether it runs and is not paused.
    pub(super) fn is_awake(&self) -> bool {
        self.child.is_some() && self.resume_at.is_none()
    }

    /// Kills it; it is started again after a moment, or after `down`. Says whether it lived.
    pub(super) fn kill(&mut self, down: Duration) -> bool {
        let Some(child) = self.child.as_mut().filter(|_| self.fate != Fate::Killed) else {
            return false;
        };
        self.fate = Fate::Killed;
        self.resume_at = None;
        self.start_at = Instant::now() + down.max(REVIVE);
        // It may have died by itself a moment ago; then `tend` finds it dead all the same.
        drop(child.start_kill());
        true
    }

    /// Asks it to finish and go (SIGTERM); it is started again when it has. Says whether it was
    /// there to be asked.
    pub(super) fn ask_to_leave(&mut self) -> bool {
        // Before it is ready it may not know the signal yet.
        if !self.is_awake() || self.fate != Fate::None || self.title().is_none() {
            return false;
        }
        self.fate = Fate::Asked(Instant::now() + DRAIN);
        self.signal(Signal::SIGTERM);
        true
    }

    /// Stops it in mid-step; it goes on after this long. Says whether it was there.
    pub(super) fn pause(&mut self, length: Duration) -> bool {
        let hits = self.is_awake() && self.fate != Fate::Killed;
        if hits {
            self.signal(Signal::SIGSTOP);
            self.resume_at = Some(Instant::now() + length);
        }
        hits
    }

    /// Lets it go on.
    pub(super) fn resume(&mut self) {
        if self.resume_at.take().is_some() {
            self.signal(Signal::SIGCONT);
        }
    }

    /// Starts it, or lets it go on, when it is time. Says so if it did not end as it should.
    pub(super) fn tend(&mut self) -> io::Result<Option<String>> {
        let now = Instant::now();
        if self.resume_at.is_some_and(|at| at <= now) {
            self.resume();
        }
        let mut news = None;
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            self.child = None;
            self.start_at = self.start_at.max(now);
            match std::mem::take(&mut self.fate) {
                Fate::Killed => {}
                Fate::Asked(_) if status.success() => {}
                Fate::Asked(_) => {
                    news = Some(format!("{} {} when asked to leave", self.name, ending(status)));
                }
                Fate::None => {
                    news = Some(format!("{} {}", self.name, ending(status)));
                    self.start_at = now + REVIVE;
                }
            }
        } else if let Fate::Asked(by) = self.fate
            && by < now
        {
            news = Some(format!("{} did not leave within {} s", self.name, DRAIN.as_secs()));
            self.kill(Duration::ZERO);
        }
        if self.child.is_none() && self.start_at <= now {
            self.log_from = self.log.metadata().map_or(0, |log| log.len());
            self.title = None;
            self.child = Some(self.spawn()?);
        }
        Ok(news)
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        Command::new(std::env::current_exe()?)
            .args(lifeline::arguments(Signal::SIGKILL))
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(File::try_clone(&log)?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn signal(&self, signal: Signal) {
        // Without an id it has been collected, and the number may be another's by now.
        let pid = self.child.as_ref().and_then(Child::id);
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Ends it for good.
    pub(super) async fn leave(mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill().await);
        }
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }

    /// Gives what it called itself when it was ready after its last start: a worker's id, a
    /// gateway's address.
    pub(super) fn title(&mut self) -> Option<String> {
        if self.title.is_none() {
            self.title = self.read_title();
        }
        self.title.clone()
    }

    fn read_title(&self) -> Option<String> {
        let mut log = String::new();
        let mut file = File::open(&self.log).ok()?;
        file.seek(SeekFrom::Start(self.log_from)).ok()?;
        file.read_to_string(&mut log).ok()?;
        log.lines().find_map(|line| {
            let worker =
                line.split_once("worker is ready").and_then(|it| it.1.split_once("worker="));
            let gateway = || line.split_once("listening on ");
            let (_, rest) = worker.or_else(gateway)?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) redis: Actor,
    pub(super) workers: Vec<Actor>,
    pub(super) gateways: Vec<Actor>,
    /// Who ended without our doing, and how.
    pub(super) crashes: Vec<String>,
}

impl Stage {
    /// Gives everybody.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Actor> {
        let others = self.workers.iter_mut().chain(&mut self.gateways);
        std::iter::once(&mut self.redis).chain(others)
    }

    /// Gives the way to Redis of a worker or, behind those, of a gateway.
    pub(super) fn link(&self, number: usize) -> Option<&Link> {
        let actor = self.workers.iter().chain(&self.gateways).nth(number)?;
        actor.link.as_ref()
    }

    /// Looks after everybody once.
    pub(super) fn tend(&mut self) -> io::Result<()> {
        let mut crashes = Vec::new();
        for actor in self.all() {
            crashes.extend(actor.tend()?);
        }
        self.crashes.extend(crashes);
        Ok(())
    }

    /// Ends everything.
    pub(super) async fn leave(self) {
        for actor in self.gateways.into_iter().chain(self.workers) {
            actor.leave().await;
        }
        self.redis.leave().await;
    }
}

/// Gives the processor time that this process and everybody who has left the stage took.
pub(super) fn processor_time() -> Duration {
    let whose = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    let used = whose.into_iter().filter_map(|who| getrusage(who).ok());
    let ms: i64 = used
        .map(|used| used.user_time().num_milliseconds() + used.system_time().num_milliseconds())
        .sum();
    Duration::from_millis(ms.unsigned_abs())
}
