//! What has been counted of a provider since it was first called: for metrics, alerts and operators.
//!
//! Nothing is decided by it. It is kept with the guard's state and not in a process, because workers
//! come and go: a sum over what each of them has counted would fall at every restart, and an alert
//! on "open for more than two minutes in a day" would never be sure.
//! Outcomes that say nothing (cancelled, drained) are not counted.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::super::failure::FailureKind;
use super::Phase;

/// How far back [`Tally::recent`] looks.
pub const RECENT_MINUTES: u64 = 15;
const MINUTE_MS: u64 = 60_000;

/// Calls by what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "success, and the failures of those names in FailureKind")]
pub struct Calls {
    pub success: u64,
    pub timeout: u64,
    pub quota: u64,
    pub server: u64,
    pub client: u64,
    pub unknown: u64,
    pub ours: u64,
}

impl Calls {
    fn of(&mut self, failed: Option<FailureKind>) -> &mut u64 {
        match failed {
            None => &mut self.success,
            Some(FailureKind::Timeout) => &mut self.timeout,
            Some(FailureKind::Quota) => &mut self.quota,
            Some(FailureKind::Server) => &mut self.server,
            Some(FailureKind::Client) => &mut self.client,
            Some(FailureKind::Unknown) => &mut self.unknown,
            Some(FailureKind::Ours) => &mut self.ours,
        }
    }

    /// Lists the counts with the words used in logs and metrics.
    pub fn each(&self) -> [(&'static str, u64); 7] {
        [
            (outcome_word(None), self.success),
            (outcome_word(Some(FailureKind::Timeout)), self.timeout),
            (outcome_word(Some(FailureKind::Quota)), self.quota),
            (outcome_word(Some(FailureKind::Server)), self.server),
            (outcome_word(Some(FailureKind::Client)), self.client),
            (outcome_word(Some(FailureKind::Unknown)), self.unknown),
            (outcome_word(Some(FailureKind::Ours)), self.ours),
        ]
    }
}

/// Gives the word for what came of a call: how it failed, or `success`.
pub fn outcome_word(failed: Option<FailureKind>) -> &'static str {
    failed.map_or("success", FailureKind::as_str)
}

/// The calls of one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Minute {
    /// Which, counted from 1970.
    at: u64,
    calls: u32,
    timeouts: u32,
}

/// The calls of the last quarter of an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    /// All of them.
    pub calls: u64,
    /// Those that took too long.
    pub timeouts: u64,
}

/// What has been counted of a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Calls for jobs.
    pub calls: Calls,
    /// Probes that found it well.
    pub probes_succeeded: u64,
    /// Probes that did not.
    pub probes_failed: u64,
    /// Time for which the breaker was not closed, but for the time since `opened_at`.
    pub open_ms: u64,
    /// Since when the breaker is not closed, in epoch ms; 0 while it is.
    pub opened_at: u64,
    /// The newest minutes with calls, oldest first.
    minutes: VecDeque<Minute>,
}

impl Tally {
    /// Counts a job's call.
    pub(super) fn call(&mut self, failed: Option<FailureKind>, now: u64) {
        *self.calls.of(failed) += 1;
        let at = now / MINUTE_MS;
        // A clock that went back takes the minutes of its future with it.
        self.minutes.retain(|minute| minute.at <= at && minute.at + RECENT_MINUTES > at);
        if self.minutes.back().is_none_or(|minute| minute.at != at) {
            self.minutes.push_back(Minute { at, calls: 0, timeouts: 0 });
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.calls += 1;
            minute.timeouts += u32::from(failed == Some(FailureKind::Timeout));
        }
    }

    /// Counts a probe.
    pub(super) fn probe(&mut self, failed: Option<FailureKind>) {
        match failed {
            None => self.probes_succeeded += 1,
            Some(_) => self.probes_failed += 1,
        }
    }

    /// Notes what the breaker did in a step.
    pub(super) fn moved(&mut self, before: Phase, after: Phase, now: u64) {
        match (before == Phase::Closed, after == Phase::Closed) {
            (true, false) => self.opened_at = now,
            (false, true) => {
                self.open_ms += self.open_for_ms(now);
                self.opened_at = 0;
            }
            _ => {}
        }
    }

    /// Gives the time for which the breaker was not closed, up to `now`.
    pub fn open_ms(&self, now: u64) -> u64 {
        self.open_ms + self.open_for_ms(now)
    }

    fn open_for_ms(&self, now: u64) -> u64 {
        if self.opened_at == 0 { 0 } else { now.saturating_sub(self.opened_at) }
    }

    /// Sums up the newest [`RECENT_MINUTES`], the one that runs included.
    pub fn recent(&self, now: u64) -> Recent {
        let at = now / MINUTE_MS;
        let its = self.minutes.iter().filter(|minute| minute.at + RECENT_MINUTES > at);
        its.fold(Recent::default(), |sum, minute| Recent {
            calls: sum.calls + u64::from(minute.calls),
            timeouts: sum.timeouts + u64::from(minute.timeouts),
        })
    }

    /// Pulls back a moment that a clock which went back has left in its future.
    pub(super) fn heal(&mut self, now: u64) {
        self.opened_at = self.opened_at.min(now);
    }
}
