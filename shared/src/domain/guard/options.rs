//! Every number of a guard, with its default and its reason.

use std::time::Duration;

use super::super::failure::FailureKind;

/// Added to a call's timeout for what surrounds the call: pop, claim, storing the frames. A permit
/// whose holder is not heard of for longer is nobody's any more.
pub const PERMIT_SLACK: Duration = Duration::from_secs(30);
/// Most outcomes that a window may hold: the state is read and written whole.
pub const WINDOW_MAX: usize = 200;
/// Most permits that a provider may give at the same time, for the same reason.
pub const CONCURRENCY_MAX: u32 = 200;

/// How one provider is guarded.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardOptions {
    /// How long a call may take.
    pub timeout: TimeoutOptions,
    /// When the provider is given a rest.
    pub breaker: BreakerOptions,
    /// How many calls may be made in a time; any number when `None`.
    pub budget: Option<BudgetOptions>,
    /// Calls that may run at the same time, by all workers together.
    pub concurrency: u32,
    /// How long we wait when it asks for a slower pace.
    pub throttle: ThrottleOptions,
}

impl GuardOptions {
    /// Guards a paid service: calls cost money, so they have a budget.
    pub fn paid() -> Self {
        Self { budget: Some(BudgetOptions::default()), concurrency: 4, ..Self::local() }
    }

    /// Guards a server of one's own with a single GPU: one call at a time, as many as there are.
    pub fn local() -> Self {
        Self {
            timeout: TimeoutOptions::default(),
            breaker: BreakerOptions::default(),
            budget: None,
            concurrency: 1,
            throttle: ThrottleOptions::default(),
        }
    }

    /// Refuses values that no guard can work with; the text names them.
    pub fn check(&self) -> Result<(), String> {
        let Self { timeout, breaker, budget, concurrency, throttle } = self;
        let weights = &breaker.weights;
        let weights =
            [weights.timeout, weights.server, weights.unknown, weights.quota, weights.client];
        let refuse = |wrong: bool, text: String| if wrong { Err(text) } else { Ok(()) };
        refuse(
            timeout.floor.is_zero() || timeout.floor > timeout.ceiling,
            format!("timeout from {:?} to {:?}", timeout.floor, timeout.ceiling),
        )?;
        refuse(
            !(1..=CONCURRENCY_MAX).contains(concurrency),
            format!("concurrency {concurrency}, must be 1 to {CONCURRENCY_MAX}"),
        )?;
        refuse(
            breaker.window > WINDOW_MAX || (breaker.attempts_min as usize) > breaker.window,
            format!(
                "breaker window {} with at least {} attempts; the window holds at most {WINDOW_MAX}",
                breaker.window, breaker.attempts_min,
            ),
        )?;
        refuse(
            !(breaker.rate > 0.0 && breaker.rate <= 1.0),
            format!("breaker rate {}, must be above 0 and at most 1", breaker.rate),
        )?;
        refuse(
            breaker.attempts_min == 0 || breaker.timeouts_in_row == 0 || breaker.successes == 0,
            "a breaker that counts to 0 attempts, timeouts or successes".into(),
        )?;
        refuse(
            breaker.rest.is_zero() || breaker.probe_every.is_zero(),
            "a breaker that rests or waits for its next probe for no time".into(),
        )?;
        refuse(
            weights.iter().any(|weight| !(0.0..=1.0).contains(weight)),
            format!("breaker weights {weights:?}, must be 0 to 1"),
        )?;
        refuse(
            throttle.base.is_zero() || throttle.base > throttle.max,
            format!("throttle from {:?} to {:?}", throttle.base, throttle.max),
        )?;
        match budget {
            Some(BudgetOptions { capacity, every }) => refuse(
                *capacity == 0 || every.as_millis() == 0,
                format!("a budget of {capacity} with one more every {every:?}"),
            ),
            None => Ok(()),
        }
    }

    /// Gives how long a permit may be held at most.
    pub(super) fn permit_max(&self) -> Duration {
        self.timeout.ceiling + PERMIT_SLACK
    }
}

/// A call may take the 95th percentile of the recent ones plus a margin, within bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeoutOptions {
    /// Never less: a few quick calls in a row are no reason to give up a normal one.
    pub floor: Duration,
    /// Never more, and what is given while nothing is known.
    pub ceiling: Duration,
    /// Added to the percentile.
    pub margin: Duration,
}

impl Default for TimeoutOptions {
    fn default() -> Self {
        Self {
            floor: Duration::from_secs(45),
            ceiling: Duration::from_secs(90),
            margin: Duration::from_secs(10),
        }
    }
}

/// When a provider is given a rest, and how it comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerOptions {
    /// Whether it refuses; it records in any case.
    pub enabled: bool,
    /// Outcomes that are remembered.
    pub window: usize,
    /// Weighted share of failures at which it opens.
    pub rate: f64,
    /// Outcomes below which a share says nothing.
    pub attempts_min: u32,
    /// Timeouts in a row at which it opens: each costs a user the longest wait there is.
    pub timeouts_in_row: u32,
    /// How long it stays open before the first probe.
    pub rest: Duration,
    /// The same where a person must act first: the bill is not paid.
    pub rest_unpaid: Duration,
    /// Time between two probes of a half-open one.
    pub probe_every: Duration,
    /// Successful probes that close it.
    pub successes: u32,
    /// How much a failure counts.
    pub weights: Weights,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            window: 30,
            rate: 0.5,
            attempts_min: 5,
            timeouts_in_row: 3,
            rest: Duration::from_secs(60),
            rest_unpaid: Duration::from_secs(600),
            probe_every: Duration::from_secs(60),
            successes: 3,
            weights: Weights::default(),
        }
    }
}

/// How much of a failure each kind is, from 0 (says nothing, is not remembered) to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// It took too long.
    pub timeout: f64,
    /// It is broken or can't be reached.
    pub server: f64,
    /// It answered something that nobody foresaw.
    pub unknown: f64,
    /// It asked for a slower pace: the throttle's business, so that this alone never opens.
    pub quota: f64,
    /// It refused a user's request: nothing, or one user could close it to all.
    pub client: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { timeout: 1.0, server: 1.0, unknown: 1.0, quota: 0.25, client: 0.0 }
    }
}

impl Weights {
    /// Gives the weight of a kind.
    pub fn of(&self, kind: FailureKind) -> f64 {
        match kind {
            FailureKind::Timeout => self.timeout,
            FailureKind::Server => self.server,
            FailureKind::Unknown => self.unknown,
            FailureKind::Quota => self.quota,
            FailureKind::Client => self.client,
            FailureKind::Ours => 0.0,
        }
    }
}

/// A token bucket: one call takes one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetOptions {
    /// Tokens of a full bucket, and what it begins with.
    pub capacity: u32,
    /// Time in which one token comes.
    pub every: Duration,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self { capacity: 5, every: Duration::from_secs(60) }
    }
}

/// How long nothing is asked of a provider that wants a slower pace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// The first wait where it names none; each in a row is twice the one before.
    pub base: Duration,
    /// Longest wait, whatever it names.
    pub max: Duration,
}

impl Default for ThrottleOptions {
    fn default() -> Self {
        Self { base: Duration::from_secs(5), max: Duration::from_secs(15 * 60) }
    }
}
