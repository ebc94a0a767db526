//! The frames of one attempt: which are stored, which failed and why, and what its job gets of them.
//!
//! Pure. Comes in: what `attempt.rs` has stored and heard. Goes out: the frames with which the job can
//! be completed. Invariant: each of the frames that were asked for is among those made or named as
//! missing, and there is at least one; else the attempt has failed, with one of the reasons.

use std::collections::BTreeMap;

use framewire_shared::domain::{Artifact, ErrorCode, Failure, Missing, Resend};

/// Frames under way.
pub(crate) struct Batch {
    /// Frames that were asked for.
    n: u32,
    /// Stored so far, in order of their index.
    frames: Vec<Artifact>,
    /// Failed so far, and why.
    failed: BTreeMap<u32, Failure>,
}

impl Batch {
    /// Begins with none of so many.
    pub(crate) fn new(n: u32) -> Self {
        Self { n, frames: Vec::new(), failed: BTreeMap::new() }
    }

    /// Tells whether this is the last frame of those that were asked for.
    pub(crate) fn ends_with(&self, index: u32) -> bool {
        index + 1 == self.n
    }

    /// Gives what is stored so far.
    pub(crate) fn frames(&self) -> &[Artifact] {
        &self.frames
    }

    /// Notes a frame that is stored.
    pub(crate) fn keep(&mut self, frame: Artifact) {
        self.frames.push(frame);
    }

    /// Notes a frame that can't be made.
    pub(crate) fn miss(&mut self, index: u32, failure: Failure) {
        self.failed.insert(index, failure);
    }

    /// Gives the frames there are and those that are missing, with `why` for any of which nothing was
    /// heard; a call that ended well has sent too few.
    ///
    /// Errors: there is no frame; the first reason that leaves hope for another try, else the first.
    pub(crate) fn sum_up(
        &self,
        why: Option<&Failure>,
    ) -> Result<(Vec<Artifact>, Vec<Missing>), Failure> {
        let too_few = Failure::new(ErrorCode::Unknown, "the provider sent too few frames");
        let why = why.unwrap_or(&too_few);
        if self.frames.is_empty() {
            let hopeful = |failure: &&Failure| failure.resend != Resend::Never;
            let mut failed = self.failed.values();
            let reason = failed.clone().find(hopeful).or(failed.next());
            return Err(reason.unwrap_or(why).clone());
        }
        let made = |index: &u32| self.frames.iter().any(|frame| frame.index == *index);
        let missing = (0..self.n).filter(|index| !made(index));
        let missing =
            missing.map(|index| Missing::new(index, self.failed.get(&index).unwrap_or(why)));
        Ok((self.frames.clone(), missing.collect()))
    }
}
