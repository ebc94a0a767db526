//! What must be zero.

use std::collections::BTreeMap;

/// Examples kept of each kind.
const EXAMPLES: usize = 5;

/// Declares the kinds: name, word, meaning.
macro_rules! kinds {
    ($($name:ident = $word:literal, $meaning:literal;)+) => {
        /// A way in which a promise can be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Kind { $($name,)+ }

        impl Kind {
            /// All of them, in the order of the report.
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Gives its word and what it means.
            pub(super) fn words(self) -> (&'static str, &'static str) {
                match self { $(Self::$name => ($word, $meaning),)+ }
            }
        }
    };
}

kinds! {
    Lost = "lost", "jobs answered 202 that are gone, events that a reader never got";
    Refused = "refused", "orders that no gateway accepted to the end";
    Unfinished = "unfinished", "jobs without a terminal state at the end";
    Duplicated = "duplicated", "second terminal events, events delivered twice, two jobs for one key";
    OutOfOrder = "out_of_order", "cursors that are not dense and rising, pings and syncs that lie";
    Altered = "altered", "events that reached a reader other than they are in Redis";
    Leaked = "leaked", "jobs, events or frames shown to another session";
    OverCap = "over_cap", "sessions above cap or bound, load grown beyond capacity";
    Late = "late", "jobs that missed their start deadline and waited on, or were failed before it";
    DeadLetters = "dead_letters", "failed jobs without a dead letter, dead letters of others";
    BadFrame = "bad_frames", "frames that are missing or not what was stored";
    Burned = "burned", "attempts counted for lost workers, lost workers not counted";
    Zombie = "zombies", "pictures of an attempt that had lost its job";
    Illegal = "illegal", "events that a job's state does not allow";
    WrongEnd = "wrong_end", "jobs that ended otherwise than their order says";
    Rewritten = "rewritten", "events that Redis had and has no more";
    Snapshot = "snapshots", "snapshots that do not match the stream at their position";
    Leftover = "leftovers", "structures in Redis that are not empty at the end";
    Crashed = "crashed", "processes that ended unasked, or not well when asked";
    Complaint = "complaints", "answers that no user should get";
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: BTreeMap<Kind, (usize, Vec<String>)>,
}

impl Findings {
    /// Notes one.
    pub(super) fn add(&mut self, kind: Kind, text: String) {
        let (count, examples) = self.found.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(text);
        }
    }

    /// Notes several.
    pub(super) fn add_all(&mut self, kind: Kind, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.add(kind, text));
    }

    /// Counts one kind.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.found.get(&kind).map_or(0, |(count, _)| *count)
    }

    /// Gives examples of one kind.
    pub(super) fn examples(&self, kind: Kind) -> &[String] {
        self.found.get(&kind).map_or(&[], |(_, examples)| examples)
    }

    /// Counts all.
    pub(super) fn total(&self) -> usize {
        self.found.values().map(|(count, _)| count).sum()
    }
}
