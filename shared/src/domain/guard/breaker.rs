//! The breaker: gives a failing provider a rest, and finds out by probes when it is well again.
//!
//! ```text
//!            rate, timeouts in a row, credentials, bill
//!   closed ────────────────────────────────────────────▶ open
//!      ▲                                                │   ▲
//!      │ enough probes succeeded    rest over, a probe  ▼   │ a probe failed
//!      └──────────────────────────────────────────── half-open
//! ```
//! Only probes decide about an open one: calls that were under way when it opened say how the
//! provider was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::failure::{ErrorCode, Failure, FailureKind, Resend};
use super::options::BreakerOptions;
use super::window::Window;
use super::{Purpose, ms};

/// Longest reason kept.
const REASON_CHARS_MAX: usize = 200;

/// What a breaker does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Lets through.
    #[default]
    Closed,
    /// Refuses.
    Open,
    /// Lets probes through.
    HalfOpen,
}

impl Phase {
    /// Gives the word used in Redis, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// One provider's breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breaker {
    /// What it does.
    pub phase: Phase,
    /// Since when, in epoch ms.
    pub since: u64,
    /// Why it opened, for the operator; empty when it is closed.
    pub reason: String,
    /// No probe before, in epoch ms.
    pub probe_at: u64,
    /// Successful probes since it opened.
    pub successes: u32,
    /// Timeouts since the last other answer.
    pub timeouts_in_row: u32,
}

impl Breaker {
    /// Gives how long it refuses a call; `None` if it does not.
    ///
    /// For jobs it is the time until the last of the probes that are needed, if all succeed.
    pub(super) fn wait_ms(
        &self,
        options: &BreakerOptions,
        purpose: Purpose,
        now: u64,
    ) -> Option<u64> {
        let to_probe_ms = self.probe_at.saturating_sub(now);
        let more = options.successes.saturating_sub(self.successes + 1);
        match (purpose, self.phase) {
            (Purpose::Job, Phase::Closed) => None,
            (Purpose::Job, _) if !options.enabled => None,
            (Purpose::Job, _) => {
                Some((to_probe_ms + u64::from(more) * ms(options.probe_every)).max(1))
            }
            // There is nothing to find out.
            (Purpose::Probe, Phase::Closed) => Some(ms(options.probe_every)),
            (Purpose::Probe, _) => Some(to_probe_ms).filter(|left| *left > 0),
        }
    }

    /// Notes that a probe starts; none follows before its time.
    pub(super) fn probing(&mut self, options: &BreakerOptions, now: u64) {
        if self.phase == Phase::Open {
            (self.phase, self.since, self.successes) = (Phase::HalfOpen, now, 0);
        }
        self.probe_at = now + ms(options.probe_every);
    }

    /// Judges a job's outcome, which is in the window already if it weighs anything.
    pub(super) fn job_ended(
        &mut self,
        options: &BreakerOptions,
        failure: Option<&Failure>,
        window: &Window,
        now: u64,
    ) {
        match failure.map(|failure| failure.kind) {
            Some(FailureKind::Timeout) => self.timeouts_in_row += 1,
            Some(kind) if options.weights.of(kind) == 0.0 => {}
            _ => self.timeouts_in_row = 0,
        }
        if self.phase != Phase::Closed {
            return;
        }
        let (attempts, rate) = (window.len(), window.failure_rate(&options.weights));
        if let Some((reason, rest)) = failure.and_then(|failure| needs_a_person(options, failure)) {
            self.open(reason, rest, now);
        } else if self.timeouts_in_row >= options.timeouts_in_row {
            let reason = format!("{} timeouts in a row", self.timeouts_in_row);
            self.open(reason, options.rest, now);
        } else if attempts >= options.attempts_min as usize && rate >= options.rate {
            let last =
                failure.map_or_else(String::new, |failure| format!("; last: {}", words(failure)));
            let reason = format!("failure rate {rate:.2} over {attempts} attempts{last}");
            self.open(reason, options.rest, now);
        }
    }

    /// Judges a probe's outcome; tells whether the breaker has closed.
    pub(super) fn probe_ended(
        &mut self,
        options: &BreakerOptions,
        failure: Option<&Failure>,
        now: u64,
    ) -> bool {
        if self.phase != Phase::HalfOpen {
            return false;
        }
        if let Some(failure) = failure {
            if let Some((reason, rest)) = needs_a_person(options, failure) {
                self.open(reason, rest, now);
                return false;
            }
            match failure.kind {
                // Well enough to refuse our picture: a probe that a provider does not like must not
                // keep it closed off for ever.
                FailureKind::Client => {}
                // The throttle makes the next probe wait.
                FailureKind::Quota | FailureKind::Ours => return false,
                FailureKind::Timeout | FailureKind::Server | FailureKind::Unknown => {
                    let reason = format!("a probe failed: {}", words(failure));
                    self.open(reason, options.rest, now);
                    return false;
                }
            }
        }
        self.successes += 1;
        let well = self.successes >= options.successes;
        if well {
            *self = Self { since: now, ..Self::default() };
        }
        well
    }

    fn open(&mut self, reason: String, rest: Duration, now: u64) {
        self.reason = reason.chars().take(REASON_CHARS_MAX).collect();
        (self.phase, self.since, self.successes) = (Phase::Open, now, 0);
        self.probe_at = now + ms(rest);
    }

    /// Pulls back moments that a clock which went back has left too far away.
    pub(super) fn heal(&mut self, options: &BreakerOptions, now: u64) {
        let longest = options.rest.max(options.rest_unpaid).max(options.probe_every);
        self.since = self.since.min(now);
        self.probe_at = self.probe_at.min(now + ms(longest));
    }
}

/// Tells why and for how long a provider is closed off at once: every further call would fail.
fn needs_a_person(options: &BreakerOptions, failure: &Failure) -> Option<(String, Duration)> {
    if failure.code == ErrorCode::AuthError {
        let reason = format!("it refuses our credentials: {}", words(failure));
        return Some((reason, options.rest));
    }
    let unpaid = failure.kind == FailureKind::Quota && failure.resend == Resend::Never;
    unpaid.then(|| (format!("its bill must be settled: {}", words(failure)), options.rest_unpaid))
}

/// Gives a failure in the operator's words.
fn words(failure: &Failure) -> String {
    let text = if failure.detail.is_empty() { &failure.message } else { &failure.detail };
    format!("{} {text}", failure.code.as_str())
}
