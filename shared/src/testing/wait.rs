//! Waiting for a condition, with an end.

use std::time::{Duration, Instant};

/// Longest wait for anything in a test.
const LIMIT: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` gives something; panics with `what` when it never does.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}");
    }
}

/// Waits as [`until`] does, in a test's set-up, where nothing else runs.
pub fn until_blocking<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}");
        std::thread::sleep(LOOK);
    }
}
