//! Runs one attempt and settles it exactly once.
//!
//! Comes in: a claimed job and the pass to its provider. `attempt.rs` produces the frames; here is
//! decided what becomes of the job: completed (with the frames there are, when the last attempt broke
//! off after some), failed (now or for good), cancelled, handed back, or nothing at all when it is somebody else's by now. A settlement is repeated until Redis answers:
//! the scripts know by the fence whether it still counts, and a paid frame is worth the wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::artifact::ARTIFACTS_PATH;
use framewire_shared::domain::{
    Artifact, CatalogueId, ErrorCode, Failure, FailureKind, FrameInput, JobId, Resend, RetryPolicy,
    State,
};
use framewire_shared::service::failpoint;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::codec::{Cancel, Claimed, Completed, Failed, Noted, Released};
use framewire_shared::store::queue::{Lease, Made};
use framewire_shared::store::share::Sharer;
use framewire_shared::store::{Store, StoreError};

use crate::attempt::{Attempt, Interrupted, Produced};
use crate::lease_keeper::{KeptLease, LeaseKeeper, StopReason};
use crate::metrics::Metrics;
use crate::routes::Pass;
use crate::source::Sources;

/// Pause between tries to settle while Redis is away.
const SETTLE_PAUSE: Duration = Duration::from_millis(300);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Its frames are stored, all or those that could be made.
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

impl Settled {
    /// Gives the word used in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Runs attempts; shared by all slots of a worker.
pub struct Runner {
    /// Where state goes.
    pub store: Store,
    /// Where bytes go.
    pub blobs: Blobs,
    /// Models whose newest frame stands in for those of all sessions.
    pub catalogue: BTreeSet<String>,
    /// What jobs start from.
    pub sources: Sources,
    /// Keeps the leases.
    pub keeper: Arc<LeaseKeeper>,
    /// When a failed attempt is tried again.
    pub retry: RetryPolicy,
    /// Longest call to a provider that has no guard to say so.
    pub attempt_timeout: Duration,
    /// What this process has counted.
    pub metrics: Arc<Metrics>,
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
                return self.settle_interrupted(&held, &claimed, failure.into(), pass, None).await;
            }
        };
        if !pass.take_model(&claimed.model) {
            // Settings change process by process: another worker may know it.
            let failure = Failure::new(ErrorCode::Temporary, "nobody here draws this model");
            let failure = failure.kind(FailureKind::Ours).detail(claimed.model.clone());
            return self.settle_interrupted(&held, &claimed, failure.into(), pass, None).await;
        }
        let mut attempt = Attempt::new(self, held, input);
        let produced = attempt.produce(&claimed, &mut pass).await;
        match produced {
            Ok(made) => {
                pass.succeeded(attempt.usage()).await;
                self.settle_completed(&attempt, &claimed, &made).await
            }
            Err(interrupted) => {
                let (held, attempt) = (attempt.held(), Some(&attempt));
                self.settle_interrupted(held, &claimed, interrupted, pass, attempt).await
            }
        }
    }

    async fn settle_completed(
        &self,
        attempt: &Attempt<'_>,
        claimed: &Claimed,
        produced: &Produced,
    ) -> Settled {
        let held = attempt.held();
        let Produced { frames, announced, missing, generate, upload } = produced;
        let (announced, generate, upload) = (*announced, *generate, *upload);
        // A frame that started from a user's picture shows it, and that is for nobody else.
        let open = self.catalogue.contains(&claimed.model) && !attempt.starts_from_picture();
        let published = match open {
            true => self.publish(frames).await,
            false => None,
        };
        let published = published.as_ref();
        let made = Made { frames, announced, missing, published, generate, upload };
        failpoint::hit("complete_before");
        let answer = until_answered(held, || self.store.complete_with(&held.lease, &made)).await;
        failpoint::hit("complete_after");
        match answer {
            Some(Completed::Completed) => Settled::Completed,
            Some(Completed::Followed(fingerprint)) => {
                // The job has ended: a renewal while its frames are copied would be told that it is lost.
                held.give_up();
                self.share(&held.lease, &fingerprint).await;
                Settled::Completed
            }
            Some(Completed::Lost(_) | Completed::Refused(_)) | None => Settled::Abandoned,
        }
    }

    /// Publishes the last of a job's frames. One that can't be is no reason to hold the job up.
    async fn publish(&self, frames: &[Artifact]) -> Option<CatalogueId> {
        let frame = frames.last()?.url.strip_prefix(ARTIFACTS_PATH)?.parse().ok()?;
        let id = CatalogueId::of(&frame)?;
        match self.blobs.publish(&frame, &id).await {
            Ok(()) => Some(id),
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(job = %frame.job, "a frame was not published: failed to {error:#}");
                None
            }
        }
    }

    /// Gives the frames of a completed job to those that follow it.
    async fn share(&self, lease: &Lease, fingerprint: &str) {
        let sharer = Sharer { store: self.store.clone(), blobs: self.blobs.clone() };
        if let Err(error) = sharer.serve(lease.job.cell(), Some(fingerprint)).await {
            let error = anyhow::Error::from(error);
            tracing::warn!(job = %lease.job, "its followers wait for a copier: failed to {error:#}");
        }
    }

    /// Settles an attempt without a result, by the reason it has none.
    async fn settle_interrupted(
        &self,
        held: &KeptLease,
        claimed: &Claimed,
        interrupted: Interrupted,
        pass: Pass,
        attempt: Option<&Attempt<'_>>,
    ) -> Settled {
        let lease = &held.lease;
        let mut failure = match (interrupted, held.reason()) {
            (_, Some(StopReason::Lost)) => return Settled::Abandoned,
            (_, Some(StopReason::Cancel)) => return self.cancelled(held).await,
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
        let kept = attempt.and_then(|it| Some((it, it.salvage(&failure)?)));
        if kept.is_some() && failure.resend == Resend::Freely {
            // The frames there are would be paid for again.
            failure.resend = Resend::Once;
        }
        // Only the end of the call has failed: nothing is left to draw.
        let whole = kept.as_ref().is_some_and(|(_, made)| made.missing.is_empty());
        let (number, limit) = (claimed.attempt, claimed.attempt_limit);
        let delay = self.retry.next_delay(&failure, number, limit, rand::random::<f64>());
        let delay = delay.filter(|_| !whole);
        tracing::info!(
            job = %lease.job, attempt = claimed.attempt, code = failure.code.as_str(),
            detail = failure.detail, retry = delay.is_some(), "attempt failed: {}", failure.message,
        );
        if delay.is_none()
            && let Some((attempt, made)) = kept
        {
            return self.settle_salvaged(attempt, claimed, &made).await;
        }
        match until_answered(held, || self.store.fail(lease, &failure, delay)).await {
            Some(Failed::Retrying(_)) => Settled::Retrying,
            Some(Failed::Failed) => {
                let reason = failure.code.as_str();
                tracing::warn!(jobId = lease.job.as_str(), reason, "queue.deadletter");
                Settled::Failed
            }
            Some(Failed::Cancelled) => Settled::Cancelled,
            Some(Failed::Lost(_)) | None => Settled::Abandoned,
        }
    }

    /// Completes a job with the frames of its last attempt, which failed before its end.
    async fn settle_salvaged(
        &self,
        attempt: &Attempt<'_>,
        claimed: &Claimed,
        made: &Produced,
    ) -> Settled {
        let held = attempt.held();
        let advance = || self.store.advance(&held.lease, State::Uploading);
        match until_answered(held, advance).await {
            Some(Noted::Noted) => self.settle_completed(attempt, claimed, made).await,
            Some(Noted::Cancel) => self.cancelled(held).await,
            Some(Noted::Lost(_) | Noted::Refused(_)) | None => Settled::Abandoned,
        }
    }

    async fn cancelled(&self, held: &KeptLease) -> Settled {
        match until_answered(held, || self.store.cancelled_by_worker(&held.lease)).await {
            Some(Cancel::Cancelled) => Settled::Cancelled,
            _ => Settled::Abandoned,
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
