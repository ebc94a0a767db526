//! Named points at which a test may kill the process; nothing without the feature `failpoints`.
//!
//! `FRAMEWIRE_FAILPOINT=name` kills the process, as SIGKILL does, the first time it comes to that
//! point; `name:3` the third time. The crash suite names every point of [`POINTS`], so a point that
//! is never reached fails it. Programs that people run are built without the feature: there the
//! variable means nothing and the call is gone.

/// Every point, in the order in which a job meets them; each stands between two steps that are not
/// atomic together.
pub const POINTS: [&str; 12] = [
    "submit_before",
    "submit_after",
    "popped",
    "claim_before",
    "claim_after",
    "calling",
    "frame_stored",
    "frame_announced",
    "complete_before",
    "complete_after",
    "renewed",
    "draining",
];

/// Kills the process if a test has asked for it here.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static HITS: AtomicU32 = AtomicU32::new(0);
    debug_assert!(POINTS.contains(&name), "{name} is not in the list of points");
    let Ok(wanted) = std::env::var("FRAMEWIRE_FAILPOINT") else {
        return;
    };
    let (point, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if point == name && (HITS.fetch_add(1, Ordering::SeqCst) + 1).to_string() == nth {
        // SIGKILL can't be caught or refused: nothing of ours runs after this line.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &'static str) {}
