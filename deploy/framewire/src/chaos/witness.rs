//! Sees everything that happens in Redis, from a thread of its own.
//!
//! Every few milliseconds it reads, in one atomic step: which jobs run or may run, how many of each
//! session, and each session's new events. So it has the whole log of every stream (the lists keep
//! only the newest 256), and it can tell that a cap was passed or history was rewritten. After each
//! sweep it looks whether a job still waits whose start deadline had passed by then. It counts jobs
//! by themselves and not by the sets that the scripts keep for counting. It speaks to Redis
//! directly, past all proxies, and not through `shared::store` (see `wire`).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framewire_shared::domain::Event;
use serde_json::Value;

use super::wire::{Answer, Wire};

/// Jobs of one session that may run at a time; the default of `queue.session_cap`.
pub(super) const SESSION_CAP: i64 = 2;
/// Time between two looks.
const EVERY: Duration = Duration::from_millis(4);
/// Examples kept of each kind of violation.
const EXAMPLES: usize = 50;

/// Reads the load and, per session given with the position that is known, what is new.
const LOOK: &str = "
local root, load, running = 'fw:{c0}:', 0, {}
for _, key in ipairs({'lease:default', 'out:default'}) do
  for _, id in ipairs(redis.call('ZRANGE', root .. key, 0, -1)) do
    local session = redis.call('HGET', root .. 'job:' .. id, 'session') or ''
    load, running[session] = load + 1, (running[session] or 0) + 1
  end
end
local swept_at = redis.call('HGET', root .. 'pool:default', 'swept_at') or '0'
local is_new, late = swept_at ~= ARGV[1], {}
local out = {redis.call('HGETALL', root .. 'slots:default'), load, swept_at, late}
for i = 2, #ARGV, 3 do
  local session, n, u = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local head = redis.call('HMGET', root .. 'streamhead:' .. session, 'n', 'u')
  local at, news = tonumber(head[1] or 0), {}
  if at > n then news = redis.call('LRANGE', root .. 'stream:' .. session, -(at - n), -1) end
  local active = root .. 'active:' .. session
  for _, id in ipairs(is_new and redis.call('ZRANGE', active, 0, -1) or {}) do
    local f = redis.call('HMGET', root .. 'job:' .. id, 'state', 'run_by', 'updated_at')
    local due = f[1] == 'queued' and f[2] and math.max(tonumber(f[2]), tonumber(f[3] or 0))
    if due and due < tonumber(swept_at) then late[#late + 1] = id end
  end
  out[#out + 1] = {running[session] or 0, redis.call('ZCARD', active), at, head[2] or '', news}
end
return out";

/// A durable event as Redis holds it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) n: u64,
    pub(super) nonce: String,
    pub(super) kind: String,
    pub(super) job: String,
    pub(super) data: Value,
}

impl Entry {
    /// Gives when it was written, in epoch milliseconds.
    pub(super) fn at(&self) -> u64 {
        self.data["at"].as_u64().unwrap_or_default()
    }
}

/// One session's stream, whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub(super) session: String,
    pub(super) entries: Vec<Entry>,
    nonce: String,
    /// Retries that users asked for: they are not refused when a session is full.
    retries: i64,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// In the order of the sessions given.
    pub(super) logs: Vec<Log>,
    pub(super) looks: u64,
    /// Jobs that are not over.
    pub(super) unfinished: i64,
    /// Jobs that a sweep left waiting past their start deadline.
    pub(super) late: BTreeSet<String>,
    /// Sessions over their cap or their bound, and pools over their capacity.
    pub(super) over_cap: Vec<String>,
    /// Events that were there and are not any more, or are others now.
    pub(super) rewritten: Vec<String>,
    /// Most jobs that one session and all together had at a time.
    pub(super) session_most: i64,
    pub(super) load_most: i64,
    /// Time in which Redis could not be read.
    pub(super) blind: Duration,
    slots: HashMap<String, i64>,
    load: i64,
    swept_at: String,
    session_max: i64,
}

/// The thread, from outside.
pub(super) struct Witness {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Witness {
    /// Starts looking.
    pub(super) fn start(
        socket: &Path,
        sessions: &[String],
        session_max: u32,
    ) -> std::io::Result<Self> {
        let logs =
            sessions.iter().map(|session| Log { session: session.clone(), ..Log::default() });
        let (logs, session_max) = (logs.collect(), session_max.into());
        let seen = Arc::new(Mutex::new(Seen { logs, session_max, ..Seen::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let wire = Wire::new(socket, Duration::from_secs(1));
        let thread = std::thread::Builder::new().name("witness".into()).spawn({
            let (seen, stop) = (seen.clone(), stop.clone());
            move || watch(wire, &seen, &stop)
        })?;
        Ok(Self { seen, stop, thread })
    }

    /// Looks into what was seen so far.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops looking; gives all that was seen.
    pub(super) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        // A panic has been shown; what was seen until then counts.
        drop(self.thread.join());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

fn watch(mut wire: Wire, seen: &Mutex<Seen>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let began_at = Instant::now();
        let arguments = seen.lock().unwrap_or_else(PoisonError::into_inner).arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let answer = wire.eval(LOOK, &arguments);
        std::thread::sleep(EVERY);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(answer) => seen.take(answer.list()),
            Err(error) => {
                // What Redis says while it loads its file is no fault of the script.
                let text = error.to_string();
                if text.starts_with("ERR") {
                    note(&mut seen.rewritten, format!("the witness could not look: {text}"));
                }
                seen.blind += began_at.elapsed();
            }
        }
    }
}

impl Seen {
    /// Gives all events, session by session.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.logs.iter().flat_map(|log| &log.entries)
    }

    fn arguments(&self) -> Vec<String> {
        let known = self.logs.iter().flat_map(|log| {
            let n = log.entries.len().to_string();
            [log.session.clone(), n, log.nonce.clone()]
        });
        std::iter::once(self.swept_at.clone()).chain(known).collect()
    }

    fn take(&mut self, answer: &[Answer]) {
        let [slots, load, swept_at, late, sessions @ ..] = answer else {
            return;
        };
        self.looks += 1;
        swept_at.text().clone_into(&mut self.swept_at);
        self.late.extend(late.list().iter().map(|id| id.text().to_owned()));
        self.unfinished = 0;
        let load = load.number();
        let slots: HashMap<String, i64> = slots
            .list()
            .chunks_exact(2)
            .map(|pair| (pair[0].text().to_owned(), pair[1].number()))
            .collect();
        // Between two looks one worker may have come and, after that, another gone: as many as both
        // looks together know of could have been there at a time.
        let mut together = std::mem::replace(&mut self.slots, slots.clone());
        together.extend(slots);
        let capacity: i64 = together.values().sum();
        // Load may stay above a capacity that shrank; it may not grow there.
        if load > capacity.max(self.load) {
            let text = format!("{load} jobs run or may run on {capacity} slots");
            note(&mut self.over_cap, text);
        }
        self.load = load;
        self.load_most = self.load_most.max(load);
        for (index, session) in sessions.iter().enumerate() {
            let [live, unfinished, head, nonce, news] = session.list() else {
                continue;
            };
            let (live, name) = (live.number(), self.logs[index].session.clone());
            self.unfinished += unfinished.number();
            self.session_most = self.session_most.max(live);
            if live > SESSION_CAP {
                let text = format!("{name} has {live} jobs running or admitted");
                note(&mut self.over_cap, text);
            }
            let log = &mut self.logs[index];
            if let Some(text) = log.extend(head.number() as u64, nonce.text(), news.list()) {
                note(&mut self.rewritten, text);
            }
            let (unfinished, bound) = (unfinished.number(), self.session_max + log.retries);
            if unfinished > bound {
                let text = format!("{name} has {unfinished} unfinished jobs, {bound} is the bound");
                note(&mut self.over_cap, text);
            }
        }
    }
}

impl Log {
    /// Adds what is new; says what does not continue what was there.
    fn extend(&mut self, head: u64, nonce: &str, news: &[Answer]) -> Option<String> {
        let known = self.entries.len() as u64;
        let gone = |what: &str| {
            Some(format!("{}: {what}; {known} events were known, the head is {head}", self.session))
        };
        let mut fault = None;
        if head < known || (head == known && known > 0 && nonce != self.nonce) {
            fault = gone("events that were there are gone");
            self.entries.truncate(head as usize);
        }
        if head.saturating_sub(known) > news.len() as u64 {
            fault = gone("more came between two looks than the list keeps");
        }
        if self.entries.is_empty() && head == 0 {
            nonce.clone_into(&mut self.nonce);
            return fault;
        }
        for text in news {
            let event = Event::parse(text.text());
            let Some((event, place)) = event.and_then(|it| it.place.clone().map(|at| (it, at)))
            else {
                return fault.or_else(|| gone("an entry is no event"));
            };
            let continues = place.at.n == self.entries.len() as u64 + 1
                && (self.entries.is_empty() || place.previous_nonce == self.nonce);
            if !continues && fault.is_none() {
                fault = gone("a new event does not continue the last");
            }
            self.nonce.clone_from(&place.at.nonce);
            let data: Value = serde_json::from_str(event.data).unwrap_or_default();
            self.retries += i64::from(!data["retry_count"].is_null());
            self.entries.push(Entry {
                n: place.at.n,
                nonce: place.at.nonce,
                kind: event.kind.as_str().to_owned(),
                job: event.job.to_owned(),
                data,
            });
        }
        nonce.clone_into(&mut self.nonce);
        fault
    }
}

fn note(list: &mut Vec<String>, text: String) {
    if list.len() < EXAMPLES {
        list.push(text);
    }
}
