//! What every adapter owes its caller, done in one way.
//!
//! Stopping, refusing what the model can't do, seeds, and a user's text that must stay text.

use std::borrow::Cow;
use std::time::Duration;

use framewire_shared::domain::{Abilities, ErrorCode, Failure, FrameInput, Resend};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{Call, Picture, Update, Updates};

/// How long a stopped call waits until what it has begun is taken back, before it leaves that to tasks.
const STOP_WAIT: Duration = Duration::from_millis(500);

/// Refuses what the model can't do, should anybody have let it through.
pub(super) fn refuse_impossible(abilities: &Abilities, call: &Call) -> Result<(), Failure> {
    let mut faults = abilities.faults(&call.input);
    faults.extend(match &call.source {
        Some(source) => abilities.source_faults(source.mask.is_some()),
        None => abilities.sourceless_faults(),
    });
    match faults.first() {
        Some(fault) => {
            let message = format!("the model can't draw this: {}: {}", fault.pointer, fault.detail);
            Err(Failure::new(ErrorCode::Permanent, message))
        }
        None => Ok(()),
    }
}

/// Does a call's work until it is told to stop, which drops the work and closes its sockets.
pub(super) async fn until_stopped(
    call: &Call,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    call.stop.run_until_cancelled(work).await.unwrap_or_else(|| Err(stopped()))
}

/// Does work that may leave tasks which take back what it has begun, and gives them a moment at a stop;
/// what they don't do by then they do on their own.
pub(super) async fn until_taken_back<F: Future<Output = Result<(), Failure>>>(
    call: &Call,
    work: impl FnOnce(TaskTracker) -> F,
) -> Result<(), Failure> {
    let tasks = TaskTracker::new();
    // Closed only means that one may wait for it to be empty.
    tasks.close();
    let result = until_stopped(call, work(tasks.clone())).await;
    if call.stop.is_cancelled() {
        timeout(STOP_WAIT, tasks.wait()).await.ok();
    }
    result
}

/// Yields the handle of what is under way and waits until it is kept: nobody resumes or cancels what
/// nobody knows of.
///
/// Errors: nobody listens any more, which is a stop.
pub(super) async fn keep(updates: &Updates, handle: String) -> Result<(), Failure> {
    tell(updates, Update::Checkpoint(handle)).await;
    // The runner takes one update after the other and polls us only in between, so it has kept this
    // one once the channel is empty.
    let all = updates.max_capacity();
    updates.reserve_many(all).await.map(drop).map_err(|_| stopped())
}

/// The failure of a call that was told to stop; nobody looks at it.
pub(super) fn stopped() -> Failure {
    Failure::new(ErrorCode::Temporary, "the drawing was stopped")
}

/// Takes out the tag by which stable-diffusion.cpp reads options from a prompt: a user's text must
/// not become settings of the server.
pub(super) fn plain_prompt(prompt: &str) -> Cow<'_, str> {
    const TAG: &str = "<sd_cpp_extra_args>";
    let mut prompt = Cow::Borrowed(prompt);
    // Again, because taking out one may make another.
    while prompt.contains(TAG) {
        prompt = Cow::Owned(prompt.replace(TAG, ""));
    }
    prompt
}

/// Gives the seed of one frame.
pub(super) fn seed_of(input: &FrameInput, index: u32) -> u64 {
    input.seed.unwrap_or_default().wrapping_add(index.into())
}

/// Makes the update that tells what came of one frame: it was made, or it failed and that says
/// nothing of the call's others.
///
/// Errors: the failure is the call's: the next frame would meet it too, or there is no other.
pub(super) fn outcome(
    input: &FrameInput,
    index: u32,
    drawn: Result<(u64, Picture), Failure>,
) -> Result<Update, Failure> {
    match drawn {
        Ok((seed, picture)) => Ok(Update::Frame { index, seed, picture }),
        Err(failure) if input.n > 1 && is_of_one_frame(&failure) => {
            Ok(Update::FrameFailed { index, failure })
        }
        Err(failure) => Err(failure),
    }
}

/// Tells whether the service was there and well, and this one picture was refused, lost or spoilt.
fn is_of_one_frame(failure: &Failure) -> bool {
    match failure.code {
        ErrorCode::Permanent | ErrorCode::Unknown => true,
        // Nothing was made because it was down; else something was, and went wrong.
        ErrorCode::Temporary => failure.resend != Resend::Freely,
        ErrorCode::RateLimit | ErrorCode::AuthError | ErrorCode::Timeout => false,
    }
}

/// Yields an update. When nobody listens any more our future is about to be dropped.
pub(super) async fn tell(updates: &Updates, update: Update) {
    drop(updates.send(update).await);
}
