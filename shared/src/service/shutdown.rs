//! Stopping in two stages: drain, then stop.
//!
//! The first SIGTERM or SIGINT asks for a drain: take nothing new, finish what runs within a grace.
//! The second, or the grace's end, stops. Both are tokens handed down from `main`; nothing global.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Take nothing new.
    pub drain: CancellationToken,
    /// Stop now.
    pub stop: CancellationToken,
}

impl Shutdown {
    /// Makes a pair that nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ties the stages to SIGTERM and SIGINT: the first drains, the second stops.
    ///
    /// Errors: the process may not install signal handlers.
    pub fn on_signals(&self) -> std::io::Result<tokio::task::JoinHandle<()>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stages = [self.drain.clone(), self.stop.clone()];
        Ok(tokio::spawn(async move {
            for stage in stages {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                stage.cancel();
            }
        }))
    }
}
