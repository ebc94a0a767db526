//! The job: its states, the one table of transitions, and how it is stored.
//!
//! [`TRANSITIONS`] is the whole state machine. Each Lua script states its edges in its header and
//! executes them; the model test drives this table and the real scripts with the same random
//! commands and compares. A pair that is not in the table does not happen: the script answers with
//! the state it found, and nothing is written.

use std::collections::HashMap;

use super::artifact::{Artifact, Missing, Preview};
use super::failure::{ErrorCode, Origin};
use super::id::{IdError, JobId, Pool, SessionId};
use super::lease::Fence;
use super::priority::Priority;
use super::usage::Usage;

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits: in line, admitted to the window, or delayed after a failed attempt.
    Queued,
    /// A worker has claimed it and prepares the call.
    Processing,
    /// The provider works on it.
    Generating,
    /// Its frames are being checked and stored.
    Uploading,
    /// Its frames are stored, all or those that could be made.
    Completed,
    /// It failed for good.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Processing,
        Self::Generating,
        Self::Uploading,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Gives the word used in Redis and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Generating => "generating",
            Self::Uploading => "uploading",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the word used in Redis and JSON.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Tells whether nothing but a retry asked for by somebody leads out of it.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Tells whether a worker holds a lease on it.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Processing | Self::Generating | Self::Uploading)
    }
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// A worker takes it from the window.
    Claim,
    /// Its worker calls the provider.
    Generate,
    /// Its worker stores the frames.
    Upload,
    /// Its worker has stored them all, or those that could be made.
    Complete,
    /// The frames that another job has drawn are its own now.
    Fulfil,
    /// Its attempt failed and another will follow.
    FailForNow,
    /// Its attempt failed and none will follow.
    FailForGood,
    /// Its worker hands it back at a drain.
    Release,
    /// Its lease passed without renewal.
    Lapse,
    /// Its lease passed once too often.
    LapseForGood,
    /// Its start-by deadline passed.
    Expire,
    /// It was cancelled, at once or by the worker that was told to.
    Cancel,
    /// A user or an operator wants it tried again.
    Retry,
}

/// One row of the transition table.
#[derive(Debug, Clone, Copy)]
pub struct Transition {
    /// What happens.
    pub verb: Verb,
    /// In which states it may.
    pub from: &'static [State],
    /// Where it leads.
    pub to: State,
}

const RUNNING: &[State] = &[State::Processing, State::Generating, State::Uploading];

/// The whole state machine. Submit is not a row: it makes the job, in [`State::Queued`].
pub const TRANSITIONS: [Transition; 13] = [
    row(Verb::Claim, &[State::Queued], State::Processing),
    row(Verb::Generate, &[State::Processing], State::Generating),
    row(Verb::Upload, &[State::Generating], State::Uploading),
    row(Verb::Complete, &[State::Uploading], State::Completed),
    row(Verb::Fulfil, &[State::Queued], State::Completed),
    row(Verb::FailForNow, RUNNING, State::Queued),
    row(Verb::FailForGood, RUNNING, State::Failed),
    row(Verb::Release, RUNNING, State::Queued),
    row(Verb::Lapse, RUNNING, State::Queued),
    row(Verb::LapseForGood, RUNNING, State::Failed),
    row(Verb::Expire, &[State::Queued], State::Failed),
    row(
        Verb::Cancel,
        &[State::Queued, State::Processing, State::Generating, State::Uploading],
        State::Cancelled,
    ),
    row(Verb::Retry, &[State::Failed, State::Cancelled], State::Queued),
];

const fn row(verb: Verb, from: &'static [State], to: State) -> Transition {
    Transition { verb, from, to }
}

/// Gives the state that `verb` leads to, or `None` where the table has no such edge.
pub fn after(state: State, verb: Verb) -> Option<State> {
    TRANSITIONS.iter().find(|row| row.verb == verb && row.from.contains(&state)).map(|row| row.to)
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// The state it tells of: `processing`, `generating` or `uploading`.
    pub stage: State,
    /// Steps done, of all frames together.
    pub step: u32,
    /// Steps to do; 0 where the provider does not say.
    pub steps: u32,
    /// 0 to 1 over the whole attempt.
    pub fraction: f64,
    /// Expected time to the end of the attempt, where it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<u64>,
}

/// Where a completed job's time went, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timings {
    /// From submission to the last claim.
    pub queue_ms: u64,
    /// Inside the provider's call.
    pub generate_ms: u64,
    /// Checking and storing.
    pub upload_ms: u64,
    /// From submission to completion.
    pub total_ms: u64,
}

/// A job as it is stored in `job:<id>`, read back into types.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Whose it is.
    pub session: SessionId,
    /// Where it may run.
    pub pool: Pool,
    /// The model the user named.
    pub model: String,
    /// Its class.
    pub priority: Priority,
    /// Where it is in its life.
    pub state: State,
    /// Rises with each durable change.
    pub v: u64,
    /// What is to be drawn: the JSON text that was accepted.
    pub input: String,
    /// The user's own notes: JSON text, `{}` when there are none.
    pub metadata: String,
    /// Fence of the last claim; 0 before the first.
    pub fence: Fence,
    /// Attempts that executed.
    pub attempt_count: u32,
    /// Last attempt allowed.
    pub attempt_limit: u32,
    /// Retries asked for by somebody.
    pub retry_count: u32,
    /// Workers that died on it.
    pub losses: u32,
    /// Provider of the last attempt.
    pub provider: Option<String>,
    /// The provider's own handle of the running generation.
    pub checkpoint: Option<String>,
    /// Who wants it cancelled, while a worker has yet to hear of it.
    pub cancel_requested: Option<String>,
    /// The newest progress of the running attempt.
    pub progress: Option<Progress>,
    /// The newest preview of the running attempt.
    pub preview: Option<Preview>,
    /// Frames stored so far by the attempt that counts.
    pub artifacts: Vec<Artifact>,
    /// Frames that it was completed without.
    pub missing: Vec<Missing>,
    /// Whether its frames are copies of another job's.
    pub cached: bool,
    /// State in which it failed.
    pub failure_stage: Option<State>,
    /// Why it failed.
    pub error_code: Option<ErrorCode>,
    /// Why, for the user.
    pub error_message: Option<String>,
    /// The provider's own words about that.
    pub error_origin: Origin,
    /// What its attempts have used, as far as providers told.
    pub usage: Usage,
    /// Where its time went.
    pub timings: Option<Timings>,
    /// Epoch milliseconds of the submission.
    pub created_at: u64,
    /// Epoch milliseconds of the last claim.
    pub started_at: Option<u64>,
    /// Epoch milliseconds of the terminal state.
    pub finished_at: Option<u64>,
    /// Epoch milliseconds when the record and its frames go.
    pub expires_at: Option<u64>,
    /// Epoch milliseconds before which a delayed job does not start.
    pub retry_at: Option<u64>,
    /// Epoch milliseconds by which it must have started.
    pub run_by: Option<u64>,
}

/// Says which field of a stored job can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field} of a stored job is missing or malformed")]
pub struct JobFieldError {
    /// The field's name in the hash.
    pub field: &'static str,
}

impl From<IdError> for JobFieldError {
    fn from(_: IdError) -> Self {
        Self { field: "id" }
    }
}

impl Job {
    /// Reads the hash `job:<id>`.
    pub fn from_fields(fields: &HashMap<String, String>) -> Result<Self, JobFieldError> {
        let text = |field: &'static str| {
            fields.get(field).map(String::as_str).ok_or(JobFieldError { field })
        };
        let maybe = |field: &str| fields.get(field).filter(|text| !text.is_empty()).cloned();
        let json_faulty = |field: &'static str| move |_| JobFieldError { field };
        Ok(Self {
            id: text("id")?.parse()?,
            session: text("session")?.parse()?,
            pool: text("pool")?.parse()?,
            model: text("model")?.to_owned(),
            priority: Priority::from_word(text("priority")?)
                .ok_or(JobFieldError { field: "priority" })?,
            state: State::from_word(text("state")?).ok_or(JobFieldError { field: "state" })?,
            v: number(fields, "v")?.unwrap_or_default(),
            input: text("input")?.to_owned(),
            metadata: maybe("metadata").unwrap_or_else(|| "{}".to_owned()),
            fence: Fence(number(fields, "fence")?.unwrap_or_default()),
            attempt_count: number(fields, "attempt_count")?.unwrap_or_default(),
            attempt_limit: number(fields, "attempt_limit")?.unwrap_or_default(),
            retry_count: number(fields, "retry_count")?.unwrap_or_default(),
            losses: number(fields, "losses")?.unwrap_or_default(),
            provider: maybe("provider"),
            checkpoint: maybe("checkpoint"),
            cancel_requested: maybe("cancel_requested"),
            progress: json(fields, "progress").map_err(json_faulty("progress"))?,
            preview: json(fields, "preview").map_err(json_faulty("preview"))?,
            artifacts: json::<Vec<Artifact>>(fields, "artifacts")
                .map_err(json_faulty("artifacts"))?
                .unwrap_or_default(),
            missing: json::<Vec<Missing>>(fields, "missing")
                .map_err(json_faulty("missing"))?
                .unwrap_or_default(),
            cached: maybe("cached").is_some(),
            failure_stage: maybe("failure_stage").as_deref().and_then(State::from_word),
            error_code: maybe("error_code").as_deref().map(ErrorCode::from_word),
            error_message: maybe("error_message"),
            error_origin: json(fields, "error_origin")
                .map_err(json_faulty("error_origin"))?
                .unwrap_or_default(),
            usage: used(fields)?,
            timings: json(fields, "timings").map_err(json_faulty("timings"))?,
            created_at: number(fields, "created_at")?
                .ok_or(JobFieldError { field: "created_at" })?,
            started_at: number(fields, "started_at")?,
            finished_at: number(fields, "finished_at")?,
            expires_at: number(fields, "expires_at")?,
            retry_at: number(fields, "retry_at")?,
            run_by: number(fields, "run_by")?,
        })
    }
}

/// Adds up what each attempt that told has used.
fn used(fields: &HashMap<String, String>) -> Result<Usage, JobFieldError> {
    let mut all = Usage::default();
    for text in fields.iter().filter(|(name, _)| name.starts_with("usage:")).map(|(_, text)| text) {
        let one = serde_json::from_str(text).map_err(|_| JobFieldError { field: "usage" })?;
        all.add(&one);
    }
    Ok(all)
}

fn number<T: std::str::FromStr>(
    fields: &HashMap<String, String>,
    field: &'static str,
) -> Result<Option<T>, JobFieldError> {
    match fields.get(field).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| JobFieldError { field }),
    }
}

fn json<T: serde::de::DeserializeOwned>(
    fields: &HashMap<String, String>,
    field: &str,
) -> Result<Option<T>, serde_json::Error> {
    fields
        .get(field)
        .filter(|text| !text.is_empty())
        .map(|text| serde_json::from_str(text))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_completed_and_only_a_retry_leaves_the_other_ends() {
        for row in TRANSITIONS {
            assert!(!row.from.contains(&State::Completed), "{:?} leaves completed", row.verb);
            let leaves_an_end = row.from.iter().any(|state| state.is_terminal());
            assert_eq!(leaves_an_end, row.verb == Verb::Retry);
        }
    }

    #[test]
    fn every_running_state_can_be_left_by_loss_failure_and_cancel() {
        for state in RUNNING.iter().copied() {
            for verb in [Verb::Lapse, Verb::LapseForGood, Verb::FailForNow, Verb::Release] {
                assert!(after(state, verb).is_some(), "{verb:?} in {state:?}");
            }
            assert_eq!(after(state, Verb::Cancel), Some(State::Cancelled));
        }
    }

    #[test]
    fn a_state_is_reached_only_by_its_own_way() {
        assert_eq!(after(State::Queued, Verb::Claim), Some(State::Processing));
        assert_eq!(after(State::Processing, Verb::Claim), None);
        assert_eq!(after(State::Generating, Verb::Complete), None);
        assert_eq!(after(State::Completed, Verb::Retry), None);
        assert_eq!(after(State::Queued, Verb::Complete), None);
    }

    #[test]
    fn a_stored_job_with_a_broken_field_is_named() {
        let fields = HashMap::from([("id".to_owned(), "nonsense".to_owned())]);
        assert_eq!(Job::from_fields(&fields), Err(JobFieldError { field: "id" }));
    }
}
