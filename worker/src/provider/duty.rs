//! What every adapter owes its caller, done in one way.
//!
//! Stopping, refusing what the model can't do, seeds, and a user's text that must stay text.

use std::borrow::Cow;

use framewire_shared::domain::{Abilities, ErrorCode, Failure, FrameInput, Resend};

use super::{Call, Picture, Update, Updates};

/// Refuses what the model can't do, should anybody have let it through.
pub(super) fn refuse_impossible(abilities: &Abilities, call: &Call) -> Result<(), Failure> {
    let mut faults = abilities.faults(&call.input);
    if let Some(source) = &call.source {
        faults.extend(abilities.source_faults(source.mask.is_some()));
    }
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
    let stopped = || Err(Failure::new(ErrorCode::Temporary, "the drawing was stopped"));
    call.stop.run_until_cancelled(work).await.unwrap_or_else(stopped)
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
