//! One method per transition; each runs the script of its name.
//!
//! Comes in: submissions from the gateway, settlements from workers. Goes out: the script's answer
//! as an enum. Nothing here decides: rules are in the scripts, words in the codec.
//! Repetition: every method may be called again after [`StoreError::Unavailable`]. `submit` needs an
//! idempotency key for that (the gateway always makes one); `claim` answers `Gone` the second time,
//! and the lease of the first passes unused; the others answer as the first call did, or `Lost`.

use std::time::Duration;

use super::codec::{
    self, Cancel, Claim, Completed, Deleted, Failed, JobRow, Noted, Released, Renewal, Reply,
    Retried, Submitted,
};
use super::shelf::Place;
use super::{Store, StoreError, keys};
use crate::domain::{
    Artifact, CatalogueId, Cell, Failure, Fallback, Fence, JobId, Missing, Pool, Preview, Priority,
    Progress, SessionId, State, Tenant, Usage, WorkerId,
};

/// How long a session's list of jobs outlives its last submission, in seconds.
const JOBS_LIST_S: u32 = 7 * 24 * 3600;

/// A job to be accepted. All text is stored as given.
#[derive(Debug, Clone)]
pub struct Submission<'a> {
    /// Its name, in the session's cell.
    pub id: &'a JobId,
    /// Whose it is.
    pub session: &'a SessionId,
    /// Who answers for the session; the public when `None`.
    pub tenant: Option<&'a Tenant>,
    /// Where it may run.
    pub pool: &'a Pool,
    /// The model the user named.
    pub model: &'a str,
    /// Its class.
    pub priority: Priority,
    /// What is to be drawn, as JSON.
    pub input: &'a str,
    /// The user's notes, as a JSON object.
    pub metadata: &'a str,
    /// Longest wait for a start; for ever when `None`.
    pub start_within: Option<Duration>,
    /// Whether its frames may stand in for those of other sessions, and theirs for its own.
    pub catalogue: bool,
    /// Its place on a shelf of its session, where it is made ahead.
    pub shelf: Option<Place<'a>>,
    /// Key under which the same request is accepted once, and the request's digest.
    pub idempotency: Option<(&'a str, &'a str)>,
    /// What all that ask for the very same have in common; it shares with nobody when `None`.
    pub fingerprint: Option<&'a str>,
}

/// What an attempt has made of its job.
#[derive(Debug, Clone)]
pub struct Made<'a> {
    /// Those that are stored, in order of their index; at least one.
    pub frames: &'a [Artifact],
    /// Whether the last of them has been announced, as all others have.
    pub announced: bool,
    /// Those that could not be made, in order of their index.
    pub missing: &'a [Missing],
    /// The name under which the last was published, where it was.
    pub published: Option<&'a CatalogueId>,
    /// Time in the provider.
    pub generate: Duration,
    /// Time storing the last.
    pub upload: Duration,
}

/// A lease, as every write of a running attempt names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Proves which claim of it.
    pub fence: Fence,
}

pub(super) fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl Store {
    /// Accepts a job; with `redis.replicas`, when as many replicas have it.
    ///
    /// Errors: `Unavailable` also when too few have it in time; the job may exist all the same.
    pub async fn submit(&self, new: &Submission<'_>) -> Result<Submitted, StoreError> {
        let options = &self.shared.queue;
        let (key, digest) = new.idempotency.unwrap_or_default();
        let [attempts, queue_max, session_max, listed_max] =
            [options.attempts, options.queue_max, options.session_max, options.listed_max]
                .map(|number| number.to_string());
        let (start_within, idempotency) =
            (new.start_within.map(ms).unwrap_or_default(), ms(options.idempotency));
        let listed_s = JOBS_LIST_S.to_string();
        let mut arguments = vec![
            new.id.as_str(),
            new.session.as_str(),
            new.pool.as_str(),
            new.model,
            new.priority.as_str(),
            new.input,
            if new.metadata == "{}" { "" } else { new.metadata },
            &attempts,
            &start_within,
            key,
            digest,
            &idempotency,
            &queue_max,
            &session_max,
            &listed_max,
            &listed_s,
            new.tenant.filter(|its| **its != Tenant::public()).map_or("", Tenant::as_str),
            if new.catalogue { "1" } else { "" },
            new.fingerprint.unwrap_or_default(),
        ];
        // Whoever makes nothing ahead sends nothing more.
        let place = new.shelf.map(|its| (its.digest, its.made.to_string(), ms(options.retention)));
        if let Some((digest, made, lifetime)) = &place {
            arguments.extend([*digest, made, lifetime]);
        }
        let submit = &self.shared.scripts.submit;
        let (reply, kept) = self.run_kept(submit, new.session.cell(), &arguments).await?;
        // It is there, and may be forgotten in a fail-over: what was not promised can't be broken.
        kept.map_err(|error| StoreError::Unavailable(error.into()))?;
        Submitted::parse(reply)
    }

    /// Reads what `submit` would answer to a key that it has seen; `None` where it has not, or not
    /// yet. `catalogue` as in [`Submission::catalogue`].
    ///
    /// Errors: as of `submit`; with `redis.replicas` the job that is found is on them.
    pub async fn submitted_under(
        &self,
        session: &SessionId,
        (key, digest): (&str, &str),
        (model, catalogue): (&str, bool),
    ) -> Result<Option<Submitted>, StoreError> {
        let publishes = if catalogue { "1" } else { "" };
        let arguments = [session.as_str(), key, digest, model, publishes];
        let seen = &self.shared.scripts.seen;
        let (reply, kept) = self.run_kept(seen, session.cell(), &arguments).await?;
        let answer = Submitted::parse_seen(reply)?;
        match (&answer, kept) {
            (Some(_), Err(error)) => Err(StoreError::Unavailable(error.into())),
            _ => Ok(answer),
        }
    }

    /// Claims a job that was popped from the window.
    pub async fn claim(
        &self,
        job: &JobId,
        worker: &WorkerId,
        provider: &str,
    ) -> Result<Claim, StoreError> {
        let lease_ms = ms(self.shared.queue.lease);
        let arguments = [job.as_str(), worker.as_str(), &lease_ms, provider];
        Claim::parse(self.run(&self.shared.scripts.claim, job.cell(), &arguments).await?)
    }

    /// Extends leases, all of one cell; answers in the order asked.
    pub async fn renew(&self, cell: Cell, leases: &[Lease]) -> Result<Vec<Renewal>, StoreError> {
        let mut arguments = vec![ms(self.shared.queue.lease), ms(self.shared.queue.attempt_max)];
        for lease in leases {
            arguments.extend([lease.job.to_string(), lease.fence.to_string()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Renewal::parse_all(self.run(&self.shared.scripts.renew, cell, &arguments).await?)
    }

    /// Moves a running attempt to `generating` or `uploading`.
    pub async fn advance(&self, lease: &Lease, stage: State) -> Result<Noted, StoreError> {
        Noted::parse(self.fenced(&self.shared.scripts.advance, lease, &[stage.as_str()]).await?)
    }

    /// Notes and publishes how far a running attempt is.
    pub async fn progress(&self, lease: &Lease, now: &Progress) -> Result<Noted, StoreError> {
        Noted::parse(self.fenced(&self.shared.scripts.progress, lease, &[&json(now)]).await?)
    }

    /// Tells of a preview whose bytes are stored.
    pub async fn announce_preview(
        &self,
        lease: &Lease,
        preview: &Preview,
    ) -> Result<Noted, StoreError> {
        let preview = json(preview);
        let arguments = ["preview", "preview", &preview, &preview];
        Noted::parse(self.fenced(&self.shared.scripts.announce, lease, &arguments).await?)
    }

    /// Tells of the newest of the frames stored so far.
    ///
    /// `frames` holds all of this attempt, in order of their index; the last is the new one.
    pub async fn announce_frame(
        &self,
        lease: &Lease,
        frames: &[Artifact],
    ) -> Result<Noted, StoreError> {
        let (all, newest) = (json(frames), frame_event(frames)?);
        let arguments = ["frame-ready", "artifacts", &*all, &*newest];
        Noted::parse(self.fenced(&self.shared.scripts.announce, lease, &arguments).await?)
    }

    /// Keeps the provider's handle of the running generation; see [`Store::complete`] for replicas.
    pub async fn checkpoint(&self, lease: &Lease, handle: &str) -> Result<Noted, StoreError> {
        Noted::parse(self.paid(&self.shared.scripts.checkpoint, lease, &[handle]).await?)
    }

    /// Keeps what the provider says that the running attempt has used.
    pub async fn usage(&self, lease: &Lease, usage: &Usage) -> Result<Noted, StoreError> {
        Noted::parse(self.fenced(&self.shared.scripts.usage, lease, &[&json(usage)]).await?)
    }

    /// Ends a job whose frames are all stored; all but the last are announced. See
    /// [`Store::complete_with`].
    pub async fn complete(
        &self,
        lease: &Lease,
        frames: &[Artifact],
        generate: Duration,
        upload: Duration,
    ) -> Result<Completed, StoreError> {
        let (missing, published) = (&[][..], None);
        let made = Made { frames, announced: false, missing, published, generate, upload };
        self.complete_with(lease, &made).await
    }

    /// Ends a job with the frames that could be made, and tells of the last one if that is left to
    /// be told.
    ///
    /// With `redis.replicas` it waits for them, because a fail-over that forgets it has the frames
    /// drawn and paid for again; but too few of them are only a warning: it has happened.
    pub async fn complete_with(
        &self,
        lease: &Lease,
        made: &Made<'_>,
    ) -> Result<Completed, StoreError> {
        let [generate, upload] = [made.generate, made.upload].map(ms);
        let retention = ms(self.shared.queue.retention);
        let (all, missing) = (json(made.frames), json(made.missing));
        let last = if made.announced { String::new() } else { frame_event(made.frames)? };
        let url = made.frames.last().map_or("", |frame| &frame.url);
        let published = made.published.map(CatalogueId::url).unwrap_or_default();
        let arguments =
            [&*generate, &*upload, &*retention, &*all, &*last, url, &*missing, &*published];
        Completed::parse(self.paid(&self.shared.scripts.complete, lease, &arguments).await?)
    }

    /// Ends a failed attempt; another follows after `delay`, none if it is `None`.
    pub async fn fail(
        &self,
        lease: &Lease,
        failure: &Failure,
        delay: Option<Duration>,
    ) -> Result<Failed, StoreError> {
        let options = &self.shared.queue;
        let arguments = [
            &*delay.map(ms).unwrap_or_default(),
            failure.code.as_str(),
            &failure.message,
            &failure.detail,
            &ms(options.retention),
            &options.dead_max.to_string(),
            &json(&failure.origin),
        ];
        Failed::parse(self.fenced(&self.shared.scripts.fail, lease, &arguments).await?)
    }

    /// Hands a running job back without burning its attempt.
    pub async fn release(&self, lease: &Lease) -> Result<Released, StoreError> {
        let retention = ms(self.shared.queue.retention);
        Released::parse(self.fenced(&self.shared.scripts.release, lease, &[&retention]).await?)
    }

    /// Cancels a job on behalf of `by` (`user` or `operator`; `disconnect` is the gateways' own).
    pub async fn cancel(&self, job: &JobId, by: &str) -> Result<Cancel, StoreError> {
        let retention = ms(self.shared.queue.retention);
        let arguments = [job.as_str(), by, "", &retention];
        Cancel::parse(self.run(&self.shared.scripts.cancel, job.cell(), &arguments).await?)
    }

    /// Says that a worker has stopped an attempt because it was told to.
    pub async fn cancelled_by_worker(&self, lease: &Lease) -> Result<Cancel, StoreError> {
        let retention = ms(self.shared.queue.retention);
        let fence = lease.fence.to_string();
        let arguments = [lease.job.as_str(), "user", &fence, &retention];
        Cancel::parse(self.run(&self.shared.scripts.cancel, lease.job.cell(), &arguments).await?)
    }

    /// Queues a failed or cancelled job again.
    pub async fn retry(&self, job: &JobId) -> Result<Retried, StoreError> {
        let attempts = self.shared.queue.attempts.to_string();
        let arguments = [job.as_str(), &*attempts];
        Retried::parse(self.run(&self.shared.scripts.retry, job.cell(), &arguments).await?)
    }

    /// Forgets a job of this session that has ended: its record, its place in the list, its key.
    ///
    /// Called twice, it answers `Missing` the second time. Its blobs are the caller's to remove,
    /// afterwards: nothing refers to them then.
    pub async fn delete(&self, job: &JobId, session: &SessionId) -> Result<Deleted, StoreError> {
        let arguments = [job.as_str(), session.as_str()];
        Deleted::parse(self.run(&self.shared.scripts.delete, job.cell(), &arguments).await?)
    }

    /// Reads what to show a session in place of a frame of this model; `catalogue` as in
    /// [`Submission::catalogue`].
    pub async fn fallback(
        &self,
        session: &SessionId,
        model: &str,
        catalogue: bool,
    ) -> Result<Fallback, StoreError> {
        let arguments = [session.as_str(), model, if catalogue { "1" } else { "" }];
        let reply = self.run(&self.shared.scripts.fallback, session.cell(), &arguments).await?;
        codec::fallback_alone(reply)
    }

    /// Reads one job with its place in the queue.
    pub async fn job(&self, job: &JobId) -> Result<Option<JobRow>, StoreError> {
        Ok(self.show(job.cell(), &[job.as_str()]).await?.pop().flatten())
    }

    /// Reads the owner of a job alone.
    pub async fn owner(&self, job: &JobId) -> Result<Option<SessionId>, StoreError> {
        let owner: Option<String> =
            self.command(job.cell(), redis::cmd("HGET").arg(keys::job(job)).arg("session")).await?;
        owner
            .map(|text| text.parse().map_err(|error| StoreError::Garbled(format!("{error}"))))
            .transpose()
    }

    /// Lists a session's jobs, newest first, `limit` of them after `after`.
    ///
    /// A job that is gone ends the page's search there; `None` as the second part means no more.
    pub async fn jobs(
        &self,
        session: &SessionId,
        after: Option<&JobId>,
        limit: u32,
    ) -> Result<(Vec<JobRow>, Option<JobId>), StoreError> {
        let key = keys::jobs(session);
        let start: i64 = match after {
            None => 0,
            Some(job) => {
                let place: Option<i64> = self
                    .command(session.cell(), redis::cmd("LPOS").arg(&key).arg(job.as_str()))
                    .await?;
                place.map_or(0, |place| place + 1)
            }
        };
        let stop = start + i64::from(limit);
        let ids: Vec<String> = self
            .command(session.cell(), redis::cmd("LRANGE").arg(&key).arg(start).arg(stop))
            .await?;
        let page: Vec<&str> = ids.iter().take(limit as usize).map(String::as_str).collect();
        let next = (ids.len() > page.len()).then(|| page.last().and_then(|id| id.parse().ok()));
        let rows = self.show(session.cell(), &page).await?;
        Ok((rows.into_iter().flatten().collect(), next.flatten()))
    }

    async fn show(&self, cell: Cell, ids: &[&str]) -> Result<Vec<Option<JobRow>>, StoreError> {
        JobRow::parse_all(self.run(&self.shared.scripts.show, cell, ids).await?)
    }

    /// Runs a script as [`Store::fenced`] does, and waits for replicas, as far as there are any.
    async fn paid(
        &self,
        script: &redis::Script,
        lease: &Lease,
        rest: &[&str],
    ) -> Result<Reply, StoreError> {
        let fence = lease.fence.to_string();
        let arguments = [&[lease.job.as_str(), &*fence], rest].concat();
        let (reply, kept) = self.run_kept(script, lease.job.cell(), &arguments).await?;
        if let Err(error) = kept {
            tracing::warn!(job = %lease.job, "a fail-over now may have it drawn again: {error}");
        }
        Ok(reply)
    }

    /// Runs a script whose first arguments are a job and its fence.
    async fn fenced(
        &self,
        script: &redis::Script,
        lease: &Lease,
        rest: &[&str],
    ) -> Result<Reply, StoreError> {
        let fence = lease.fence.to_string();
        let arguments = [&[lease.job.as_str(), &*fence], rest].concat();
        self.run(script, lease.job.cell(), &arguments).await
    }
}

/// Writes one of our own types, which have no part that JSON can't say.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("our types are JSON: {error}"))
}

/// Writes the event that tells of the newest of these frames.
fn frame_event(frames: &[Artifact]) -> Result<String, StoreError> {
    frames.last().map(event_of).ok_or_else(|| StoreError::Garbled("no frame".into()))
}

/// Writes the event that tells of a frame.
pub(super) fn event_of(frame: &Artifact) -> String {
    format!(r#"{{"index":{},"frame":{}}}"#, frame.index, json(frame))
}
