//! What waits for one reader, within bounds. Pure.
//!
//! Two classes share it. Durable events have a place in the stream: they leave in the order in which
//! they came, and none is ever left out; when they outgrow the bound, the buffer is **overflown**, is
//! emptied, and its reader's stream ends, because the events wait in Redis for its next one.
//! Ephemeral events (progress, position) have no place: of each job and type only the newest waits,
//! they leave when no durable event waits, and they are the first to go. A durable event of a job
//! drops the ephemeral ones of the same job that came before it; so what leaves is never out of
//! order, and a progress never comes before the `started` it belongs to.
//! An event is encoded once (`Told`) and shared by the buffers of all its readers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framewire_shared::domain::event::Place;
use framewire_shared::domain::{Event, EventKind};

use super::frame;

/// Durable events that may wait for one reader.
pub const DURABLE_MAX: usize = 128;
/// Bytes that may wait for one reader.
pub const BYTES_MAX: usize = 256 * 1024;
/// Ephemeral events that may wait for one reader; the oldest goes.
pub const EPHEMERAL_MAX: usize = 64;

/// An event that was heard, with its frame.
#[derive(Debug)]
pub struct Told {
    /// Its place; `None` for an ephemeral event.
    pub place: Option<Place>,
    /// Its type.
    pub kind: EventKind,
    /// The job it tells of.
    pub job: String,
    /// Its line of JSON.
    pub data: String,
    /// The frame for readers of the session's stream.
    pub frame: Bytes,
}

impl Told {
    /// Encodes an event.
    pub fn new(event: Event<'_>) -> Self {
        let id = event.place.as_ref().map(|place| place.at.to_string());
        Self {
            frame: frame::event(id.as_deref(), event.kind.as_str(), event.data),
            kind: event.kind,
            job: event.job.to_owned(),
            data: event.data.to_owned(),
            place: event.place,
        }
    }

    /// Reads the job's version out of the data.
    pub fn v(&self) -> Option<u64> {
        #[derive(serde::Deserialize)]
        struct Version {
            v: u64,
        }
        let version: Version = serde_json::from_str(&self.data).ok()?;
        Some(version.v)
    }

    /// Reads how long the job stands in no line yet, for a `queued` event before a further attempt.
    pub fn delay(&self) -> Duration {
        #[derive(serde::Deserialize)]
        struct Retry {
            at: u64,
            retry_at: u64,
        }
        let retry: Option<Retry> = serde_json::from_str(&self.data).ok();
        let delay_ms = retry.map_or(0, |retry| retry.retry_at.saturating_sub(retry.at));
        Duration::from_millis(delay_ms)
    }
}

/// Ephemeral events that no reader will see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// A newer event of the same job took their place.
    pub coalesced: usize,
    /// There was no room for them.
    pub full: usize,
}

/// The events that wait for one reader.
#[derive(Debug, Default)]
pub struct Buffer {
    durable: VecDeque<Arc<Told>>,
    ephemeral: VecDeque<Arc<Told>>,
    bytes: usize,
    overflown: bool,
}

impl Buffer {
    /// Adds an event; tells of those that it cost.
    pub fn push(&mut self, told: &Arc<Told>) -> Dropped {
        let mut dropped = Dropped::default();
        if self.overflown {
            return dropped;
        }
        if told.place.is_some() {
            dropped.coalesced += self.forget(|waiting| waiting.job == told.job);
            self.bytes += told.frame.len();
            self.durable.push_back(told.clone());
            if self.bytes > BYTES_MAX {
                dropped.full += self.forget(|_| true);
            }
            if self.durable.len() > DURABLE_MAX || self.bytes > BYTES_MAX {
                self.clear();
                self.overflown = true;
            }
        } else {
            dropped.coalesced +=
                self.forget(|waiting| waiting.job == told.job && waiting.kind == told.kind);
            if self.bytes + told.frame.len() <= BYTES_MAX {
                self.bytes += told.frame.len();
                self.ephemeral.push_back(told.clone());
            } else {
                dropped.full += 1;
            }
            if self.ephemeral.len() > EPHEMERAL_MAX
                && let Some(oldest) = self.ephemeral.pop_front()
            {
                self.bytes -= oldest.frame.len();
                dropped.full += 1;
            }
        }
        dropped
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<Arc<Told>> {
        let next = self.durable.pop_front().or_else(|| self.ephemeral.pop_front())?;
        self.bytes -= next.frame.len();
        Some(next)
    }

    /// Takes the next durable event.
    pub fn pop_durable(&mut self) -> Option<Arc<Told>> {
        if self.durable.is_empty() { None } else { self.pop() }
    }

    /// Empties it, and takes events again if it was overflown.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Tells whether durable events did not fit.
    pub fn is_overflown(&self) -> bool {
        self.overflown
    }

    /// Drops ephemeral events; gives how many.
    fn forget(&mut self, unwanted: impl Fn(&Told) -> bool) -> usize {
        let before = self.ephemeral.len();
        let bytes = &mut self.bytes;
        self.ephemeral.retain(|waiting| {
            let keep = !unwanted(waiting);
            if !keep {
                *bytes -= waiting.frame.len();
            }
            keep
        });
        before - self.ephemeral.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Arc<Told> {
        Arc::new(Told::new(Event::parse(text).unwrap()))
    }

    fn durable(n: usize, kind: &str, job: &str) -> Arc<Told> {
        told(&format!("{n}-aaaaaaaa aaaaaaaa {kind} {job}\n{{\"v\":{n}}}"))
    }

    fn drain(buffer: &mut Buffer) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(told) = buffer.pop() {
            out.push(format!("{} {} {}", told.kind.as_str(), told.job, told.data));
        }
        assert_eq!(buffer.bytes, 0, "the count of bytes went astray");
        out
    }

    #[test]
    fn of_ephemeral_events_the_newest_of_each_job_and_type_waits() {
        let mut buffer = Buffer::default();
        for text in
            ["- - progress j1\n1", "- - progress j2\n1", "- - position j1\n1", "- - progress j1\n2"]
        {
            buffer.push(&told(text));
        }
        assert_eq!(drain(&mut buffer), ["progress j2 1", "position j1 1", "progress j1 2"]);
    }

    #[test]
    fn what_a_push_costs_is_told_by_its_cause() {
        let mut buffer = Buffer::default();
        let dropped = |coalesced, full| Dropped { coalesced, full };
        assert_eq!(buffer.push(&told("- - progress j1\n1")), dropped(0, 0));
        assert_eq!(buffer.push(&told("- - progress j1\n2")), dropped(1, 0));
        assert_eq!(buffer.push(&durable(1, "completed", "j1")), dropped(1, 0));
        for n in 0..EPHEMERAL_MAX {
            assert_eq!(buffer.push(&told(&format!("- - progress j{n}\n1"))), dropped(0, 0));
        }
        assert_eq!(buffer.push(&told("- - progress another\n1")), dropped(0, 1));
    }

    #[test]
    fn an_ephemeral_event_does_not_overtake_durable_ones_and_does_not_outlive_its_jobs_next() {
        let mut buffer = Buffer::default();
        buffer.push(&durable(1, "started", "j1"));
        buffer.push(&told("- - progress j1\n1"));
        buffer.push(&told("- - progress j2\n1"));
        buffer.push(&durable(2, "completed", "j1"));
        assert_eq!(
            drain(&mut buffer),
            [r#"started j1 {"v":1}"#, r#"completed j1 {"v":2}"#, "progress j2 1"]
        );
    }

    #[test]
    fn too_many_durable_events_overflow_and_nothing_is_kept_of_them() {
        let mut buffer = Buffer::default();
        for n in 1..=DURABLE_MAX {
            buffer.push(&durable(n, "preview", "j1"));
        }
        assert!(!buffer.is_overflown());
        buffer.push(&durable(DURABLE_MAX + 1, "preview", "j1"));
        buffer.push(&durable(DURABLE_MAX + 2, "preview", "j1"));
        buffer.push(&told("- - progress j1\n1"));
        assert!(buffer.is_overflown());
        assert!(buffer.pop().is_none(), "a hole would be seen");
        buffer.clear();
        buffer.push(&durable(1, "preview", "j1"));
        assert!(buffer.pop().is_some());
    }

    #[test]
    fn ephemeral_events_go_first_when_bytes_run_out() {
        let mut buffer = Buffer::default();
        let half = "x".repeat(BYTES_MAX / 2);
        buffer.push(&told(&format!("- - progress j1\n{half}")));
        buffer.push(&told(&format!("1-aaaaaaaa - preview j2\n{half}")));
        assert!(!buffer.is_overflown());
        assert_eq!(buffer.pop().unwrap().job, "j2");
        assert!(buffer.pop().is_none());
        for _ in 0..2 {
            buffer.push(&told(&format!("1-aaaaaaaa - preview j2\n{half}")));
        }
        assert!(buffer.is_overflown());
    }

    #[test]
    fn ephemeral_events_of_any_number_of_jobs_are_bounded() {
        let mut buffer = Buffer::default();
        for n in 0..EPHEMERAL_MAX + 10 {
            buffer.push(&told(&format!("- - progress j{n}\n1")));
        }
        let left = drain(&mut buffer);
        assert_eq!(left.len(), EPHEMERAL_MAX);
        assert_eq!(left[0], "progress j10 1");
    }
}
