//! Feels a gateway's pulse: when it was ready for requests, all through the run.
//!
//! So the report can say how long it took from a kill until users could order again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::storm::epoch_ms;

/// Time between two questions.
const EVERY: Duration = Duration::from_millis(50);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// One question, and its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    /// Epoch milliseconds.
    pub(super) asked_at: u64,
    pub(super) is_ready: bool,
}

/// Asks until told to stop; gives all of it in the order of time.
pub(super) async fn feel(gateway: String, stop: CancellationToken) -> Vec<Beat> {
    let mut beats = Vec::new();
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build() else {
        return beats;
    };
    let url = format!("{gateway}/readyz");
    while !stop.is_cancelled() {
        let asked_at = epoch_ms();
        let answer = http.get(&url).send().await;
        let is_ready = answer.is_ok_and(|answer| answer.status().is_success());
        beats.push(Beat { asked_at, is_ready });
        tokio::time::sleep(EVERY).await;
    }
    beats
}
