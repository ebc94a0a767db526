//! Words of a script's reply into one enum per script. Pure: no Redis is needed to test it.
//!
//! Each enum's doc names its script; the words are in the script's header. A reply that does not
//! fit is [`StoreError::Garbled`] with the reply in it: it means that two versions of Framewire
//! share a Redis, and guessing would lose a job.

use std::collections::HashMap;
use std::time::Duration;

use super::StoreError;
use crate::domain::{Artifact, Cursor, Fallback, Fence, Job, JobId, State};

/// What a script answered: text, or lists of such. Numbers are kept as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A word or a number.
    Text(String),
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    pub(super) fn from_value(value: redis::Value) -> Result<Self, StoreError> {
        use redis::Value;
        Ok(match value {
            Value::Int(number) => Self::Text(number.to_string()),
            Value::BulkString(bytes) => Self::Text(
                String::from_utf8(bytes)
                    .map_err(|_| StoreError::Garbled("a reply is not UTF-8".into()))?,
            ),
            Value::SimpleString(text) => Self::Text(text),
            Value::Nil => Self::List(Vec::new()),
            Value::Array(values) => {
                Self::List(values.into_iter().map(Self::from_value).collect::<Result<_, _>>()?)
            }
            Value::ServerError(error) => return Err(redis::RedisError::from(error).into()),
            other => return Err(StoreError::Garbled(format!("{other:?}"))),
        })
    }

    /// Makes a flat reply, as most scripts give; for tests.
    #[cfg(test)]
    fn words(words: &[&str]) -> Self {
        Self::List(words.iter().map(|word| Self::Text((*word).to_owned())).collect())
    }

    pub(super) fn list(self) -> Result<Vec<Self>, StoreError> {
        match self {
            Self::List(list) => Ok(list),
            Self::Text(text) => Err(StoreError::Garbled(format!("{text:?} in place of a list"))),
        }
    }

    pub(super) fn text(self) -> Result<String, StoreError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::List(list) => Err(StoreError::Garbled(format!("{list:?} in place of a word"))),
        }
    }

    pub(super) fn into_words(self) -> Result<Vec<String>, StoreError> {
        self.list()?.into_iter().map(Self::text).collect()
    }
}

/// Matches a flat reply's words, and says what did not fit.
macro_rules! match_words {
    ($reply:expr, { $($pattern:pat => $result:expr),+ $(,)? }) => {{
        let words = $reply.into_words()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            $($pattern => $result,)+
            other => return Err(StoreError::Garbled(format!("{other:?}"))),
        }
    }};
}

pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Garbled(format!("{text:?} in place of a number")))
}

/// Reads a number that may be unknown (`null` or empty).
pub(super) fn maybe(text: &str) -> Result<Option<u64>, StoreError> {
    if text.is_empty() || text == "null" { Ok(None) } else { number(text).map(Some) }
}

pub(super) fn fallback(kind: &str, url: &str) -> Result<Fallback, StoreError> {
    Fallback::from_words(kind, url)
        .ok_or_else(|| StoreError::Garbled(format!("{kind:?} {url:?} in place of a fallback")))
}

pub(super) fn job_id(text: &str) -> Result<JobId, StoreError> {
    text.parse().map_err(|error| StoreError::Garbled(format!("{error}")))
}

/// Reads the state a script found; `missing` is `None`.
fn found(text: &str) -> Result<Option<State>, StoreError> {
    match text {
        "missing" => Ok(None),
        word => State::from_word(word)
            .map(Some)
            .ok_or_else(|| StoreError::Garbled(format!("{word:?} in place of a state"))),
    }
}

/// Answers of `submit.lua`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The job is in the queue.
    Accepted {
        /// Epoch milliseconds.
        created_at: u64,
        /// Jobs ahead, 0-based.
        ahead: u64,
        /// `None` while nobody could run it or nothing is known.
        wait_ms: Option<u64>,
        /// What to show until it has a frame.
        fallback: Fallback,
    },
    /// The job is accepted, and another has drawn its frames: they are to be copied at once.
    Hit {
        /// Proves whose copies count.
        fence: Fence,
        /// Who has drawn them.
        leader: JobId,
        /// What it has drawn.
        frames: Vec<Artifact>,
    },
    /// The same request was accepted before under this key.
    Replayed(JobId),
    /// Another request was accepted before under this key.
    KeyReused(JobId, Fallback),
    /// Another job was put on its shelf since that was read.
    ShelfMoved,
    /// The session has as many unfinished jobs as it may.
    SessionFull(Full),
    /// The pool has as many waiting jobs as it may.
    QueueFull(Full),
}

/// Why there is no room for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// Jobs that are there already.
    pub jobs: u64,
    /// When a place should come free; `None` while nothing runs or nothing is known.
    pub room_ms: Option<u64>,
    /// What to show instead.
    pub fallback: Fallback,
}

impl Full {
    fn parse(words: &[&str]) -> Result<Self, StoreError> {
        let &[jobs, room, kind, url] = words else {
            return Err(StoreError::Garbled(format!("{words:?} in place of why it is full")));
        };
        let fallback = fallback(kind, url)?;
        Ok(Self { jobs: number(jobs)?, room_ms: maybe(room)?, fallback })
    }
}

impl Submitted {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["accepted", at, ahead, wait, kind, url] => Self::Accepted {
                created_at: number(at)?, ahead: number(ahead)?, wait_ms: maybe(wait)?,
                fallback: fallback(kind, url)?,
            },
            ["hit", fence, leader, frames] => Self::Hit {
                fence: Fence(number(fence)?), leader: job_id(leader)?,
                frames: super::share::frames_of(frames)?,
            },
            ["replayed", job] => Self::Replayed(job_id(job)?),
            ["key_reused", job, kind, url] => Self::KeyReused(job_id(job)?, fallback(kind, url)?),
            ["shelf_moved"] => Self::ShelfMoved,
            ["session_full", full @ ..] => Self::SessionFull(Full::parse(full)?),
            ["queue_full", full @ ..] => Self::QueueFull(Full::parse(full)?),
        }))
    }

    /// Reads the answer of `seen.lua`.
    pub(super) fn parse_seen(reply: Reply) -> Result<Option<Self>, StoreError> {
        Ok(match_words!(reply, {
            ["unseen"] => None,
            ["replayed", job] => Some(Self::Replayed(job_id(job)?)),
            ["key_reused", job, kind, url] => {
                Some(Self::KeyReused(job_id(job)?, fallback(kind, url)?))
            },
        }))
    }
}

/// Answers of `claim.lua`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The job is ours until the lease passes.
    Claimed(Claimed),
    /// Somebody else has it, or it was withdrawn; `None` if there is no such job.
    Gone(Option<State>),
}

/// What a worker needs to know of a job it has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Proves this lease.
    pub fence: Fence,
    /// Ordinal of this attempt.
    pub attempt: u32,
    /// Last attempt allowed.
    pub attempt_limit: u32,
    /// The model the user named.
    pub model: String,
    /// The input as JSON text.
    pub input: String,
    /// The provider's handle from an attempt whose worker was lost.
    pub checkpoint: Option<String>,
}

impl Claim {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["claimed", fence, attempt, limit, model, input, checkpoint] => Self::Claimed(Claimed {
                fence: Fence(number(fence)?),
                attempt: number(attempt)?,
                attempt_limit: number(limit)?,
                model: (*model).to_owned(),
                input: (*input).to_owned(),
                checkpoint: (!checkpoint.is_empty()).then(|| (*checkpoint).to_owned()),
            }),
            ["gone", state] => Self::Gone(found(state)?),
        }))
    }
}

/// Answers of `renew.lua`, one per job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease holds on.
    Renewed,
    /// The lease holds on, but somebody wants the job cancelled.
    Cancel,
    /// The attempt runs longer than any may; its lease is left to pass.
    Overtime,
    /// The job is not ours any more.
    Lost,
}

impl Renewal {
    pub(super) fn parse_all(reply: Reply) -> Result<Vec<Self>, StoreError> {
        let word = |word: String| match word.as_str() {
            "renewed" => Ok(Self::Renewed),
            "cancel" => Ok(Self::Cancel),
            "overtime" => Ok(Self::Overtime),
            "lost" => Ok(Self::Lost),
            other => Err(StoreError::Garbled(format!("{other:?} in place of a verdict"))),
        };
        reply.into_words()?.into_iter().map(word).collect()
    }
}

/// Answers of `advance.lua`, `progress.lua`, `announce.lua`, `checkpoint.lua` and `usage.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It is written.
    Noted,
    /// Somebody wants the job cancelled: stop, then say so with `cancelled_by_worker`.
    Cancel,
    /// The job is not ours any more: stop and write nothing. `None` if there is no such job.
    Lost(Option<State>),
    /// The table has no such edge from this state.
    Refused(State),
}

impl Noted {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["noted" | "advanced"] => Self::Noted,
            ["cancel"] => Self::Cancel,
            ["lost", state] => Self::Lost(found(state)?),
            ["refused", state] => Self::Refused(refused(state)?),
        }))
    }
}

fn refused(text: &str) -> Result<State, StoreError> {
    found(text)?.ok_or_else(|| StoreError::Garbled("refused by a missing job".into()))
}

/// Answers of `complete.lua` and `fulfil.lua`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// The job is completed, now or by an earlier call of the same fence.
    Completed,
    /// It is, and others with this fingerprint wait for its frames.
    Followed(String),
    /// The job is not ours any more: nothing was recorded.
    Lost(Option<State>),
    /// The job is not in `uploading`.
    Refused(State),
}

impl Completed {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["completed" | "already"] => Self::Completed,
            ["completed", fingerprint] => Self::Followed((*fingerprint).to_owned()),
            ["lost", state] => Self::Lost(found(state)?),
            ["refused", state] => Self::Refused(refused(state)?),
        }))
    }
}

/// Answers of `fail.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// Another attempt follows at this moment (epoch milliseconds).
    Retrying(u64),
    /// It failed for good.
    Failed,
    /// Somebody wanted it cancelled, so it is.
    Cancelled,
    /// The job is not ours any more: nothing was recorded.
    Lost(Option<State>),
}

impl Failed {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["retrying", at] => Self::Retrying(number(at)?),
            ["failed"] => Self::Failed,
            ["cancelled"] => Self::Cancelled,
            ["lost", state] => Self::Lost(found(state)?),
        }))
    }
}

/// Answers of `release.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It waits at its old place.
    Released,
    /// Somebody wanted it cancelled, so it is.
    Cancelled,
    /// The job is not ours any more.
    Lost(Option<State>),
}

impl Released {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["released"] => Self::Released,
            ["cancelled"] => Self::Cancelled,
            ["lost", state] => Self::Lost(found(state)?),
        }))
    }
}

/// Answers of `cancel.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It is cancelled.
    Cancelled,
    /// It runs; its worker will hear of it within one renewal.
    Cancelling,
    /// It had ended before.
    Ended(State),
    /// The worker that says so does not own it.
    Lost(State),
    /// There is no such job.
    Missing,
}

impl Cancel {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["cancelled"] => Self::Cancelled,
            ["cancelling"] => Self::Cancelling,
            ["ended", state] => Self::Ended(refused(state)?),
            ["lost", state] => Self::Lost(refused(state)?),
            ["missing"] => Self::Missing,
        }))
    }
}

/// Answers of `retry.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It waits again, for the n-th time that somebody asked.
    Queued(u32),
    /// Only a failed or cancelled job can be retried.
    Refused(State),
    /// There is no such job.
    Missing,
}

impl Retried {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["queued", count] => Self::Queued(number(count)?),
            ["refused", state] => Self::Refused(refused(state)?),
            ["missing"] => Self::Missing,
        }))
    }
}

/// Answers of `purge.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// Its letter and its record are gone.
    Purged,
    /// It failed too recently, at these epoch milliseconds.
    Younger(u64),
    /// Only a failed job can be purged.
    Refused(State),
    /// There is neither a letter nor a record.
    Missing,
}

impl Purged {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["purged"] => Self::Purged,
            ["younger", failed_at] => Self::Younger(number(failed_at)?),
            ["refused", state] => Self::Refused(refused(state)?),
            ["missing"] => Self::Missing,
        }))
    }
}

/// Answers of `delete.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing leads to it any more.
    Deleted,
    /// Only a job that has ended can be deleted.
    Refused(State),
    /// There is no such job of this session.
    Missing,
}

impl Deleted {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["deleted"] => Self::Deleted,
            ["refused", state] => Self::Refused(refused(state)?),
            ["missing"] => Self::Missing,
        }))
    }
}

/// Answers of `sweep.lua`: what one pass has mended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Retries whose delay was over.
    pub due: u32,
    /// Leases that had passed.
    pub lapsed: u32,
    /// Jobs that nobody started in time.
    pub expired: u32,
    /// Popped, never claimed, offered again.
    pub offered_again: u32,
    /// Workers not heard of any more.
    pub workers_gone: u32,
    /// Jobs among those that failed for good.
    pub dead: Vec<(JobId, Died)>,
}

/// Why a sweep ended a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Died {
    /// Too many workers in a row were lost while working on it.
    WorkersLost,
    /// Nobody started it in time.
    NotStarted,
}

impl Died {
    /// Gives the word used in replies and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkersLost => "workers_lost",
            Self::NotStarted => "not_started",
        }
    }

    fn parse(pair: &[&str]) -> Result<(JobId, Self), StoreError> {
        match pair {
            [job, "workers_lost"] => Ok((job_id(job)?, Self::WorkersLost)),
            [job, "not_started"] => Ok((job_id(job)?, Self::NotStarted)),
            other => Err(StoreError::Garbled(format!("{other:?} in place of a dead letter"))),
        }
    }
}

impl Swept {
    /// Reads the reply; `None` if another worker has just swept.
    pub(super) fn parse(reply: Reply) -> Result<Option<Self>, StoreError> {
        Ok(match_words!(reply, {
            ["throttled"] => None,
            ["swept", due, lapsed, expired, offered, gone, dead @ ..] => Some(Self {
                due: number(due)?,
                lapsed: number(lapsed)?,
                expired: number(expired)?,
                offered_again: number(offered)?,
                workers_gone: number(gone)?,
                dead: dead.chunks(2).map(Died::parse).collect::<Result<_, _>>()?,
            }),
        }))
    }
}

/// Reads the answer of `heartbeat.lua`: the pool's capacity in slots.
pub(super) fn capacity(reply: Reply) -> Result<u32, StoreError> {
    Ok(match_words!(reply, { ["counted", slots] => number(slots)? }))
}

/// Reads the answer of `fallback.lua`.
pub(super) fn fallback_alone(reply: Reply) -> Result<Fallback, StoreError> {
    Ok(match_words!(reply, { [kind, url] => fallback(kind, url)? }))
}

/// Reads the answer of `closed.lua`: how long all providers of a pool are closed off, if they are.
pub(super) fn closed(reply: Reply) -> Result<Option<Duration>, StoreError> {
    Ok(match_words!(reply, {
        ["open"] => None,
        ["closed", ms] => Some(Duration::from_millis(number(ms)?)),
    }))
}

/// Answers of `guard_load.lua` and `guard_swap.lua`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GuardReply {
    /// It is like this, now.
    Found {
        /// Epoch milliseconds.
        now: u64,
        /// Rises with each change; 0 if there is none yet.
        version: u64,
        /// As JSON; empty if there is none yet.
        state: String,
    },
    /// It is replaced.
    Swapped,
}

impl GuardReply {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        Ok(match_words!(reply, {
            ["guard" | "changed", now, version, state] => Self::Found {
                now: number(now)?, version: number(version)?, state: (*state).to_owned(),
            },
            ["swapped"] => Self::Swapped,
        }))
    }
}

/// A job with its place in the queue, as `show.lua` and `snapshot.lua` read it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// The job.
    pub job: Job,
    /// Jobs ahead, 0-based; `None` unless it stands in a line.
    pub ahead: Option<u64>,
    /// Expected wait; `None` if it does not wait or nothing is known.
    pub wait_ms: Option<u64>,
    /// What to show instead of a frame; `None` if it has any.
    pub fallback: Option<Fallback>,
}

impl JobRow {
    /// Reads one row; `None` where there was no job.
    fn parse(reply: Reply) -> Result<Option<Self>, StoreError> {
        let mut words = reply.into_words()?.into_iter();
        let mut next = || words.next();
        let (Some(ahead), Some(wait), Some(kind), Some(url)) = (next(), next(), next(), next())
        else {
            return Ok(None);
        };
        let mut fields = HashMap::new();
        while let (Some(field), Some(value)) = (words.next(), words.next()) {
            fields.insert(field, value);
        }
        let job =
            Job::from_fields(&fields).map_err(|error| StoreError::Garbled(error.to_string()))?;
        let fallback = (!kind.is_empty()).then(|| fallback(&kind, &url)).transpose()?;
        Ok(Some(Self { job, ahead: maybe(&ahead)?, wait_ms: maybe(&wait)?, fallback }))
    }

    pub(super) fn parse_all(reply: Reply) -> Result<Vec<Option<Self>>, StoreError> {
        reply.list()?.into_iter().map(Self::parse).collect()
    }
}

/// A session's position and its unfinished jobs, read in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Position of the newest event that the jobs reflect.
    pub head: Cursor,
    /// Unfinished jobs, newest first.
    pub jobs: Vec<JobRow>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

impl Snapshot {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        let list = reply.list()?;
        let [n, nonce, more, rows]: [Reply; 4] =
            list.try_into().map_err(|list: Vec<Reply>| StoreError::Garbled(format!("{list:?}")))?;
        Ok(Self {
            head: Cursor { n: number(&n.text()?)?, nonce: nonce.text()? },
            more: more.text()? == "1",
            jobs: JobRow::parse_all(rows)?.into_iter().flatten().collect(),
        })
    }
}

/// A session's position and what came after a cursor, read in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Position of the newest event.
    pub head: Cursor,
    /// Texts of the events after the cursor, oldest first; see [`crate::domain::Event`].
    pub events: Vec<String>,
}

impl Replay {
    pub(super) fn parse(reply: Reply) -> Result<Self, StoreError> {
        let list = reply.list()?;
        let [n, nonce, events]: [Reply; 3] =
            list.try_into().map_err(|list: Vec<Reply>| StoreError::Garbled(format!("{list:?}")))?;
        Ok(Self {
            head: Cursor { n: number(&n.text()?)?, nonce: nonce.text()? },
            events: events.into_words()?,
        })
    }
}

/// Where a queued job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which job.
    pub job: String,
    /// Its version.
    pub v: u64,
    /// Jobs ahead, 0-based.
    pub ahead: u64,
    /// Expected wait; `None` if nothing is known.
    pub wait_ms: Option<u64>,
}

impl Position {
    pub(super) fn parse_all(reply: Reply) -> Result<Vec<Self>, StoreError> {
        let words = reply.into_words()?;
        let place = |four: &[String]| match four {
            [job, v, ahead, wait] => Ok(Self {
                job: job.clone(),
                v: number(v)?,
                ahead: number(ahead)?,
                wait_ms: maybe(wait)?,
            }),
            other => Err(StoreError::Garbled(format!("{other:?}"))),
        };
        words.chunks(4).map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fallback::SHIPPED_PATH;

    #[test]
    fn replies_become_enums_by_their_words() {
        let words = ["accepted", "1795322908931", "3", "null", "static", SHIPPED_PATH];
        let expected = Submitted::Accepted {
            created_at: 1_795_322_908_931,
            ahead: 3,
            wait_ms: None,
            fallback: Fallback::shipped(),
        };
        assert_eq!(Submitted::parse(Reply::words(&words)).unwrap(), expected);
        assert_eq!(
            Noted::parse(Reply::words(&["lost", "queued"])).unwrap(),
            Noted::Lost(Some(State::Queued))
        );
        assert_eq!(Noted::parse(Reply::words(&["lost", "missing"])).unwrap(), Noted::Lost(None));
        assert_eq!(Completed::parse(Reply::words(&["already"])).unwrap(), Completed::Completed);
        assert_eq!(Swept::parse(Reply::words(&["throttled"])).unwrap(), None);
        assert_eq!(
            Renewal::parse_all(Reply::words(&["renewed", "lost"])).unwrap(),
            [Renewal::Renewed, Renewal::Lost]
        );
    }

    #[test]
    fn a_reply_of_another_version_is_an_error_and_not_a_guess() {
        for words in [&["accepted"][..], &["claimed", "1"], &[], &["done"]] {
            let reply = Reply::words(words);
            assert!(matches!(Submitted::parse(reply.clone()), Err(StoreError::Garbled(_))));
            assert!(matches!(Claim::parse(reply.clone()), Err(StoreError::Garbled(_))));
            assert!(matches!(Failed::parse(reply), Err(StoreError::Garbled(_))));
        }
    }
}
