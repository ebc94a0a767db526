//! The nouns of Framewire, without I/O.
//!
//! Everything here is plain data and pure functions over std, serde and uuid. No clock, no
//! environment, no Redis: time comes in as an argument, randomness as an id made elsewhere.
//! The one table of transitions lives in [`job`]; the Lua scripts execute the same table, and the
//! model test checks that the two agree.

// Names of things: cell, job, session, worker, pool.
pub mod id;
// The three classes inside a pool.
pub mod priority;
// Pictures that a frame starts from, as a request names them.
pub mod picture;
// What a frame is asked to be, with every bound by name.
pub mod input;
// What a provider's model can do of that.
pub mod ability;
// States, the transition table, and the job as it is stored.
pub mod job;
// The right to work on a job, and the number that proves it.
pub mod lease;
// How often and when a job is tried again.
pub mod attempt;
// Why an attempt failed, for users and for operators.
pub mod failure;
// Who may call a provider, when and for how long.
pub mod guard;
// A frame's stored form.
pub mod artifact;
// What to show where there is no frame.
pub mod fallback;
// What subscribers are told, and their position in it.
pub mod event;

pub use ability::{Abilities, Sizes};
pub use artifact::{Artifact, ArtifactId, MediaType, Preview};
pub use attempt::RetryPolicy;
pub use event::{Cursor, Event, EventKind};
pub use failure::{ErrorCode, Failure, FailureKind, Origin, Resend};
pub use fallback::{Fallback, FallbackKind};
pub use guard::{GuardOptions, GuardState};
pub use id::{Cell, FileId, IdError, JobId, Pool, SessionId, Tenant, WorkerId};
pub use input::{Fault, FrameInput, InputFault, OutputFormat};
pub use job::{Job, Progress, State, Timings, Verb};
pub use lease::Fence;
pub use picture::{InputPicture, Place, Strength};
pub use priority::Priority;
