//! A child that is kept running: started again when it dies, stopped when it is time.
//!
//! A member ends in one of two ways. It is asked to stop: SIGTERM, a grace to finish in, then
//! SIGTERM again, which the gateway and the workers take as "at once", then SIGKILL. Or it refuses:
//! its first process ends by itself with an error before it has done anything, like a gateway whose
//! port is taken; trying again would only repeat the message, so the launcher is told instead.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::child::{self, Nursery, Process, Program};
use crate::console::chain;

/// A first process that fails this early has refused to start, even if it seemed ready.
const REFUSAL_WITHIN: Duration = Duration::from_secs(3);
/// What is left after the second SIGTERM.
const HURRY_GRACE: Duration = Duration::from_secs(2);

/// A child that refuses to start.
#[derive(Debug, thiserror::Error)]
#[error("start {name}: it {ending}; its last line:\n  {last}")]
pub(crate) struct Refusal {
    name: String,
    ending: String,
    last: String,
    advice: Option<String>,
}

impl Refusal {
    /// Says what to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        self.advice.clone()
    }
}

/// How long a member may take to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grace {
    /// From the first SIGTERM on.
    pub(crate) finish: Duration,
    /// Whether a second Ctrl-C cuts it short; not for Redis, whose file must be whole.
    pub(crate) hurries: bool,
}

/// What a member needs to know of the rest.
#[derive(Debug, Clone)]
pub(crate) struct Bonds {
    pub(crate) nursery: Nursery,
    /// Set when everything was seen to run.
    pub(crate) ready: CancellationToken,
    /// Set by the second Ctrl-C.
    pub(crate) hurry: CancellationToken,
    /// Where a refusal is told.
    pub(crate) refusals: mpsc::Sender<Refusal>,
}

/// A child that is kept running.
#[derive(Debug)]
pub(crate) struct Member {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Member {
    /// Keeps a started process running.
    pub(crate) fn keep(process: Process, program: Program, grace: Grace, bonds: Bonds) -> Self {
        let stop = CancellationToken::new();
        let keeper = Keeper { program, grace, bonds, stop: stop.clone() };
        let task = tokio::spawn(keeper.run(process));
        Self { stop, task }
    }

    /// Asks it to stop; [`Member::stopped`] waits for it.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until its process is gone.
    pub(crate) async fn stopped(self) {
        // An error is a panic, which has been shown; its process was killed when it was dropped.
        drop(self.task.await);
    }
}

struct Keeper {
    program: Program,
    grace: Grace,
    bonds: Bonds,
    stop: CancellationToken,
}

impl Keeper {
    async fn run(mut self, first: Process) {
        let mut backoff = Backoff::default();
        let mut process = first;
        let mut is_first = true;
        loop {
            let status = tokio::select! {
                status = process.ended() => status,
                () = self.stop.cancelled() => return self.finish(process).await,
            };
            let Ok(status) = status else {
                return self.say("can't be watched any more, and is left to itself");
            };
            if is_first && self.is_refusal(&process, status) {
                return self.refuse(&process, status);
            }
            is_first = false;
            let died = format!("(process {}) {}", process.pid(), child::ending(status));
            match self.start_again(&mut backoff, &process, &died).await {
                Some(next) => process = next,
                None => return,
            }
        }
    }

    fn is_refusal(&self, process: &Process, status: ExitStatus) -> bool {
        let failed = status.code().is_some_and(|code| code != 0);
        failed && (!self.bonds.ready.is_cancelled() || process.age() < REFUSAL_WITHIN)
    }

    fn refuse(&self, process: &Process, status: ExitStatus) {
        let refusal = Refusal {
            name: self.program.name.clone(),
            ending: child::ending(status),
            last: process.heard().borrow().last.clone(),
            advice: self.program.advice.clone(),
        };
        // Full: another's refusal is already the reason why everything stops.
        drop(self.bonds.refusals.try_send(refusal));
    }

    /// Starts the program until a process stands; `None` if it is time to stop.
    async fn start_again(
        &mut self,
        backoff: &mut Backoff,
        dead: &Process,
        died: &str,
    ) -> Option<Process> {
        if let Some(address) = dead.heard().borrow().address.clone() {
            // Port 0 took a free one, which users know by now.
            let listen = ("FRAMEWIRE_GATEWAY_LISTEN".to_owned(), address);
            self.program.environment.push(listen);
        }
        let mut lived = dead.age();
        let mut news = died.to_owned();
        loop {
            let wait = backoff.after(lived);
            let when = if wait.is_zero() { "now".into() } else { format!("in {wait:?}") };
            self.say(&format!("{news}; it is started again {when}"));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return None,
            }
            match self.bonds.nursery.start(&self.program) {
                Ok(process) => {
                    self.say(&format!("is started again as process {}", process.pid()));
                    return Some(process);
                }
                Err(error) => {
                    news = format!("failed to {}", chain(&error));
                    lived = Duration::ZERO;
                }
            }
        }
    }

    async fn finish(&self, mut process: Process) {
        process.signal(Signal::SIGTERM);
        tokio::select! {
            _ = process.ended() => return,
            () = tokio::time::sleep(self.grace.finish) => {}
            () = self.bonds.hurry.cancelled(), if self.grace.hurries => {}
        }
        process.signal(Signal::SIGTERM);
        if tokio::time::timeout(HURRY_GRACE, process.ended()).await.is_ok() {
            return;
        }
        self.say(&format!("(process {}) does not stop and is killed", process.pid()));
        process.signal(Signal::SIGKILL);
        drop(process.ended().await);
    }

    fn say(&self, text: &str) {
        let name = &self.program.name;
        self.bonds.nursery.console.say(&format!("{name} {text}"));
    }
}
