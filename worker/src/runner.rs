//! Runs one attempt and settles it exactly once.
//!
//! Comes in: a claimed job and the pass to its provider. `attempt.rs` produces the frames; here is
//! decided what becomes of the job: completed, failed (now or for good), cancelled, handed back, or
//! nothing at all when it is somebody else's by now. A settlement is repeated until Redis answers:
//! the scripts know by the fence whether it still counts, and a paid frame is worth the wait.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::{ErrorCode, Failure, FailureKind, FrameInput, JobId, RetryPolicy};
use framewire_shared::service::failpoint;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::codec::{Cancel, Claimed, Completed, Failed, Released};
use framewire_shared::store::queue::Lease;
use framewire_shared::store::{Store, StoreError};

use crate::attempt::{Attempt, Interrupted, Produced};
use crate::lease_keeper::{KeptLease, LeaseKeeper, StopReason};
use crate::routes::Pass;
use crate::source::Sources;

/// Pause between tries to settle while Redis is away.
const SETTLE_PAUSE: Duration = Duration::from_millis(300);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// All frames are stored.
    Completed,
    /// Another attempt follows.
    Retrying,
    /// None follows.
    Failed,
    /// Somebody wanted that.
    Cancelled,
    /// It waits for another worker, with nothing burned.
    Released,
    /// The job is somebody else's by now, or Redis never answered; nothing was recorded.
    Abandoned,
}

/// Runs attempts; shared by all slots of a worker.
pub struct Runner {
    /// Where state goes.
    pub store: Store,
    /// Where bytes go.
    pub blobs: Blobs,
    /// What jobs start from.
    pub sources: Sources,
    /// Keeps the leases.
    pub keeper: Arc<LeaseKeeper>,
    /// When a failed attempt is tried again.
    pub retry: RetryPolicy,
    /// Longest call to a provider that has no guard to say so.
    pub attempt_timeout: Duration,
}

impl Runner {
    /// Runs one attempt to its settlement.
    pub async fn run(&self, job: JobId, claimed: Claimed, pass: impl Into<Pass>) -> Settled {
        let mut pass = pass.into();
        let lease = Lease { job, fence: claimed.fence };
        let held = self.keeper.keep(lease);
        let input = match serde_json::from_str::<FrameInput>(&claimed.input) {
            Ok(input) => input,
            Err(error) => {
                let failure = Failure::new(ErrorCode::Permanent, "the job's input can't be read");
                let failure = failure.detail(error.to_string());
                return self.settle_interrupted(&held, &claimed, failure.into(), pass).await;
            }
        };
        if !pass.take_model(&claimed.model) {
            // Settings change process by process: another worker may know it.
            let failure = Failure::new(ErrorCode::Temporary, "nobody here draws this model");
            let failure = failure.kind(FailureKind::Ours).detail(claimed.model.clone());
            return self.settle_interrupted(&held, &claimed, failure.into(), pass).await;
        }
        let mut attempt = Attempt::new(self, held, input);
        match attempt.produce(&claimed, &mut pass).await {
            Ok(produced) => {
                pass.succeeded().await;
                self.settle_completed(attempt.held(), &produced).await
            }
            Err(interrupted) => {
                self.settle_interrupted(attempt.held(), &claimed, interrupted, pass).await
            }
        }
    }

    async fn settle_completed(&self, held: &KeptLease, produced: &Produced) -> Settled {
        let Produced { frames, generate, upload } = produced;
        failpoint::hit("complete_before");
        let complete = || self.store.complete(&held.lease, frames, *generate, *upload);
        let answer = until_answered(held, complete).await;
        failpoint::hit("complete_after");
        match answer {
            Some(Completed::Completed) => Settled::Completed,
            Some(Completed::Lost(_) | Completed::Refused(_)) | None => Settled::Abandoned,
        }
    }

    /// Settles an attempt without a result, by the reason it has none.
    async fn settle_interrupted(
        &self,
        held: &KeptLease,
        claimed: &Claimed,
        interrupted: Interrupted,
        pass: Pass,
    ) -> Settled {
        let lease = &held.lease;
        let failure = match (interrupted, held.reason()) {
            (_, Some(StopReason::Lost)) => return Settled::Abandoned,
            (_, Some(StopReason::Cancel)) => {
                return match until_answered(held, || self.store.cancelled_by_worker(lease)).await {
                    Some(Cancel::Cancelled) => Settled::Cancelled,
                    _ => Settled::Abandoned,
                };
            }
            (_, Some(StopReason::Drain)) => return self.release(held).await,
            (Interrupted::Failed(failure), None) => failure,
            (_, Some(StopReason::Deadline)) => {
                let timeout = pass.timeout().unwrap_or(self.attempt_timeout);
                Failure::new(ErrorCode::Timeout, "the provider did not answer in time")
                    .detail(format!("gave up after {} s", timeout.as_secs()))
            }
            (Interrupted::Stopped, None) => return Settled::Abandoned,
        };
        // Before the job may be popped again, so that it is not taken for a provider that rests.
        pass.failed(&failure).await;
        let delay = self.retry.next_delay(
            &failure,
            claimed.attempt,
            claimed.attempt_limit,
            rand::random::<f64>(),
        );
        tracing::info!(
            job = %lease.job, attempt = claimed.attempt, code = failure.code.as_str(),
            detail = failure.detail, retry = delay.is_some(), "attempt failed: {}", failure.message,
        );
        match until_answered(held, || self.store.fail(lease, &failure, delay)).await {
            Some(Failed::Retrying(_)) => Settled::Retrying,
            Some(Failed::Failed) => Settled::Failed,
            Some(Failed::Cancelled) => Settled::Cancelled,
            Some(Failed::Lost(_)) | None => Settled::Abandoned,
        }
    }

    async fn release(&self, held: &KeptLease) -> Settled {
        match until_answered(held, || self.store.release(&held.lease)).await {
            Some(Released::Released) => Settled::Released,
            Some(Released::Cancelled) => Settled::Cancelled,
            Some(Released::Lost(_)) | None => Settled::Abandoned,
        }
    }
}

/// Asks until Redis answers: a settlement may be repeated, and a paid frame is worth the wait.
///
/// Gives `None` when the job turns out to be somebody else's, or an answer can't be understood.
pub(crate) async fn until_answered<T, F: Future<Output = Result<T, StoreError>>>(
    held: &KeptLease,
    ask: impl Fn() -> F,
) -> Option<T> {
    let mut told = false;
    loop {
        match ask().await {
            Ok(answer) => return Some(answer),
            Err(StoreError::Garbled(text)) => {
                tracing::error!(job = %held.lease.job, "failed to settle: {text}");
                return None;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(job = %held.lease.job, "settlement waits: failed to {error:#}");
                }
            }
        }
        if held.reason() == Some(StopReason::Lost) {
            return None;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}
