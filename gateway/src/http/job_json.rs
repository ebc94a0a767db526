//! The job as everybody sees it: one shape for every answer and every stream.
//!
//! Comes in: a row of the store, or what a submit knows without reading one. Goes out: `JobView`,
//! which borrows all of it and is written straight into the answer. Input and metadata are the
//! stored JSON text, passed through and not parsed again.

use std::fmt;

use framewire_shared::domain::{
    Artifact, ErrorCode, Fallback, JobId, Missing, Preview, Priority, Progress, State, Timings,
    Usage,
};
use framewire_shared::store::codec::JobRow;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::openapi::mirror;

/// A job
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView<'a> {
    /// Its name
    #[schema(value_type = String)]
    pub id: &'a JobId,
    /// Always `job`
    #[schema(example = "job")]
    pub object: &'static str,
    /// Rises with each durable change
    pub v: u64,
    /// Its state
    #[schema(value_type = mirror::State)]
    pub status: State,
    /// The model that was asked for
    pub model: &'a str,
    /// Its class
    #[schema(value_type = mirror::Priority)]
    pub priority: Priority,
    /// Jobs ahead, 0-based; null unless it waits
    #[schema(required)]
    pub queue_position: Option<u64>,
    /// Time within which it is done in nine cases of ten; null unless it waits and that is known
    #[schema(required)]
    pub estimated_wait_ms: Option<u64>,
    /// The newest progress; null unless it runs
    #[schema(required, value_type = Option<mirror::Progress>)]
    pub progress: Option<&'a Progress>,
    /// The newest preview; null unless it runs and has one
    #[schema(required, value_type = Option<mirror::Preview>)]
    pub preview: Option<&'a Preview>,
    /// Attempts that executed
    pub attempt_count: u32,
    /// Retries that somebody asked for
    pub retry_count: u32,
    /// When it was submitted
    #[schema(value_type = String, format = DateTime)]
    pub created_at: At,
    /// When it was last claimed
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub started_at: Option<At>,
    /// When it ended
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<At>,
    /// When it and its frames go
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<At>,
    /// When it is tried again, while it waits for that
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub retry_at: Option<At>,
    /// Whether its worker has yet to hear that it shall stop
    pub cancel_requested: bool,
    /// What is drawn, defaults and seed filled in
    #[schema(value_type = mirror::Input)]
    pub input: &'a RawValue,
    /// Frames stored so far
    #[schema(value_type = Vec<mirror::Frame>)]
    pub frames: &'a [Artifact],
    /// Frames that it was completed without, and why; a job with none at all has failed
    #[schema(value_type = Vec<mirror::Missing>)]
    pub missing: &'a [Missing],
    /// Whether they were drawn for another request for the very same
    pub cached: bool,
    /// Why it failed; null unless it did
    #[schema(required)]
    pub error: Option<JobError<'a>>,
    /// What to show while it has no frame, or because it ended without; null once it has one
    #[schema(required, value_type = Option<mirror::Fallback>)]
    pub fallback: Option<&'a Fallback>,
    /// Where to go from here
    pub urls: Urls<'a>,
    /// Where its time went; null until it is completed
    #[schema(required, value_type = Option<mirror::Timings>)]
    pub timings: Option<Timings>,
    /// What its attempts have used; null while no provider has told
    #[schema(required, value_type = Option<mirror::Usage>)]
    pub usage: Option<&'a Usage>,
    /// The caller's own notes
    #[schema(value_type = Object)]
    pub metadata: &'a RawValue,
}

/// Why a job failed
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
pub struct JobError<'a> {
    /// What would have to change
    #[schema(value_type = mirror::ErrorCode)]
    code: ErrorCode,
    /// What happened, for people
    message: &'a str,
    /// The state in which it failed
    #[schema(required, value_type = Option<mirror::State>)]
    failure_stage: Option<State>,
    /// Whether a retry can succeed without a change by anybody
    retryable: bool,
    /// Who was to draw it
    #[schema(required)]
    provider: Option<&'a str>,
    /// HTTP status of the provider's answer
    #[schema(required)]
    provider_status: Option<u16>,
    /// The provider's own error code
    #[schema(required)]
    provider_code: Option<&'a str>,
    /// The provider's name of our request, for its support desk
    #[schema(required)]
    provider_request_id: Option<&'a str>,
}

/// A job's addresses
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobUrls)]
pub struct Urls<'a> {
    /// The job itself
    #[serde(rename = "self")]
    #[schema(value_type = String)]
    itself: Url<'a>,
    /// Its events
    #[schema(value_type = String)]
    events: Url<'a>,
    /// Cancels it (POST)
    #[schema(value_type = String)]
    cancel: Url<'a>,
    /// Tries it again (POST)
    #[schema(value_type = String)]
    retry: Url<'a>,
}

/// Path of a job, and what follows it.
#[derive(Debug)]
pub struct Url<'a>(&'a JobId, &'static str);

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/v1/jobs/{}{}", self.0.as_str(), self.1)
    }
}

impl Serialize for Url<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'a> Urls<'a> {
    /// Gives the addresses of a job.
    pub fn of(job: &'a JobId) -> Self {
        Self {
            itself: Url(job, ""),
            events: Url(job, "/events"),
            cancel: Url(job, "/cancel"),
            retry: Url(job, "/retry"),
        }
    }

    /// Gives the job's own address.
    pub fn to_self(&self) -> String {
        self.itself.to_string()
    }
}

/// A moment in epoch milliseconds, written as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(pub u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{at:.3}")
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'a> JobView<'a> {
    /// Makes the view of a job that has just been accepted, for a submit to fill in.
    pub fn new(id: &'a JobId) -> Self {
        Self {
            id,
            object: "job",
            v: 1,
            status: State::Queued,
            model: "",
            priority: Priority::default(),
            queue_position: None,
            estimated_wait_ms: None,
            progress: None,
            preview: None,
            attempt_count: 0,
            retry_count: 0,
            created_at: At(0),
            started_at: None,
            finished_at: None,
            expires_at: None,
            retry_at: None,
            cancel_requested: false,
            input: RawValue::NULL,
            frames: &[],
            missing: &[],
            cached: false,
            error: None,
            fallback: None,
            urls: Urls::of(id),
            timings: None,
            usage: None,
            metadata: RawValue::NULL,
        }
    }
}

impl<'a> From<&'a JobRow> for JobView<'a> {
    fn from(row: &'a JobRow) -> Self {
        let job = &row.job;
        let error = (job.state == State::Failed).then(|| {
            let code = job.error_code.unwrap_or(ErrorCode::Unknown);
            JobError {
                code,
                message: job.error_message.as_deref().unwrap_or_default(),
                failure_stage: job.failure_stage,
                retryable: code.is_retryable(),
                provider: job.provider.as_deref(),
                provider_status: job.error_origin.status,
                provider_code: job.error_origin.code.as_deref(),
                provider_request_id: job.error_origin.request_id.as_deref(),
            }
        });
        Self {
            id: &job.id,
            object: "job",
            v: job.v,
            status: job.state,
            model: &job.model,
            priority: job.priority,
            queue_position: row.ahead,
            estimated_wait_ms: row.wait_ms,
            progress: job.progress.as_ref(),
            preview: job.preview.as_ref(),
            attempt_count: job.attempt_count,
            retry_count: job.retry_count,
            created_at: At(job.created_at),
            started_at: job.started_at.map(At),
            finished_at: job.finished_at.map(At),
            expires_at: job.expires_at.map(At),
            retry_at: job.retry_at.map(At),
            cancel_requested: job.cancel_requested.is_some(),
            input: raw(&job.input),
            frames: &job.artifacts,
            missing: &job.missing,
            cached: job.cached,
            error,
            fallback: row.fallback.as_ref(),
            urls: Urls::of(&job.id),
            timings: job.timings,
            usage: Some(&job.usage).filter(|usage| !usage.is_empty()),
            metadata: raw(&job.metadata),
        }
    }
}

/// Takes stored JSON text as it is; null if a foreign hand has broken it.
fn raw(text: &str) -> &RawValue {
    serde_json::from_str(text).unwrap_or(RawValue::NULL)
}

/// Renders a row as a value, for those who put it into something larger.
pub fn render(row: &JobRow) -> serde_json::Value {
    serde_json::to_value(JobView::from(row))
        .unwrap_or_else(|error| unreachable!("our types are JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_always_has_three_decimals() {
        assert_eq!(At(1_795_322_908_000).to_string(), "2026-11-22T04:48:28.000Z");
        assert_eq!(At(7).to_string(), "1970-01-01T00:00:00.007Z");
        assert_eq!(At(u64::MAX).to_string(), "9999-12-30T22:00:00.999Z");
    }
}
