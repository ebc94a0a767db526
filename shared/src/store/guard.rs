//! What all workers know of each provider: one state per provider, changed one step at a time.
//!
//! The steps are pure functions of `domain::guard`; here one is applied to what Redis holds, and
//! written only if nobody else has written meanwhile (`lua/guard_swap.lua`), else it is taken again
//! from what is there now. So the machines exist once, in Rust, and workers that step at the same
//! moment agree all the same. Redis' clock is the only one.
//! All guards are in the first cell, whatever cells the jobs are in: a provider's budget is one.

use std::time::Duration;

use super::codec::GuardReply;
use super::{Store, StoreError};
use crate::domain::{Cell, GuardState};

/// How long a guard is remembered after its last change.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Steps that one call tries while others are quicker. Each time somebody has succeeded, so only a
/// crowd can use them up.
const TRIES_MAX: u32 = 100;
/// Longest pause between two tries; drawn, and longer with each, so that a crowd spreads.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// A step that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped<T> {
    /// What the step gave.
    pub answer: T,
    /// What it found.
    pub before: GuardState,
    /// What it left.
    pub after: GuardState,
}

impl Store {
    /// Reads what is known of a provider, and the moment (epoch ms).
    ///
    /// Errors: [`StoreError::Garbled`] for a state of another version; an operator may delete it.
    pub async fn guard(&self, provider: &str) -> Result<(GuardState, u64), StoreError> {
        let (now, _, state) = self.load_guard(provider).await?;
        Ok((state, now))
    }

    /// Takes one step of a provider's guard; what it leaves unchanged is not written.
    ///
    /// The step may be called several times, each time on what is there then, and once more after it
    /// was written if that answer was lost: taken twice it must do the same as once.
    /// Errors: as for [`Store::guard`]; after [`StoreError::Unavailable`] it may have happened.
    pub async fn step_guard<T>(
        &self,
        provider: &str,
        step: impl Fn(&mut GuardState, u64) -> T,
    ) -> Result<Stepped<T>, StoreError> {
        let (mut now, mut version, mut before) = self.load_guard(provider).await?;
        for tries in 1..=TRIES_MAX {
            let mut after = before.clone();
            let answer = step(&mut after, now);
            if after == before {
                return Ok(Stepped { answer, before, after });
            }
            match self.swap_guard(provider, version, &after).await? {
                GuardReply::Swapped => return Ok(Stepped { answer, before, after }),
                GuardReply::Found { now: later, version: newer, state } => {
                    (now, version, before) = (later, newer, read(&state)?);
                }
            }
            let pause = Duration::from_millis(tries.into()).min(PAUSE_MAX);
            tokio::time::sleep(pause.mul_f64(rand::random())).await;
        }
        let crowd = format!("others were quicker {TRIES_MAX} times to change guard:{provider}");
        Err(StoreError::Unavailable(crowd.into()))
    }

    async fn load_guard(&self, provider: &str) -> Result<(u64, u64, GuardState), StoreError> {
        let script = &self.shared.scripts.guard_load;
        match GuardReply::parse(self.run(script, Cell::FIRST, &[provider]).await?)? {
            GuardReply::Found { now, version, state } => Ok((now, version, read(&state)?)),
            GuardReply::Swapped => Err(StoreError::Garbled("a load that swapped".into())),
        }
    }

    async fn swap_guard(
        &self,
        provider: &str,
        version: u64,
        state: &GuardState,
    ) -> Result<GuardReply, StoreError> {
        let text = serde_json::to_string(state)
            .map_err(|error| StoreError::Garbled(format!("a guard that is no JSON: {error}")))?;
        let numbers = [
            version,
            LIFETIME.as_millis() as u64,
            state.budget.tokens.into(),
            state.throttle.until,
            state.running.len() as u64,
        ];
        let [version, lifetime_ms, tokens, until, running] = numbers.map(|n| n.to_string());
        let arguments = [
            provider,
            &version,
            &lifetime_ms,
            &text,
            "breaker",
            state.breaker.phase.as_str(),
            "reason",
            &state.breaker.reason,
            "tokens",
            &tokens,
            "throttled_until",
            &until,
            "running",
            &running,
        ];
        let script = &self.shared.scripts.guard_swap;
        GuardReply::parse(self.run(script, Cell::FIRST, &arguments).await?)
    }
}

/// Reads a state; an empty text is one of which nothing is known.
fn read(state: &str) -> Result<GuardState, StoreError> {
    if state.is_empty() {
        return Ok(GuardState::default());
    }
    serde_json::from_str(state).map_err(|error| StoreError::Garbled(format!("a guard: {error}")))
}
