//! The guard of one provider: who may call it, when, for how long, and what is learnt from it.
//!
//! Five small machines and a tally, each in its file, and here what they do together. A worker **acquires** a
//! permit before it pops a job, and either **settles** it with the call's outcome or **gives it
//! back** because nothing was popped. Comes in: the state, the options, the moment. Goes out: the
//! next state. Nothing here keeps time, draws lots or speaks Redis; `store::guard` keeps one state
//! per provider, so that all workers share its rest, its budget and its limit.
//! Invariants: never more permits than the limit; never more tokens than the rate allows; an open
//! breaker grants nothing but probes, one at a time; a refusal changes nothing; settling or giving
//! back twice is doing it once, because the holder is gone after the first.
//! Moments are epoch milliseconds by one clock. It may jump: forward ends waits early; back makes no
//! wait longer than it could have been when it began, because moments too far away are pulled back,
//! and kept so even by a refusal (else they would flee before a clock that goes on).

// Every number, with its default and its reason.
pub mod options;
// The newest outcomes.
pub mod window;
// How long a call may take.
mod timeout;
// Gives a failing provider a rest.
pub mod breaker;
// How many calls may be made in a time.
pub mod budget;
// The moment before which nothing is asked.
pub mod throttle;
// How many calls run at the same time, and whose they are.
pub mod concurrency;
// What has been counted of it; decides nothing.
pub mod tally;
// How it stands, for those who watch.
pub mod look;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureKind};
pub use breaker::{Breaker, Phase};
pub use budget::Bucket;
pub use concurrency::Running;
pub use look::Look;
pub use options::GuardOptions;
pub use tally::Tally;
pub use throttle::Throttle;
pub use window::Window;

/// What a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A user's job.
    Job,
    /// Finding out whether the provider is well again.
    Probe,
}

/// Leave to make one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// How long the call may take.
    pub timeout: Duration,
    /// Tokens there were, this one included; `None` without a budget.
    pub budget_before: Option<u32>,
    /// Whether it is the last there is: another would be refused now.
    pub last: bool,
}

/// Why there is no leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The provider rests, or there is nothing to probe.
    Breaker,
    /// It asked for a slower pace.
    Throttle,
    /// The budget is spent.
    Budget,
    /// As many calls run as may.
    Busy,
}

/// No leave, and when it may be worth asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What stands against it longest.
    pub reason: Reason,
    /// Time until that is over, if nothing happens before.
    pub wait: Duration,
}

/// What a call said about its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It made what was asked.
    Success {
        /// How long it took.
        took: Duration,
    },
    /// It did not.
    Failed {
        /// Why.
        failure: Failure,
        /// How long that took.
        took: Duration,
    },
    /// Nothing: the user cancelled, the worker drained, the lease was lost.
    Unsaid,
}

/// All that is known of one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardState {
    /// Whether it rests.
    pub breaker: Breaker,
    /// The newest outcomes.
    pub window: Window,
    /// Tokens.
    pub budget: Bucket,
    /// A slower pace.
    pub throttle: Throttle,
    /// Permits that are held.
    pub running: Running,
    /// What has been counted.
    pub tally: Tally,
}

impl GuardState {
    /// Grants a permit to a new holder, or says why not; a refusal changes nothing, unless the clock
    /// has gone back.
    ///
    /// Asked again with the same holder, it grants the same.
    pub fn acquire(
        &mut self,
        options: &GuardOptions,
        holder: &str,
        purpose: Purpose,
        now: u64,
    ) -> Result<Granted, Refused> {
        self.heal(options, now);
        let mut next = self.at(options, now);
        let timeout = timeout::timeout(&options.timeout, &next.window);
        if next.running.has(holder) {
            return Ok(next.granted(options, timeout));
        }
        if let Some(refused) = next.refusal(options, purpose, now) {
            return Err(refused);
        }
        let second_probe = purpose == Purpose::Probe && next.running.has_probe();
        if second_probe || next.running.len() >= options.concurrency as usize {
            let wait = Duration::from_millis(next.running.wait_ms(now));
            return Err(Refused { reason: Reason::Busy, wait });
        }
        if purpose == Purpose::Probe {
            next.breaker.probing(&options.breaker, now);
        }
        if options.budget.is_some() {
            next.budget.take();
        }
        next.running.enter(holder, purpose, timeout + options::PERMIT_SLACK, now);
        *self = next;
        Ok(self.granted(options, timeout))
    }

    /// Describes what was granted just now.
    fn granted(&self, options: &GuardOptions, timeout: Duration) -> Granted {
        let left = options.budget.as_ref().map(|_| self.budget.tokens);
        let full = self.running.len() >= options.concurrency as usize;
        Granted { timeout, budget_before: left.map(|left| left + 1), last: full || left == Some(0) }
    }

    /// Ends a permit under which a call was made, and learns from it.
    pub fn settle(&mut self, options: &GuardOptions, holder: &str, outcome: &Outcome, now: u64) {
        let Some(held) = self.running.leave(holder) else {
            return;
        };
        *self = self.at(options, now);
        let (failure, took) = match outcome {
            Outcome::Success { took } => (None, *took),
            Outcome::Failed { failure, took } => (Some(failure), *took),
            Outcome::Unsaid => return,
        };
        match failure {
            None => self.throttle.calm(),
            Some(Failure { kind, retry_after, .. }) => {
                if *kind == FailureKind::Quota || retry_after.is_some() {
                    self.throttle.slow_down(&options.throttle, *retry_after, now);
                }
            }
        }
        let rules = &options.breaker;
        let kind = failure.map(|failure| failure.kind);
        let phase = self.breaker.phase;
        match held.purpose {
            Purpose::Job => {
                self.tally.call(kind, now);
                if kind.is_none_or(|kind| rules.weights.of(kind) > 0.0) {
                    self.window.push(rules, kind, took);
                }
                self.breaker.job_ended(rules, failure, &self.window, now);
            }
            Purpose::Probe => {
                self.tally.probe(kind);
                if self.breaker.probe_ended(rules, failure, now) {
                    self.window.clear();
                }
            }
        }
        self.tally.moved(phase, self.breaker.phase, now);
    }

    /// Ends a permit under which no call was made; its token comes back.
    pub fn give_back(&mut self, options: &GuardOptions, holder: &str, now: u64) {
        let Some(held) = self.running.leave(holder) else {
            return;
        };
        *self = self.at(options, now);
        if let Some(budget) = &options.budget {
            self.budget.put_back(budget, held.since, now);
        }
    }

    /// Says why and for how long jobs are refused; `None` if they are not. That as many calls run as
    /// may is no refusal here: those end.
    pub fn closed(&self, options: &GuardOptions, now: u64) -> Option<Refused> {
        self.at(options, now).refusal(options, Purpose::Job, now)
    }

    /// Pulls back moments that a clock which went back has left too far away.
    fn heal(&mut self, options: &GuardOptions, now: u64) {
        self.breaker.heal(&options.breaker, now);
        self.budget.heal(now);
        self.throttle.heal(&options.throttle, now);
        self.running.heal(options.permit_max(), now);
        // One that was written before there was a tally.
        if self.breaker.phase != Phase::Closed && self.tally.opened_at == 0 {
            self.tally.opened_at = self.breaker.since;
        }
        self.tally.heal(now);
    }

    /// Gives this state as it is `now`: healed, the dead swept, the bucket filled.
    fn at(&self, options: &GuardOptions, now: u64) -> Self {
        let mut state = self.clone();
        state.heal(options, now);
        state.running.sweep(now);
        if let Some(budget) = &options.budget {
            state.budget.refill(budget, now);
        }
        state
    }

    /// Says what stands longest against a call, other calls apart.
    fn refusal(&self, options: &GuardOptions, purpose: Purpose, now: u64) -> Option<Refused> {
        let budget = options.budget.as_ref();
        let waits = [
            (Reason::Breaker, self.breaker.wait_ms(&options.breaker, purpose, now)),
            (Reason::Throttle, self.throttle.wait_ms(now)),
            (Reason::Budget, budget.and_then(|budget| self.budget.wait_ms(budget, now))),
        ];
        let refused = waits.into_iter().filter_map(|(reason, wait_ms)| Some((reason, wait_ms?)));
        let (reason, wait_ms) = refused.max_by_key(|(_, wait_ms)| *wait_ms)?;
        Some(Refused { reason, wait: Duration::from_millis(wait_ms) })
    }
}

/// Gives a duration in the unit of moments.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
