//! What runs beside the jobs: one file per role, each with `tick` (one pass) and `run`.

// Says that this worker lives and how many slots it has.
pub mod heart;
// Has broken things mended.
pub mod sweeper;
// Copies frames for jobs whose helper has died.
pub mod copier;
// Finds out whether a provider that is closed off is well again.
pub mod prober;
// Removes frames whose jobs are gone.
pub mod janitor;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Calls `tick` at every interval until `stop`, and logs the first of a row of failures.
async fn every<E: Into<anyhow::Error>, F: Future<Output = Result<(), E>>>(
    interval: Duration,
    stop: CancellationToken,
    role: &str,
    mut tick: impl FnMut() -> F,
) {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        match tick().await {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let error: anyhow::Error = error.into();
                    tracing::warn!("{role} will try again: failed to {error:#}");
                }
            }
        }
    }
}
