//! Leave to call one provider, as a value that can't be lost.
//!
//! Comes in: a poller with a free slot, before it pops; or the prober. Goes out: a [`Permit`], or the
//! time until asking again may help. What decides is pure (`shared::domain::guard`), what all workers
//! share is in Redis (`shared::store::guard`); here a permit is tied to a Rust value: settled with
//! the call's outcome, or given back when it is dropped before a call was made, or freed with
//! nothing learnt when it is dropped later. What Redis does not hear within a minute lapses there.
//! While Redis is away there are no permits: nothing could be popped either. A guard that can't be
//! read (another version wrote it) closes off its own provider and no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framewire_shared::domain::guard::{GuardState, Outcome, Phase, Purpose, Reason, Refused};
use framewire_shared::domain::{Failure, GuardOptions};
use framewire_shared::store::{Store, StoreError};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long a permit's end is told to a Redis that does not answer; then it lapses by itself.
const RETURN_MAX: Duration = Duration::from_secs(60);
/// Pause between two tries of that.
const RETURN_PAUSE: Duration = Duration::from_millis(500);

/// How long a provider whose guard can't be read is left alone before it is looked at again.
const UNREADABLE: Duration = Duration::from_secs(5);

/// Guards one provider in this process.
pub struct Guard {
    store: Store,
    provider: String,
    options: GuardOptions,
    /// Rings when a permit comes back, for those who wait in this process.
    freed: Arc<Notify>,
    /// Permits on their way back.
    returning: TaskTracker,
    /// Whether it was told that the guard can't be read.
    told: AtomicBool,
}

impl Guard {
    /// Guards the provider of this name; `freed` rings when a permit comes back.
    pub fn new(
        store: Store,
        provider: impl Into<String>,
        options: GuardOptions,
        freed: Arc<Notify>,
    ) -> Arc<Self> {
        let (provider, returning, told) = (provider.into(), TaskTracker::new(), false.into());
        Arc::new(Self { store, provider, options, freed, returning, told })
    }

    /// Gives the numbers it guards by.
    pub fn options(&self) -> &GuardOptions {
        &self.options
    }

    /// Asks for leave to make one call. Dropped midway, it holds nothing.
    pub async fn acquire(
        self: &Arc<Self>,
        purpose: Purpose,
    ) -> Result<Result<Permit, Refused>, StoreError> {
        // Made before it is granted: whoever drops this future drops what Redis may have granted.
        let mut permit = Permit {
            guard: self.clone(),
            holder: Uuid::new_v4().simple().to_string(),
            timeout: self.options.timeout.ceiling,
            budget_before: None,
            last: false,
            used_at: None,
            held: true,
        };
        let granted = AtomicBool::new(false);
        let holder = &permit.holder;
        let step = |state: &mut GuardState, now| {
            let answer = state.acquire(&self.options, holder, purpose, now);
            granted.fetch_or(answer.is_ok(), Ordering::Relaxed);
            answer
        };
        let answer = self.legible(self.step(step).await);
        // What was never asked to be written needs no giving back.
        permit.held = granted.into_inner();
        Ok(match answer? {
            Ok(granted) => {
                (permit.timeout, permit.last) = (granted.timeout, granted.last);
                permit.budget_before = granted.budget_before;
                Ok(permit)
            }
            Err(refused) => Err(refused),
        })
    }

    /// Says why and for how long jobs are refused, running calls apart; `None` if they are not.
    pub async fn closed(&self) -> Result<Option<Refused>, StoreError> {
        let known = self.store.guard(&self.provider).await;
        let closed = known.map(|(state, now)| state.closed(&self.options, now).map_or(Ok(()), Err));
        Ok(self.legible(closed)?.err())
    }

    /// Takes a guard that can't be read for a refusal, and says so once.
    fn legible<T>(
        &self,
        answer: Result<Result<T, Refused>, StoreError>,
    ) -> Result<Result<T, Refused>, StoreError> {
        let Err(StoreError::Garbled(text)) = answer else {
            if answer.is_ok() {
                self.told.store(false, Ordering::Relaxed);
            }
            return answer;
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            let provider = &self.provider;
            tracing::error!(provider, "the provider is not asked: its guard can't be read: {text}");
        }
        Ok(Err(Refused { reason: Reason::Breaker, wait: UNREADABLE }))
    }

    /// Waits until every permit is back or has been left to lapse.
    pub async fn returned(&self) {
        self.returning.close();
        self.returning.wait().await;
    }

    /// Takes a step, and tells of a breaker that it has moved.
    async fn step<T>(&self, step: impl Fn(&mut GuardState, u64) -> T) -> Result<T, StoreError> {
        let stepped = self.store.step_guard(&self.provider, step).await?;
        let (before, after) = (&stepped.before, &stepped.after);
        if before.breaker.phase != after.breaker.phase {
            let state = after.breaker.phase.as_str();
            let failure_rate = after.window.failure_rate(&self.options.breaker.weights);
            let (provider, reason) = (&self.provider, &after.breaker.reason);
            if after.breaker.phase == Phase::Open {
                tracing::warn!(
                    provider,
                    state,
                    failureRate = failure_rate,
                    reason,
                    "breaker.state"
                );
            } else {
                tracing::info!(provider, state, failureRate = failure_rate, "breaker.state");
            }
        }
        Ok(stepped.answer)
    }

    async fn end(&self, holder: &str, end: &End) -> Result<(), StoreError> {
        self.step(|state, now| match end {
            End::Settled(outcome) => state.settle(&self.options, holder, outcome, now),
            End::Unused => state.give_back(&self.options, holder, now),
        })
        .await?;
        self.freed.notify_waiters();
        Ok(())
    }

    /// Ends a permit beside its holder, who has gone on.
    fn end_later(self: Arc<Self>, holder: String, end: End) {
        // Without a runtime the process is ending; the permit lapses.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let guard = self.clone();
        self.returning.spawn(async move {
            let trying = async {
                while let Err(error) = guard.end(&holder, &end).await {
                    tracing::debug!(provider = guard.provider, "a permit waits: {error}");
                    tokio::time::sleep(RETURN_PAUSE).await;
                }
            };
            if tokio::time::timeout(RETURN_MAX, trying).await.is_err() {
                tracing::warn!(provider = guard.provider, "a permit was left to lapse");
            }
        });
    }
}

/// How a permit ends.
#[derive(Clone)]
enum End {
    /// A call was made.
    Settled(Outcome),
    /// None was.
    Unused,
}

/// Leave to make one call.
pub struct Permit {
    guard: Arc<Guard>,
    holder: String,
    timeout: Duration,
    budget_before: Option<u32>,
    last: bool,
    used_at: Option<Instant>,
    held: bool,
}

impl Permit {
    /// Tells how long the call may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Tells how many tokens there were, this one included; `None` without a budget.
    pub fn budget_before(&self) -> Option<u32> {
        self.budget_before
    }

    /// Tells whether nobody else could have one when it was granted.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Says that the call is made now: whatever comes of it, its token is spent.
    pub fn begin(&mut self) {
        self.used_at = Some(Instant::now());
    }

    /// Notes that the call made what was asked.
    pub async fn succeeded(self) {
        let took = self.took();
        self.settle(Outcome::Success { took }).await;
    }

    /// Notes that the call failed.
    pub async fn failed(self, failure: Failure) {
        let took = self.took();
        self.settle(Outcome::Failed { failure, took }).await;
    }

    fn took(&self) -> Duration {
        self.used_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Tells Redis once, and goes on trying beside us if it is away.
    async fn settle(mut self, outcome: Outcome) {
        let end = End::Settled(outcome);
        // Held until it is told: dropped midway, at least the place is freed.
        if self.guard.end(&self.holder, &end).await.is_err() {
            self.guard.clone().end_later(self.holder.clone(), end);
        }
        self.held = false;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.held {
            let end = match self.used_at {
                Some(_) => End::Settled(Outcome::Unsaid),
                None => End::Unused,
            };
            self.guard.clone().end_later(std::mem::take(&mut self.holder), end);
        }
    }
}
