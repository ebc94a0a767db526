//! Shelves: what a session has had made ahead of its needs, until it says that it has seen it.
//!
//! Progressive loading asks again and again for some frames of one request. Each call is handed what
//! is ready on the request's shelf and has jobs queued for the rest, with a place on the shelf. A
//! frame stays there until it is named as seen, so an answer that got lost loses nothing; and a call
//! submits only if nothing was put there since it looked, so that two calls at once never order what
//! one of them would have.

use super::codec::{self, JobRow, Reply};
use super::{Store, StoreError};
use crate::domain::{Artifact, Fallback, JobId, SessionId};

/// Which shelf: the session's own, for one request.
#[derive(Debug, Clone, Copy)]
pub struct ShelfName<'a> {
    /// Whose it is.
    pub session: &'a SessionId,
    /// What is asked for.
    pub digest: &'a str,
}

/// A job's place on its session's shelf.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The digest of the request.
    pub digest: &'a str,
    /// Jobs that were put there before it; with another number it is not accepted.
    pub made: u64,
}

/// What is on a shelf.
#[derive(Debug, Clone, PartialEq)]
pub struct Shelf {
    /// Jobs that were ever put there.
    pub made: u64,
    /// Frames to hand out, the oldest first, each with its job.
    pub frames: Vec<(JobId, Artifact)>,
    /// Jobs on their way, the oldest first.
    pub jobs: Vec<JobRow>,
    /// What to show while there is no frame.
    pub fallback: Fallback,
}

impl Store {
    /// Reads a shelf, from which what was `seen` is taken first; `model` and `catalogue` are for the
    /// fallback.
    ///
    /// Called again, it answers the same, but for what has ended in between.
    pub async fn shelf(
        &self,
        shelf: ShelfName<'_>,
        (model, catalogue): (&str, bool),
        seen: &[JobId],
    ) -> Result<Shelf, StoreError> {
        let lifetime = self.shared.queue.retention.as_millis().to_string();
        let catalogue = if catalogue { "1" } else { "" };
        let session = shelf.session;
        let mut arguments = vec![session.as_str(), shelf.digest, model, catalogue, &lifetime];
        arguments.extend(seen.iter().map(JobId::as_str));
        Shelf::parse(self.run(&self.shared.scripts.next, session.cell(), &arguments).await?)
    }
}

impl Shelf {
    fn parse(reply: Reply) -> Result<Self, StoreError> {
        let list = reply.list()?;
        let [made, kind, url, ready, rows]: [Reply; 5] =
            list.try_into().map_err(|list: Vec<Reply>| StoreError::Garbled(format!("{list:?}")))?;
        let mut frames = Vec::new();
        for pair in ready.into_words()?.chunks(2) {
            let [job, artifacts] = pair else {
                return Err(StoreError::Garbled(format!("{pair:?} in place of frames")));
            };
            let job = codec::job_id(job)?;
            let its: Vec<Artifact> = serde_json::from_str(artifacts)
                .map_err(|error| StoreError::Garbled(format!("frames of {job}: {error}")))?;
            frames.extend(its.into_iter().map(|frame| (job.clone(), frame)));
        }
        Ok(Self {
            made: codec::number(&made.text()?)?,
            frames,
            jobs: JobRow::parse_all(rows)?.into_iter().flatten().collect(),
            fallback: codec::fallback(&kind.text()?, &url.text()?)?,
        })
    }
}
