//! The moment before which a provider that asked for a slower pace is asked nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ms;
use super::options::ThrottleOptions;

/// Doublings of the first wait; the longest wait ends them sooner.
const DOUBLINGS_MAX: u32 = 16;

/// How a provider is throttled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throttle {
    /// Nothing is asked before, in epoch ms.
    pub until: u64,
    /// Times in a row that it asked for a slower pace.
    pub in_row: u32,
}

impl Throttle {
    /// Waits as the provider asks, or twice as long as the last time where it names no time.
    ///
    /// Calls that were under way together count once.
    pub(super) fn slow_down(
        &mut self,
        options: &ThrottleOptions,
        asked: Option<Duration>,
        now: u64,
    ) {
        if now >= self.until {
            self.in_row = self.in_row.saturating_add(1);
        }
        let doublings = self.in_row.saturating_sub(1).min(DOUBLINGS_MAX);
        let own = options.base.saturating_mul(1 << doublings);
        let wait = asked.filter(|asked| !asked.is_zero()).unwrap_or(own).min(options.max);
        self.until = self.until.max(now + ms(wait));
    }

    /// Forgets how often it was slowed down; it is quick enough again.
    pub(super) fn calm(&mut self) {
        self.in_row = 0;
    }

    /// Gives the time that is left.
    pub(super) fn wait_ms(&self, now: u64) -> Option<u64> {
        self.until.checked_sub(now).filter(|left| *left > 0)
    }

    /// Pulls back a moment that a clock which went back has left too far away.
    pub(super) fn heal(&mut self, options: &ThrottleOptions, now: u64) {
        self.until = self.until.min(now + ms(options.max));
    }
}
