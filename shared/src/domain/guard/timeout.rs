//! How long a call may take: what recent calls took, and some more, within bounds.

use std::time::Duration;

use super::options::TimeoutOptions;
use super::window::Window;

/// Gives the time of the next call; the ceiling while nothing is known.
pub(super) fn timeout(options: &TimeoutOptions, window: &Window) -> Duration {
    match window.p95() {
        Some(p95) => (p95 + options.margin).clamp(options.floor, options.ceiling),
        None => options.ceiling,
    }
}
