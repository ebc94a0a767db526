//! What a stream is of: a session, or one job. Both walk the session's chain; they differ in what
//! they read when they join, and in what they show of what they hear.
//!
//! A **session's** stream replays the events after its position, or says `reset`. A **job's** stream
//! has nothing to replay: it begins with a snapshot of the job, and after every gap comes a new one.
//! Its ids are the job's own versions, so that a link to one job tells nothing of how much else the
//! session does; and whatever version its reader comes back with, a snapshot is right.

use bytes::Bytes;
use framewire_shared::domain::{Cursor, JobId, SessionId};
use framewire_shared::store::{Store, StoreError};
use tokio::time::Instant;

use super::buffer::Told;
use super::chain::{Asked, Chain, Verdict, classify};
use super::frame::{self, Cause, Mode, RETRY_MS, Sync};
use super::schedule::Schedule;
use super::{LiveOptions, Render};

/// What a stream is of.
#[derive(Debug)]
pub enum View {
    /// All events of a session.
    Session {
        /// The position the reader came with.
        asked: Asked,
        /// How its events are written.
        form: Form,
    },
    /// One job.
    Job {
        /// Which.
        job: JobId,
        /// Shows it.
        render: Render,
        /// The version shown last.
        v: Option<u64>,
    },
}

/// How a session's events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For a stream: with `sync`, `ping` and `bye` around them.
    Frames,
    /// For a poll: as JSON, and nothing else.
    Objects,
}

/// What a join has found.
pub struct Joined {
    /// The position after the frames.
    pub chain: Chain,
    /// What the reader has missed, in order.
    pub frames: Vec<Bytes>,
    /// Whether nothing will follow.
    pub done: bool,
    /// How the stream goes on; `None` for a job's, which begins with its snapshot.
    pub course: Option<Course>,
}

/// How a stream goes on from the position that was asked for.
pub struct Course {
    /// In which of the three ways.
    pub mode: Mode,
    /// Why it is a reset.
    pub cause: Option<Cause>,
    at: Cursor,
    head: Cursor,
}

impl Joined {
    /// Gives the word for how the stream goes on; `None` for a job's.
    pub fn mode(&self) -> Option<&'static str> {
        self.course.as_ref().map(|course| course.mode.word())
    }

    /// Makes the `sync` frame, where the reader has to be told: at first, and when it is reset.
    pub fn opening(
        &self,
        first: bool,
        options: &LiveOptions,
        schedule: &Schedule,
        now: Instant,
    ) -> Option<Bytes> {
        let course = self.course.as_ref()?;
        if !first && course.mode == Mode::Resumed {
            return None;
        }
        let ms = |duration: std::time::Duration| duration.as_millis() as u64;
        let sync = Sync {
            mode: course.mode,
            cause: course.cause,
            at: course.at.to_string(),
            head: course.head.to_string(),
            replay: self.frames.len(),
            ping_ms: ms(options.ping),
            max_age_ms: ms(schedule.age_left(now)),
        };
        Some(frame::sync(&sync, rand::random_range(RETRY_MS)))
    }
}

/// What a reader is shown of an event.
pub enum Shown {
    /// This.
    Frame(Bytes),
    /// This, and nothing after it.
    Last(Bytes),
    /// Nothing: it is of another job, or older than what was shown.
    Nothing,
}

impl View {
    /// Makes the view of a session.
    pub fn session(asked: Asked, form: Form) -> Self {
        Self::Session { asked, form }
    }

    /// Tells whether a request wants what there is, and not a stream.
    pub fn is_polled(&self) -> bool {
        matches!(self, Self::Session { form: Form::Objects, .. })
    }

    /// Makes the view of a job.
    pub fn job(job: JobId, render: Render) -> Self {
        Self::Job { job, render, v: None }
    }

    /// Reads what there is after the last position; `None` if there is no such job any more.
    pub async fn join(
        &mut self,
        store: &Store,
        session: &SessionId,
        last: Option<&Cursor>,
    ) -> Result<Option<Joined>, StoreError> {
        match self {
            Self::Session { asked, form } => {
                if let Some(last) = last {
                    *asked = Asked::After(last.clone());
                }
                replay(store, session, asked, *form).await.map(Some)
            }
            Self::Job { job, render, v } => {
                // The position first: the job as read after it reflects at least all before it.
                let head = store.replay(session, None).await?.head;
                let Some(row) = store.job(job).await? else {
                    return Ok(None);
                };
                let news = v.replace(row.job.v) != Some(row.job.v);
                let snapshot = || frame::snapshot(row.job.v, &render(&row), retry_ms());
                Ok(Some(Joined {
                    chain: Chain::at(head),
                    frames: news.then(snapshot).into_iter().collect(),
                    done: row.job.state.is_terminal(),
                    course: None,
                }))
            }
        }
    }

    /// Shows an event that is next in the chain, or has no place in it.
    pub fn show(&mut self, told: &Told) -> Shown {
        let (job, shown) = match self {
            Self::Session { form: Form::Frames, .. } => return Shown::Frame(told.frame.clone()),
            Self::Session { form: Form::Objects, .. } => {
                let id = told.place.as_ref().map(|place| place.at.to_string());
                let kind = told.kind.as_str();
                return Shown::Frame(frame::object(id.as_deref(), kind, &told.data));
            }
            Self::Job { job, v, .. } => (job, v),
        };
        if told.job != job.as_str() {
            return Shown::Nothing;
        }
        if told.place.is_none() {
            return Shown::Frame(told.frame.clone());
        }
        // The snapshot may have been read after this event.
        let Some(v) = told.v().filter(|v| shown.is_none_or(|shown| *v > shown)) else {
            return Shown::Nothing;
        };
        *shown = Some(v);
        let frame = frame::event(Some(&v.to_string()), told.kind.as_str(), &told.data);
        if told.kind.is_terminal() { Shown::Last(frame) } else { Shown::Frame(frame) }
    }

    /// Gives the position that a reader would come back with.
    pub fn position(&self, chain: &Chain) -> String {
        match self {
            Self::Session { .. } => chain.last().to_string(),
            Self::Job { v, .. } => v.unwrap_or_default().to_string(),
        }
    }
}

/// Reads a session's events after a position, and decides what can be made of it.
async fn replay(
    store: &Store,
    session: &SessionId,
    asked: &Asked,
    form: Form,
) -> Result<Joined, StoreError> {
    let replay = store.replay(session, asked.cursor()).await?;
    let (mode, cause, events) = match classify(asked, &replay) {
        Verdict::Fresh => (Mode::Fresh, None, Vec::new()),
        Verdict::Reset(cause) => (Mode::Reset, Some(cause), Vec::new()),
        Verdict::Resumed(events) => (Mode::Resumed, None, events),
    };
    let at = match asked.cursor() {
        Some(cursor) if mode == Mode::Resumed => cursor.clone(),
        _ => replay.head.clone(),
    };
    let mut chain = Chain::at(at.clone());
    let mut frames = Vec::with_capacity(events.len());
    for event in events {
        let Some(place) = &event.place else {
            continue;
        };
        chain.advance(place);
        let id = place.at.to_string();
        let write = if form == Form::Frames { frame::event } else { frame::object };
        frames.push(write(Some(&id), event.kind.as_str(), event.data));
    }
    let head = replay.head;
    Ok(Joined { chain, frames, done: false, course: Some(Course { mode, cause, at, head }) })
}

fn retry_ms() -> u64 {
    rand::random_range(RETRY_MS)
}
