//! What subscribers are told, and their position in it.
//!
//! Events are written by the scripts, in the same step as the state they tell of; this module is
//! the reading side. One event is two lines of text, the same in the session's stream and on its
//! channel, so that `redis-cli LRANGE` and `SUBSCRIBE` show what a browser gets:
//!
//! ```text
//! 42-k3v9x2ma p0q8w1zz started job_c0_019…
//! {"job":"job_c0_019…","v":2,"status":"processing","at":1795322908931,"attempt":1}
//! ```
//!
//! First line: cursor, the nonce of the event before it, type, job. An event without a place in the stream
//! (progress, position) has `-` in the first two places. Two cursors name the same event only if
//! both number and nonce agree: numbers alone repeat after a fail-over lost the newest writes.

use std::fmt;
use std::str::FromStr;

/// A place in a session's stream: `<n>-<u>`, n dense from 1 (0 is the start), u the writer's nonce.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Number of the event, dense within the session.
    pub n: u64,
    /// Eight characters `[0-9a-z]` drawn by whoever wrote it.
    pub nonce: String,
}

/// Characters of a nonce.
pub const NONCE_CHARS: usize = 8;

/// Says that a text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of the form <number>-<8 characters of 0-9a-z>")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.n, self.nonce)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;
    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (number, nonce) = text.split_once('-').ok_or(CursorError)?;
        let plain = number == "0" || !number.starts_with('0');
        let digits = (1..=16).contains(&number.len()) && number.bytes().all(|c| c.is_ascii_digit());
        let drawn = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase();
        if !plain || !digits || nonce.len() != NONCE_CHARS || !nonce.bytes().all(drawn) {
            return Err(CursorError);
        }
        Ok(Self { n: number.parse().map_err(|_| CursorError)?, nonce: nonce.to_owned() })
    }
}

/// The types of events, in the order in which a job's life shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Waits, with the reason: submitted, retry, lease_lapsed, worker_drain.
    Queued,
    /// Where it stands in the queue (ephemeral).
    Position,
    /// A worker has it.
    Started,
    /// Stage and steps (ephemeral).
    Progress,
    /// A look at a frame that is not finished.
    Preview,
    /// One frame is stored and can be fetched.
    FrameReady,
    /// All frames are there.
    Completed,
    /// It failed for good.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl EventKind {
    /// All types.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Position,
        Self::Started,
        Self::Progress,
        Self::Preview,
        Self::FrameReady,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Gives the word used as the SSE `event:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Position => "position",
            Self::Started => "started",
            Self::Progress => "progress",
            Self::Preview => "preview",
            Self::FrameReady => "frame-ready",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Tells whether nothing of the job can follow but a user's retry.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// One event, borrowed from the text it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its place and the place before it; `None` for an ephemeral event.
    pub place: Option<Place>,
    /// Its type.
    pub kind: EventKind,
    /// The job it tells of.
    pub job: &'a str,
    /// One line of JSON.
    pub data: &'a str,
}

/// Where a durable event stands in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The event's own cursor.
    pub at: Cursor,
    /// Nonce of the event before it, `-` where the writer found no chain to continue.
    pub previous_nonce: String,
}

impl Place {
    /// Tells whether this is the successor of `last`, by number and by nonce.
    pub fn follows(&self, last: &Cursor) -> bool {
        self.at.n == last.n + 1 && self.previous_nonce == last.nonce
    }
}

impl<'a> Event<'a> {
    /// Reads the two lines; `None` if they are not an event.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (head, data) = text.split_once('\n')?;
        let mut words = head.split(' ');
        let (at, previous) = (words.next()?, words.next()?);
        let kind = words.next()?;
        let kind = EventKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let job = words.next()?;
        let place = match at {
            "-" => None,
            at => Some(Place { at: at.parse().ok()?, previous_nonce: previous.to_owned() }),
        };
        Some(Self { place, kind, job, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_cursor_is_one() {
        assert_eq!("0-abcdefgh".parse::<Cursor>().unwrap().to_string(), "0-abcdefgh");
        let long = "1".repeat(10_000);
        for bad in ["", "abc", "-1-x", "1-", "01-abcdefgh", "1-ABCDEFGH", "1-abcdefg\n", &long] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad:?}");
        }
    }

    #[test]
    fn an_event_follows_only_by_number_and_nonce() {
        let text = "2-bbbbbbbb aaaaaaaa started job_c0_1\n{\"v\":2}";
        let event = Event::parse(text).unwrap();
        let place = event.place.unwrap();
        assert!(place.follows(&"1-aaaaaaaa".parse().unwrap()));
        assert!(!place.follows(&"1-cccccccc".parse().unwrap()), "another lineage");
        assert!(!place.follows(&"0-aaaaaaaa".parse().unwrap()), "a gap");
        assert_eq!(
            (event.kind, event.job, event.data),
            (EventKind::Started, "job_c0_1", "{\"v\":2}")
        );
    }

    #[test]
    fn an_ephemeral_event_has_no_place_and_foreign_text_is_no_event() {
        assert_eq!(Event::parse("- - progress j\n{}").unwrap().place, None);
        for bad in ["", "x", "1-aaaaaaaa - nonsense j\n{}", "a b started j\n{}", "- - progress j"] {
            assert_eq!(Event::parse(bad), None, "{bad:?}");
        }
    }
}
