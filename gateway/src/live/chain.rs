//! The rule by which no event is skipped, doubled or taken from another lineage. Pure.
//!
//! A reader's position is a cursor: number and nonce. An event is its successor only if it has the
//! next number *and* names the cursor's nonce as the one before it. So what a reader has seen is
//! always one contiguous piece of one chain, whatever pub/sub lost or a fail-over took back. The
//! same rule is asked in three places: of the position a reader comes with (`classify`), of the
//! events read from Redis (there too) and of the events heard (`Chain::judge`).
//! Numbers alone do not do: after a fail-over lost the newest events, the same numbers are given
//! again to others.

use std::collections::VecDeque;

use framewire_shared::domain::event::Place;
use framewire_shared::domain::{Cursor, Event};
use framewire_shared::store::codec::Replay;
use framewire_shared::store::stream::REPLAY_EVENTS_MAX;

use super::frame::Cause;

/// Positions that a reader remembers behind its last one. What is heard twice is heard within the
/// time of one read; a reader that forgot one reads once more, and loses nothing.
const KNOWN_MAX: usize = 32;

/// The position a reader comes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// None: events from now on.
    Nothing,
    /// Something that is no position.
    Malformed,
    /// Everything after this one.
    After(Cursor),
}

impl Asked {
    /// Reads what a request carries; never fails, because a reader can't mend its cursor.
    pub fn read(text: Option<&str>) -> Self {
        match text {
            None | Some("") => Self::Nothing,
            Some(text) => text.parse().map_or(Self::Malformed, Self::After),
        }
    }

    /// Gives the position, if it is one.
    pub fn cursor(&self) -> Option<&Cursor> {
        match self {
            Self::After(cursor) => Some(cursor),
            Self::Nothing | Self::Malformed => None,
        }
    }
}

/// What can be made of the position.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// There was none: go on from the head.
    Fresh,
    /// These follow it, up to the head; none if it is the head.
    Resumed(Vec<Event<'a>>),
    /// It can't be honoured: go on from the head, after a snapshot.
    Reset(Cause),
}

/// Decides by what one read of Redis says. All or nothing: a part would be taken for the whole.
pub fn classify<'a>(asked: &Asked, replay: &'a Replay) -> Verdict<'a> {
    let cursor = match asked {
        Asked::Nothing => return Verdict::Fresh,
        Asked::Malformed => return Verdict::Reset(Cause::Malformed),
        Asked::After(cursor) => cursor,
    };
    if *cursor == replay.head {
        return Verdict::Resumed(Vec::new());
    }
    if let Some(events) = follow(cursor, replay) {
        return Verdict::Resumed(events);
    }
    let Some(behind) = replay.head.n.checked_sub(cursor.n).filter(|n| *n > 0) else {
        return Verdict::Reset(Cause::UnknownLineage);
    };
    Verdict::Reset(if behind > u64::from(REPLAY_EVENTS_MAX) {
        Cause::TooFar
    } else if (replay.events.len() as u64) < behind {
        Cause::Trimmed
    } else {
        Cause::UnknownLineage
    })
}

/// Walks from the cursor over every event to the head; `None` if one does not follow the other.
fn follow<'a>(cursor: &Cursor, replay: &'a Replay) -> Option<Vec<Event<'a>>> {
    let mut last = cursor.clone();
    let mut events = Vec::with_capacity(replay.events.len());
    for text in &replay.events {
        let event = Event::parse(text)?;
        let place = event.place.as_ref().filter(|place| place.follows(&last))?;
        last = place.at.clone();
        events.push(event);
    }
    (last == replay.head).then_some(events)
}

/// What an event is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next one: put it.
    Next,
    /// Put before: drop it.
    Known,
    /// Neither: something is missing or was taken back. Read again from the last position.
    Broken,
}

/// A reader's position, and the few before it.
#[derive(Debug)]
pub struct Chain {
    last: Cursor,
    known: VecDeque<Cursor>,
}

impl Chain {
    /// Starts at a position.
    pub fn at(last: Cursor) -> Self {
        Self { last, known: VecDeque::new() }
    }

    /// Gives the position.
    pub fn last(&self) -> &Cursor {
        &self.last
    }

    /// Judges an event that was heard.
    pub fn judge(&self, place: &Place) -> Step {
        if place.follows(&self.last) {
            Step::Next
        } else if self.has(&place.at) {
            Step::Known
        } else {
            Step::Broken
        }
    }

    /// Moves to the event that follows.
    pub fn advance(&mut self, place: &Place) {
        debug_assert!(place.follows(&self.last), "{place:?} after {}", self.last);
        if self.known.len() == KNOWN_MAX {
            self.known.pop_front();
        }
        let before = std::mem::replace(&mut self.last, place.at.clone());
        self.known.push_back(before);
    }

    /// Tells whether a position that was the head a moment ago has been passed since.
    ///
    /// One that is further back than memory goes was passed if all numbers since then were.
    pub fn reached(&self, head: &Cursor) -> bool {
        self.has(head) || self.last.n >= head.n + KNOWN_MAX as u64
    }

    /// Tells whether a position is this one or one of the few before it.
    fn has(&self, cursor: &Cursor) -> bool {
        self.last == *cursor || self.known.contains(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(n: u64, lineage: char) -> String {
        format!("{lineage}{n:07}")
    }

    fn cursor(n: u64, lineage: char) -> Cursor {
        Cursor { n, nonce: nonce(n, lineage) }
    }

    fn place(n: u64, lineage: char) -> Place {
        Place { at: cursor(n, lineage), previous_nonce: nonce(n - 1, lineage) }
    }

    fn replay(head: u64, events: std::ops::Range<u64>, lineage: char) -> Replay {
        let text = |n: u64| {
            let before = nonce(n - 1, lineage);
            format!("{} {before} preview job_c0_1\n{{}}", cursor(n, lineage))
        };
        Replay { head: cursor(head, lineage), events: events.map(text).collect() }
    }

    fn cause(asked: Option<&str>, replay: &Replay) -> Option<Cause> {
        match classify(&Asked::read(asked), replay) {
            Verdict::Reset(cause) => Some(cause),
            Verdict::Fresh | Verdict::Resumed(_) => None,
        }
    }

    #[test]
    fn a_reader_without_a_position_is_fresh_and_one_at_the_head_has_missed_nothing() {
        let at_head = replay(7, 8..8, 'a');
        assert_eq!(classify(&Asked::read(None), &at_head), Verdict::Fresh);
        assert_eq!(classify(&Asked::read(Some("")), &at_head), Verdict::Fresh);
        let asked = Asked::After(cursor(7, 'a'));
        assert_eq!(classify(&asked, &at_head), Verdict::Resumed(Vec::new()));
    }

    #[test]
    fn a_reader_behind_gets_every_event_after_its_position_in_order() {
        let read = replay(7, 5..8, 'a');
        let Verdict::Resumed(events) = classify(&Asked::After(cursor(4, 'a')), &read) else {
            panic!("not resumed")
        };
        let numbers: Vec<u64> =
            events.iter().map(|event| event.place.as_ref().unwrap().at.n).collect();
        assert_eq!(numbers, [5, 6, 7]);
    }

    #[test]
    fn a_position_that_is_none_is_malformed_whatever_its_size() {
        let read = replay(7, 8..8, 'a');
        let huge = "9".repeat(10_000);
        for text in ["abc", "-1-x", "5", "7-A0000007", "7-a0000007\r\nid: 1", "\0", &huge] {
            assert_eq!(cause(Some(text), &read), Some(Cause::Malformed), "{text:.20?}");
        }
    }

    #[test]
    fn a_position_on_another_chain_is_no_position_not_even_the_start() {
        for (text, read) in [
            ("7-b0000007", replay(7, 8..8, 'a')),
            ("9-a0000009", replay(7, 8..8, 'a')),
            ("5-b0000005", replay(7, 6..8, 'a')),
            ("0-b0000000", replay(3, 1..4, 'a')),
            ("0-b0000000", replay(0, 1..1, 'a')),
        ] {
            assert_eq!(cause(Some(text), &read), Some(Cause::UnknownLineage), "{text}");
        }
    }

    #[test]
    fn what_is_not_kept_any_more_is_trimmed_and_what_is_too_much_is_too_far() {
        assert_eq!(cause(Some("3-a0000003"), &replay(7, 6..8, 'a')), Some(Cause::Trimmed));
        assert_eq!(cause(Some("3-a0000003"), &replay(7, 8..8, 'a')), Some(Cause::Trimmed));
        let far = replay(u64::from(REPLAY_EVENTS_MAX) + 4, 9..9, 'a');
        assert_eq!(cause(Some("3-a0000003"), &far), Some(Cause::TooFar));
    }

    #[test]
    fn a_replay_with_a_hole_or_an_unreadable_event_is_not_believed() {
        let mut holed = replay(7, 5..8, 'a');
        holed.events[1] = holed.events[2].clone();
        assert_eq!(cause(Some("4-a0000004"), &holed), Some(Cause::UnknownLineage));
        let mut garbled = replay(7, 5..8, 'a');
        garbled.events[0] = "what".into();
        assert_eq!(cause(Some("4-a0000004"), &garbled), Some(Cause::UnknownLineage));
        let mut short = replay(7, 5..7, 'a');
        short.head = cursor(7, 'a');
        assert_eq!(cause(Some("4-a0000004"), &short), Some(Cause::Trimmed));
    }

    #[test]
    fn only_the_successor_is_put_and_only_what_was_put_is_dropped() {
        let mut chain = Chain::at(cursor(4, 'a'));
        assert_eq!(chain.judge(&place(5, 'a')), Step::Next);
        chain.advance(&place(5, 'a'));
        assert_eq!(chain.judge(&place(5, 'a')), Step::Known, "heard twice");
        assert_eq!(chain.judge(&place(4, 'a')), Step::Known, "heard late");
        assert_eq!(chain.judge(&place(7, 'a')), Step::Broken, "one is missing");
        assert_eq!(chain.judge(&place(6, 'b')), Step::Broken, "another lineage goes on");
        assert_eq!(chain.judge(&place(5, 'b')), Step::Broken, "the number was given again");
        assert_eq!(chain.judge(&place(3, 'a')), Step::Broken, "before all that is known");
    }

    #[test]
    fn a_chain_forgets_what_is_old_and_never_grows() {
        let mut chain = Chain::at(cursor(0, 'a'));
        for n in 1..=1_000 {
            chain.advance(&place(n, 'a'));
        }
        assert_eq!(chain.known.len(), KNOWN_MAX);
        assert!(chain.has(&cursor(1_000 - 32, 'a')));
        assert!(!chain.has(&cursor(1_000 - 33, 'a')));
    }
}
