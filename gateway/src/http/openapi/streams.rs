//! Shapes of what the streams say; the bytes are made by the scripts and by `live::frame`.

use utoipa::ToSchema;

use super::mirror::{ErrorCode, Fallback, Frame, Missing, State, Timings};

/// What a poll answers with
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Polled {
    /// `fresh`, `resumed` or `reset`, as in `Sync`
    mode: String,
    /// Why it is a reset: `malformed`, `unknown_lineage`, `trimmed` or `too_far`
    #[schema(required = false)]
    cause: Option<String>,
    /// What has happened since `after`, in order
    events: Vec<PolledEvent>,
    /// To be sent as `after` next
    cursor: String,
}

/// An event in the answer to a poll
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct PolledEvent {
    /// Its position; null for ephemeral events
    id: Option<String>,
    /// Its type, as in a stream's `event:`
    event: String,
    /// What a stream has in `data:`
    #[schema(value_type = Object)]
    data: (),
}

/// Declares the `data` of the events: what all of a job have, then their own.
macro_rules! job_events {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })+) => {
        $(
            $(#[$doc])*
            #[derive(ToSchema)]
            #[expect(dead_code, reason = "only its shape is used")]
            pub struct $name {
                /// The job
                job: String,
                /// Rises with each durable change of the job; where two differ, the higher is true
                v: u64,
                /// The job's state
                status: State,
                /// Epoch milliseconds
                at: u64,
                $($(#[$field_doc])* $field: $type,)*
            }
        )+
    };
}

job_events! {
    /// `event: queued`: it waits, the first time or again
    Queued {
        /// `submitted`, `retry`, `lease_lapsed` or `worker_drain`
        reason: String,
        /// Jobs ahead, 0-based
        position: Option<u64>,
        /// Time within which it is done in nine cases of ten; null while that is unknown
        estimated_wait_ms: Option<u64>,
        /// When the next attempt is due, in epoch milliseconds
        retry_at: Option<u64>,
        /// Why the attempt before it failed
        error: Option<CausedBy>,
        /// For the n-th time that somebody asked
        retry_count: Option<u32>,
    }
    /// `event: started`: a worker has it
    Started {
        /// Ordinal of the attempt
        attempt: u32,
        /// Who draws it
        provider: String,
    }
    /// `event: preview`: a look at a frame that is not finished
    PreviewReady {
        /// The frame it will become
        index: u32,
        /// Where it is
        url: String,
        /// Steps done
        step: u32,
    }
    /// `event: frame-ready`: one frame can be fetched
    FrameReady {
        /// Position among the job's frames
        index: u32,
        /// The frame
        frame: Frame,
    }
    /// `event: completed`: its frames are there, all or those that could be made
    Completed {
        /// The frames; positions have gaps where some are missing
        frames: Vec<Frame>,
        /// Those that could not be made
        missing: Vec<Missing>,
        /// Where the time went
        timings: Timings,
        /// `true` where they were drawn for another request for the very same
        cached: Option<bool>,
    }
    /// `event: failed`: it failed for good
    Failed {
        /// Why
        error: EventError,
        /// What to show instead; null if the job has frames
        fallback: Option<Fallback>,
    }
    /// `event: cancelled`: somebody cancelled it
    Cancelled {
        /// `user`, `operator` or `disconnect` (its reader left for good)
        by: String,
        /// What to show instead; null if the job has frames
        fallback: Option<Fallback>,
    }
    /// `event: progress`: stage and steps; may be skipped, never repeated
    ProgressMade {
        /// The state it tells of
        stage: State,
        /// Steps done; with the two below absent while the stage alone has changed
        step: Option<u32>,
        /// Steps to do
        steps: Option<u32>,
        /// 0 to 1
        fraction: Option<f64>,
        /// Expected time to the end of the attempt
        eta_ms: Option<u64>,
    }
    /// `event: position`: where it stands in the queue
    Position {
        /// Jobs ahead, 0-based
        ahead: u64,
        /// Time within which it is done in nine cases of ten; null while that is unknown
        eta_ms: Option<u64>,
    }
}

/// Why a job failed
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct EventError {
    code: ErrorCode,
    message: String,
    failure_stage: State,
    retryable: bool,
    /// Who was to draw it
    provider: Option<String>,
    /// HTTP status of the provider's answer
    provider_status: Option<u16>,
    /// The provider's own error code
    provider_code: Option<String>,
    /// The provider's name of our request
    provider_request_id: Option<String>,
}

/// Why an attempt failed
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct CausedBy {
    code: ErrorCode,
    message: String,
}

/// `event: sync`: the first of every stream
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Sync {
    /// `fresh`, `resumed` or `reset`; after `fresh` and `reset` take `GET /v1/jobs?active=1`
    mode: String,
    /// Why a position could not be honoured
    cause: Option<String>,
    /// The position after which the events of this stream begin
    at: String,
    /// The newest position
    head: String,
    /// Events that follow from before
    replay: u64,
    /// How often `ping` comes
    ping_ms: u64,
    /// How long this stream will live
    max_age_ms: u64,
}

/// `event: ping`: nothing has happened, and we are still here
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Ping {
    /// The stream's own position
    at: String,
    /// Whether the gateway can vouch that nothing is missing
    live: bool,
    /// Epoch milliseconds
    t: u64,
}

/// `event: bye`: the stream ends on purpose
#[derive(ToSchema)]
#[schema(as = Bye)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct ByeEvent {
    /// `drain`, `max_age`, `limit`, `overloaded`, `slow`, `lagged`, `backend_down` or `done`
    reason: String,
    /// When to come back, in milliseconds
    retry_ms: u64,
    /// Whether there is nothing to come back for
    r#final: bool,
}
