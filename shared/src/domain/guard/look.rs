//! How a guard stands at a moment, for those who watch and decide nothing.

use std::time::Duration;

use super::tally::Recent;
use super::{GuardOptions, GuardState, Phase, Refused, Tally, timeout};

/// A guard as it stands at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// What the breaker does.
    pub phase: Phase,
    /// For how long the breaker has not been closed; `None` while it is.
    pub open_for: Option<Duration>,
    /// Time for which it was not closed, all in all.
    pub open_total: Duration,
    /// Time to the next probe; `None` while it is closed.
    pub probe_in: Option<Duration>,
    /// Weighted share of failures in the window, from 0 to 1.
    pub failure_rate: f64,
    /// How long calls take in 95 of 100 cases; `None` if none is known.
    pub p95: Option<Duration>,
    /// How long the next call may take.
    pub timeout: Duration,
    /// Calls that the budget has left; `None` without a budget.
    pub tokens: Option<u32>,
    /// For how long it asked for a slower pace; `None` if it does not.
    pub throttled_for: Option<Duration>,
    /// Permits that are held: calls that run, and workers that wait for a job.
    pub permits: usize,
    /// Why and for how long jobs are refused; `None` if they are not.
    pub closed: Option<Refused>,
    /// Calls and timeouts of the last quarter of an hour.
    pub recent: Recent,
    /// All that was counted.
    pub tally: Tally,
}

impl GuardState {
    /// Looks at it as it stands at a moment, and changes nothing.
    pub fn look(&self, options: &GuardOptions, now: u64) -> Look {
        let state = self.at(options, now);
        let (breaker, tally) = (&state.breaker, &state.tally);
        let is_open = breaker.phase != Phase::Closed;
        let since = |at: u64| Duration::from_millis(now.saturating_sub(at));
        let until = |at: u64| Duration::from_millis(at.saturating_sub(now));
        Look {
            phase: breaker.phase,
            open_for: is_open.then(|| since(tally.opened_at)),
            open_total: Duration::from_millis(tally.open_ms(now)),
            probe_in: is_open.then(|| until(breaker.probe_at)),
            failure_rate: state.window.failure_rate(&options.breaker.weights),
            p95: state.window.p95(),
            timeout: timeout::timeout(&options.timeout, &state.window),
            tokens: options.budget.as_ref().map(|_| state.budget.tokens),
            throttled_for: state.throttle.wait_ms(now).map(Duration::from_millis),
            permits: state.running.len(),
            closed: self.closed(options, now),
            recent: tally.recent(now),
            tally: state.tally,
        }
    }
}
