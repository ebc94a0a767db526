//! The permits that are held: how many calls run at the same time, and whose they are.
//!
//! A holder that dies leaves its permit; it lapses when no call could still run under it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Purpose, ms};

/// A permit that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What for.
    pub purpose: Purpose,
    /// Granted at, in epoch ms.
    pub since: u64,
    /// Lapses at, in epoch ms.
    pub until: u64,
}

/// The permits that are held, by holder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Running(BTreeMap<String, Held>);

impl Running {
    /// Notes a new holder.
    pub(super) fn enter(&mut self, holder: &str, purpose: Purpose, hold: Duration, now: u64) {
        let held = Held { purpose, since: now, until: now + ms(hold) };
        self.0.insert(holder.to_owned(), held);
    }

    /// Takes a holder out; `None` if it holds nothing (any more).
    pub(super) fn leave(&mut self, holder: &str) -> Option<Held> {
        self.0.remove(holder)
    }

    /// Takes out the dead.
    pub(super) fn sweep(&mut self, now: u64) {
        self.0.retain(|_, held| held.until > now);
    }

    /// Pulls back moments that a clock which went back has left too far away.
    pub(super) fn heal(&mut self, longest: Duration, now: u64) {
        for held in self.0.values_mut() {
            held.since = held.since.min(now);
            held.until = held.until.min(now + ms(longest));
        }
    }

    /// Gives the time until the first lapses.
    pub(super) fn wait_ms(&self, now: u64) -> u64 {
        self.0.values().map(|held| held.until.saturating_sub(now)).min().unwrap_or_default()
    }

    /// Tells whether somebody holds a permit.
    pub fn has(&self, holder: &str) -> bool {
        self.0.contains_key(holder)
    }

    /// Tells whether a probe is under way.
    pub fn has_probe(&self) -> bool {
        self.0.values().any(|held| held.purpose == Purpose::Probe)
    }

    /// Counts the permits.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether nobody holds one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
