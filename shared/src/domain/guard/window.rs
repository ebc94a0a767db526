//! The newest outcomes: what the breaker's rate and the timeout's percentile are read from.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::failure::FailureKind;
use super::options::{BreakerOptions, Weights};

/// One call that said something about its provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailureKind>,
    /// How long it took.
    pub ms: u64,
}

/// The newest outcomes, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(VecDeque<Sample>);

impl Window {
    /// Remembers one, and forgets the oldest beyond the window's size.
    pub(super) fn push(
        &mut self,
        options: &BreakerOptions,
        failed: Option<FailureKind>,
        took: Duration,
    ) {
        self.0.push_back(Sample { failed, ms: took.as_millis() as u64 });
        while self.0.len() > options.window {
            self.0.pop_front();
        }
    }

    /// Forgets all: what a recovered provider did before says nothing about it now.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts the outcomes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the weighted share of failures, from 0 to 1.
    pub fn failure_rate(&self, weights: &Weights) -> f64 {
        let failures = self.0.iter().filter_map(|sample| sample.failed);
        let weight: f64 = failures.map(|kind| weights.of(kind)).sum();
        if self.is_empty() { 0.0 } else { weight / self.len() as f64 }
    }

    /// Gives the 95th percentile (nearest rank) of how long calls take; `None` if none is known.
    ///
    /// A call that was given up counts with the time it had: else a provider that became slower than
    /// its timeout would never be given more.
    pub fn p95(&self) -> Option<Duration> {
        let whole = |sample: &&Sample| matches!(sample.failed, None | Some(FailureKind::Timeout));
        let mut took: Vec<u64> = self.0.iter().filter(whole).map(|sample| sample.ms).collect();
        took.sort_unstable();
        let rank = (took.len() * 95).div_ceil(100);
        took.get(rank.checked_sub(1)?).copied().map(Duration::from_millis)
    }
}
