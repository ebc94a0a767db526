//! What an outside service that makes images looks like from here.
//!
//! An adapter gets a typed [`Call`] and a channel for its [`Update`]s and never sees the store: it
//! can't write a job, publish an event or keep a file. The runner turns updates into transitions
//! and artifacts. Every adapter keeps three rules: it stops within a second when the call's token
//! is cancelled or its future is dropped, it yields every frame exactly once and in order, as made or
//! as failed, and it classifies its own failures, because only it knows what the service's answers mean.

// Draws real pictures from prompt and seed; no network, no key.
pub mod builtin;
// Any workflow of a ComfyUI server.
pub mod comfyui;
// What every adapter owes its caller.
mod duty;
// Words for what a provider's failure comes down to.
mod verdict;
// Keys, and how they are kept out of what others read.
mod secrets;
// The client of all services that speak HTTP, and its limits.
pub mod http;
// Outputs that are given as addresses.
pub mod fetch;
// Pictures in the encoding that was asked for.
pub(crate) mod convert;
// The OpenAI images API, and everything that speaks it.
pub mod openai;
// AUTOMATIC1111 and its relatives.
pub mod automatic1111;
// Services that draw in their own time and are asked how it goes.
mod remote;
// What they were asked to begin, and nobody waits for.
mod creating;
// Requests that the settings write out.
pub mod written;
// Replicate.
pub mod replicate;
// fal.
pub mod fal;
// Adapters as the settings want them.
pub mod configured;

use bytes::Bytes;
use framewire_shared::domain::{Abilities, Failure, FrameInput, MediaType, Usage};
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One attempt's request to a provider.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names the attempt, `<job>-<fence>`: what an adapter gives a provider that lets it choose
    /// the name of a request.
    pub id: String,
    /// What to draw; its seed is always set.
    pub input: FrameInput,
    /// What to start from instead of noise.
    pub source: Option<Source>,
    /// Ordinal of the attempt, from 1.
    pub attempt: u32,
    /// The provider's own handle from an attempt whose worker was lost, to resume instead of
    /// paying twice.
    pub checkpoint: Option<String>,
    /// Fires at the deadline, on cancellation and when the lease is lost.
    pub stop: CancellationToken,
    /// Fires, before `stop`, when another worker goes on with the job: what runs at the provider
    /// is resumed by its checkpoint, and must not be cancelled there.
    pub handed_on: CancellationToken,
}

/// A picture to start from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The picture; it decodes, has the size that is asked for, and carries no metadata.
    pub picture: Picture,
    /// A PNG of the same size, white where the picture shall be drawn anew; everywhere if `None`.
    pub mask: Option<Picture>,
    /// How much may change, from 0 (nothing) to 1 (everything).
    pub strength: f64,
}

/// What a running call yields.
#[derive(Debug, Clone)]
pub enum Update {
    /// Steps done so far, over all frames of the job.
    Progress {
        /// Steps done.
        step: u32,
        /// Steps to do in all.
        steps: u32,
    },
    /// A look at a frame that is not finished.
    Preview {
        /// Which frame, from 0.
        index: u32,
        /// Steps done of that frame.
        step: u32,
        /// The picture.
        picture: Picture,
    },
    /// A finished frame.
    Frame {
        /// Which frame, from 0.
        index: u32,
        /// What it was drawn from.
        seed: u64,
        /// The picture.
        picture: Picture,
    },
    /// A frame that can't be made, while others of the call may be.
    FrameFailed {
        /// Which frame, from 0.
        index: u32,
        /// Why.
        failure: Failure,
    },
    /// The provider's handle of the running generation.
    Checkpoint(String),
    /// What the provider says that the call has used, besides what it said before.
    Usage(Usage),
}

/// An encoded picture, not yet checked.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What the provider says it is.
    pub media_type: MediaType,
    /// The encoded form.
    pub bytes: Bytes,
}

/// The sending half of a call's updates; waits when the runner is behind.
pub type Updates = mpsc::Sender<Update>;

/// An outside service that makes images.
pub trait Provider: Send + Sync + 'static {
    /// Names it in events, logs and metrics, as the settings do.
    fn name(&self) -> &str;

    /// Tells what its model can do; all, unless it says otherwise.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// Makes the frames of one call.
    ///
    /// Returns after the last frame was yielded. Errors are classified, and are the call's: what is
    /// one frame's alone is yielded. A stop is answered by returning soon, with whatever result.
    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>>;
}
