//! Dead letters: failed jobs that are kept for an operator. Nothing retries them by itself.
//!
//! A letter is a place in `dead`; what it tells is the job's own record, which may expire first.
//! Letters are bounded by count (`dead_max`, the newest stay) and by age (the retention), both kept
//! by whatever fails a job (`finish_failed` in the prelude). Invariant: nothing here touches a job
//! that has not failed; the scripts look at the state in the step that changes it.

use std::collections::{BTreeMap, HashMap};

use super::codec::{Purged, Retried};
use super::{Store, StoreError, keys};
use crate::domain::{Cell, ErrorCode, JobId, State};

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The job.
    pub job: JobId,
    /// Epoch milliseconds.
    pub failed_at: u64,
    /// What its record tells; `None` when the record has expired.
    pub record: Option<LetterRecord>,
}

/// What an operator wants to know of a failed job at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterRecord {
    /// Whose it is.
    pub session: String,
    /// What would have to change for it to succeed.
    pub code: ErrorCode,
    /// What its user was told.
    pub message: String,
    /// What only an operator may read.
    pub detail: String,
    /// Attempts that executed.
    pub attempts: u32,
    /// The state it failed in.
    pub stage: String,
}

/// A job as an operator asks for it by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It has failed; its record's fields.
    Failed(BTreeMap<String, String>),
    /// It is none of the dead.
    NotFailed(State),
    /// There is no such job.
    Missing,
}

/// Fields of a letter's record, in the order of [`LetterRecord::from_fields`].
const FIELDS: [&str; 7] = [
    "state",
    "session",
    "error_code",
    "error_message",
    "error_detail",
    "attempt_count",
    "failure_stage",
];

impl LetterRecord {
    /// Reads the fields of [`FIELDS`]; `None` unless the job is (still) a failed one.
    fn from_fields(fields: [Option<String>; 7]) -> Option<Self> {
        let [state, session, code, message, detail, attempts, stage] =
            fields.map(Option::unwrap_or_default);
        (state == State::Failed.as_str()).then(|| Self {
            session,
            code: ErrorCode::from_word(&code),
            message,
            detail,
            attempts: attempts.parse().unwrap_or_default(),
            stage,
        })
    }
}

impl Store {
    /// Lists the dead letters of a cell, the newest first, at most `limit`.
    pub async fn dead_letters(&self, cell: Cell, limit: u32) -> Result<Vec<Letter>, StoreError> {
        let mut range = redis::cmd("ZREVRANGE");
        range.arg(keys::root(cell) + "dead").arg(0);
        range.arg(i64::from(limit) - 1).arg("WITHSCORES");
        let places: Vec<(String, f64)> = self.command(cell, &range).await?;
        // What is no job's id was put there by hand; the doctor tells of it.
        let jobs: Vec<(JobId, f64)> =
            places.into_iter().filter_map(|(id, at)| Some((id.parse().ok()?, at))).collect();
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for (job, _) in &jobs {
            pipeline.cmd("HMGET").arg(keys::job(job)).arg(&FIELDS);
        }
        let records: Vec<[Option<String>; 7]> = self.pipeline(cell, &pipeline).await?;
        let letters = jobs.into_iter().zip(records);
        Ok(letters
            .map(|((job, at), fields)| Letter {
                job,
                // Whole milliseconds; a float holds them exactly.
                failed_at: at as u64,
                record: LetterRecord::from_fields(fields),
            })
            .collect())
    }

    /// Reads a failed job whole, for an operator: with its input and the operator's detail.
    pub async fn dead_letter(&self, job: &JobId) -> Result<Shown, StoreError> {
        let fields: HashMap<String, String> =
            self.command(job.cell(), redis::cmd("HGETALL").arg(keys::job(job))).await?;
        let Some(state) = fields.get("state") else {
            return Ok(Shown::Missing);
        };
        match State::from_word(state) {
            Some(State::Failed) => Ok(Shown::Failed(fields.into_iter().collect())),
            Some(state) => Ok(Shown::NotFailed(state)),
            None => Err(StoreError::Garbled(format!("{state:?} in place of a state"))),
        }
    }

    /// Queues a failed job again; unlike [`Store::retry`], never one that was cancelled.
    ///
    /// Called twice, it answers `Refused(Queued)` the second time.
    pub async fn retry_dead(&self, job: &JobId) -> Result<Retried, StoreError> {
        let attempts = self.shared.queue.attempts.to_string();
        let arguments = [job.as_str(), &*attempts, State::Failed.as_str()];
        Retried::parse(self.run(&self.shared.scripts.retry, job.cell(), &arguments).await?)
    }

    /// Forgets a failed job that failed at least `age` ago: its letter, its record, its place in the
    /// session's list, and its idempotency key. Its blobs go at their own time.
    ///
    /// Called twice, it answers `Missing` the second time.
    pub async fn purge_dead(
        &self,
        job: &JobId,
        age: std::time::Duration,
    ) -> Result<Purged, StoreError> {
        let age_ms = age.as_millis().to_string();
        let arguments = [job.as_str(), &*age_ms];
        Purged::parse(self.run(&self.shared.scripts.purge, job.cell(), &arguments).await?)
    }
}
