//! Who in this process reads which session of a cell, and what of it waits for whom.
//!
//! Comes in: readers that take a seat and leave it; from the tail, texts of events and what Redis
//! has acknowledged. Goes out: to each reader, its buffered events and a wake-up; to the tail, which
//! sessions to subscribe to and which no more. The tail asks for that work in batches: the hub holds
//! what is *wanted*, not a queue of commands, so it is bounded by the number of sessions.
//!
//! A session's subscription carries the **generation** of the connection that acknowledged it, 0 for
//! none. A reader that joined under another generation may have missed something and joins again.
//! Invariant: `Seat` gives everything back when it is dropped, whatever became of the stream.
//! The lock is never held across an await, and pushing to a reader never waits for it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use framewire_shared::domain::{Event, EventKind, SessionId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::buffer::{Dropped, Told};
use super::desertion::Present;
use super::frame::Bye;
use super::reader::Reader;
use crate::metrics::Metrics;

/// Sessions in one request to Redis.
const BATCH_MAX: usize = 512;

/// What a seat is for; each purpose has its own limit per session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A stream of events.
    Stream,
    /// A request for events that waits for the next; counted with the streams.
    Poll,
    /// A request that waits for a job's end.
    Wait,
}

/// Bounds of the hub.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Seats of one session and purpose; beyond it `bye limit`.
    pub per_session_max: usize,
    /// Seats that all hubs of the process share; when none is left `bye overloaded`.
    pub seats: Arc<Semaphore>,
    /// How long a session stays subscribed after its last reader, so that a reload costs nothing.
    pub linger: Duration,
}

/// What the tail has to do.
#[derive(Debug, Default)]
pub struct Work {
    /// Sessions to subscribe to.
    pub subscribe: Vec<SessionId>,
    /// Sessions to leave.
    pub unsubscribe: Vec<SessionId>,
    /// When there may be more, if nobody wakes the tail before.
    pub again_at: Option<Instant>,
}

/// Sessions and their readers.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    registry: Mutex<Registry>,
    work: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Registry {
    sessions: HashMap<SessionId, Session>,
    /// Not yet asked of Redis; all of them have readers.
    wanted: HashSet<SessionId>,
    /// Without readers since then, oldest first; may name sessions that have readers again.
    idle: VecDeque<(Instant, SessionId)>,
    /// Sessions that may have queued jobs; an answer to the contrary counts if asked after then.
    waiting: HashMap<SessionId, Instant>,
}

#[derive(Debug, Default)]
struct Session {
    readers: Vec<(Purpose, Arc<Reader>)>,
    generation: u64,
    idle_since: Option<Instant>,
    /// Whether a stream was opened, and whether somebody polled, since the last look at who is there.
    was_opened: bool,
    was_polled: bool,
}

/// A reader's place in the hub; dropping it gives the place back.
#[derive(Debug)]
pub struct Seat {
    hub: Arc<Hub>,
    session: SessionId,
    reader: Arc<Reader>,
    _seat: OwnedSemaphorePermit,
}

impl Seat {
    /// Names the session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Gives what waits for the reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(&self.session, &self.reader);
    }
}

impl Hub {
    /// Makes an empty one.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limits, registry: Mutex::default(), work: Notify::new(), metrics })
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing in here panics halfway through a change; and a stream is no reason to stop others.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat; from now on events are buffered for it, once the session is subscribed.
    ///
    /// Errors: the limit that is reached. The newcomer is refused, never the oldest thrown out:
    /// that would start a war of reconnections.
    pub fn sit(self: &Arc<Self>, session: &SessionId, purpose: Purpose) -> Result<Seat, Bye> {
        let seat = self.limits.seats.clone().try_acquire_owned().map_err(|_| Bye::Overloaded)?;
        let mut registry = self.registry();
        let new = !registry.sessions.contains_key(session);
        let entry = registry.sessions.entry(session.clone()).or_default();
        let is_wait = |purpose| purpose == Purpose::Wait;
        let same = entry.readers.iter().filter(|(other, _)| is_wait(*other) == is_wait(purpose));
        if same.count() >= self.limits.per_session_max {
            return Err(Bye::Limit);
        }
        let reader = Arc::new(Reader::new(entry.generation));
        entry.readers.push((purpose, reader.clone()));
        entry.idle_since = None;
        entry.was_opened |= purpose == Purpose::Stream;
        entry.was_polled |= purpose == Purpose::Poll;
        registry.waiting.insert(session.clone(), Instant::now());
        if new {
            registry.wanted.insert(session.clone());
            self.work.notify_one();
        }
        Ok(Seat { hub: self.clone(), session: session.clone(), reader, _seat: seat })
    }

    fn leave(&self, session: &SessionId, reader: &Arc<Reader>) {
        let mut registry = self.registry();
        let now = Instant::now();
        let Some(entry) = registry.sessions.get_mut(session) else {
            return;
        };
        entry.readers.retain(|(_, other)| !Arc::ptr_eq(other, reader));
        if entry.readers.is_empty() {
            entry.idle_since = Some(now);
            registry.waiting.remove(session);
            if registry.wanted.remove(session) {
                // Never asked for: there is nothing to keep, and in an outage nobody to tidy up.
                registry.sessions.remove(session);
            } else {
                registry.idle.push_back((now, session.clone()));
                self.work.notify_one();
            }
        }
    }

    /// Hands an event's text to all readers of its session.
    pub fn deliver(&self, session: &SessionId, text: &str) {
        let mut registry = self.registry();
        let Some(entry) = registry.sessions.get(session) else {
            return;
        };
        let Some(event) = Event::parse(text) else {
            // The next one will not follow, so its readers read again; nothing is lost by it.
            tracing::warn!(%session, text, "heard something that is no event of this version");
            return;
        };
        if entry.readers.is_empty() {
            return;
        }
        let told = Arc::new(Told::new(event));
        for (_, reader) in &entry.readers {
            let Dropped { coalesced, full } = reader.push(&told);
            self.metrics.dropped(coalesced, full);
        }
        if told.kind == EventKind::Queued {
            let stands_at = Instant::now() + told.delay();
            let known = registry.waiting.entry(session.clone()).or_insert(stands_at);
            *known = stands_at.max(*known);
        }
    }

    /// Waits until there may be work for the tail.
    pub async fn work_to_do(&self) {
        self.work.notified().await;
    }

    /// Takes work for the tail, at most one batch of each.
    pub fn take_work(&self, now: Instant) -> Work {
        let mut registry = self.registry();
        let mut work = Work {
            subscribe: registry.wanted.iter().take(BATCH_MAX).cloned().collect(),
            ..Work::default()
        };
        for session in &work.subscribe {
            registry.wanted.remove(session);
        }
        while work.unsubscribe.len() < BATCH_MAX
            && let Some((since, session)) = registry.idle.front().cloned()
        {
            if since + self.limits.linger > now {
                work.again_at = Some(since + self.limits.linger);
                break;
            }
            registry.idle.pop_front();
            let entry = registry.sessions.get(&session);
            // Out of the registry first: a reader that comes now wants it anew, and the tail, which
            // does one thing after the other, subscribes after it has unsubscribed.
            if entry.is_some_and(|entry| entry.idle_since == Some(since)) {
                registry.sessions.remove(&session);
                work.unsubscribe.push(session);
            }
        }
        work
    }

    /// Notes what Redis has acknowledged on the connection of this generation.
    pub fn acknowledge(&self, generation: u64, sessions: &[SessionId]) {
        let mut registry = self.registry();
        for session in sessions {
            if let Some(entry) = registry.sessions.get_mut(session) {
                entry.generation = generation;
                for (_, reader) in &entry.readers {
                    reader.subscribed(generation);
                }
            }
        }
    }

    /// Notes that the connection is gone: nothing is subscribed, everything with readers is wanted.
    pub fn lose(&self) {
        let mut registry = self.registry();
        registry.idle.clear();
        registry.sessions.retain(|_, entry| !entry.readers.is_empty());
        for entry in registry.sessions.values_mut() {
            entry.generation = 0;
            for (_, reader) in &entry.readers {
                reader.subscribed(0);
            }
        }
        let now = Instant::now();
        registry.wanted = registry.sessions.keys().cloned().collect();
        registry.waiting = registry.wanted.iter().map(|session| (session.clone(), now)).collect();
    }

    /// Lists the sessions that may have queued jobs, and readers.
    pub fn waiting(&self) -> Vec<SessionId> {
        self.registry().waiting.keys().cloned().collect()
    }

    /// Notes that a session had no queued jobs when Redis was asked at this moment.
    pub fn nothing_waits(&self, session: &SessionId, asked_at: Instant) {
        let mut registry = self.registry();
        if registry.waiting.get(session).is_some_and(|since| *since < asked_at) {
            registry.waiting.remove(session);
        }
    }

    /// Lists the sessions that are read, or were since the last call.
    pub fn present(&self) -> Present {
        let mut present = Present::default();
        for (session, entry) in &mut self.registry().sessions {
            let has = |wanted| entry.readers.iter().any(|(purpose, _)| *purpose == wanted);
            let (streams, polls) = (has(Purpose::Stream), has(Purpose::Poll));
            if std::mem::take(&mut entry.was_opened) | streams {
                present.streamed.push(session.clone());
            } else if std::mem::take(&mut entry.was_polled) | polls {
                present.polled.push(session.clone());
            }
        }
        present
    }

    /// Counts the seats of a purpose.
    pub fn seated(&self, purpose: Purpose) -> usize {
        let registry = self.registry();
        let readers = registry.sessions.values().flat_map(|session| &session.readers);
        readers.filter(|(its, _)| *its == purpose).count()
    }

    /// Counts the sessions that are subscribed or wanted.
    pub fn sessions(&self) -> usize {
        self.registry().sessions.len()
    }
}
