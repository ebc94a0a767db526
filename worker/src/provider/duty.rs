//! What every adapter owes its caller, done in one way.
//!
//! Stopping, refusing what the model can't do, seeds, and a user's text that must stay text.

use std::borrow::Cow;

use framewire_shared::domain::{Abilities, ErrorCode, Failure, FrameInput};

use super::{Call, Update, Updates};

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

/// Yields an update. When nobody listens any more our future is about to be dropped.
pub(super) async fn tell(updates: &Updates, update: Update) {
    drop(updates.send(update).await);
}
