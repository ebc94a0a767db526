//! The token bucket: how many calls may be made in a time.
//!
//! Tokens come whole, at the end of each interval; the bucket is filled when it is looked at. In any
//! time no more calls are made than a full bucket and one per interval, and one more that was
//! granted before, not made, and given back.

use serde::{Deserialize, Serialize};

use super::ms;
use super::options::BudgetOptions;

/// A provider's tokens. The empty one of the beginning is full at the first look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bucket {
    /// Tokens at `refilled_at`.
    pub tokens: u32,
    /// Up to when tokens have come, in epoch ms.
    pub refilled_at: u64,
}

impl Bucket {
    /// Starts a new interval where a clock that went back has left the last one too far away.
    pub(super) fn heal(&mut self, now: u64) {
        self.refilled_at = self.refilled_at.min(now);
    }

    /// Lets the tokens come that are due.
    pub(super) fn refill(&mut self, options: &BudgetOptions, now: u64) {
        let from = self.refilled_at;
        let due = now.saturating_sub(from) / ms(options.every);
        let tokens = due.saturating_add(self.tokens.into()).min(options.capacity.into());
        self.tokens = tokens as u32;
        self.refilled_at =
            if self.tokens == options.capacity { now } else { from + due * ms(options.every) };
    }

    /// Gives the time to the next token of a bucket refilled `now`; `None` if there is one.
    pub(super) fn wait_ms(&self, options: &BudgetOptions, now: u64) -> Option<u64> {
        (self.tokens == 0).then(|| self.refilled_at + ms(options.every) - now)
    }

    /// Takes a token of a bucket that has one.
    pub(super) fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(1);
    }

    /// Puts back a token that was taken at `taken_at` and not used, unless another has come since:
    /// or tokens that wait with their takers would pile up beyond the rate.
    pub(super) fn put_back(&mut self, options: &BudgetOptions, taken_at: u64, now: u64) {
        self.refill(options, now);
        if now.saturating_sub(taken_at) < ms(options.every) {
            self.tokens = (self.tokens + 1).min(options.capacity);
        }
    }
}
