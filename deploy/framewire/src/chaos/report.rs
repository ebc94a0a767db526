//! The run in numbers: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::findings::{Findings, Kind};
use super::verdict::Recoveries;

/// Everything that is reported.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) weakened: Option<String>,
    pub(super) processes: String,
    pub(super) storm: Duration,
    pub(super) whole: Duration,
    pub(super) ordered: usize,
    pub(super) accepted: usize,
    /// Sent without a key and not again, because nobody knows whether they were accepted.
    pub(super) unknown: usize,
    pub(super) ends: BTreeMap<String, u64>,
    pub(super) losses: i64,
    pub(super) retries: i64,
    pub(super) faults: BTreeMap<&'static str, u32>,
    pub(super) events: usize,
    pub(super) readers: usize,
    pub(super) connections: u32,
    pub(super) delivered: usize,
    pub(super) resets: BTreeMap<String, u64>,
    pub(super) snapshots: usize,
    pub(super) frames: usize,
    pub(super) looks: u64,
    pub(super) load_most: i64,
    pub(super) session_most: i64,
    /// Until the jobs had ended, and until the readers had everything, after the storm.
    pub(super) settled_after: Duration,
    pub(super) caught_up_after: Duration,
    pub(super) redis_away: Duration,
    pub(super) recoveries: Recoveries,
    /// Sorted, in milliseconds.
    pub(super) accept_times: Vec<u64>,
    pub(super) findings: Findings,
}

/// Gives the p-th of a hundred of sorted numbers.
fn percentile(sorted: &[u64], p: usize) -> Option<u64> {
    let index = (sorted.len() * p).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied()
}

impl Report {
    /// Tells whether every promise held.
    pub(super) fn is_clean(&self) -> bool {
        self.findings.total() == 0
    }

    /// Gives the table.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a String can't fail.
            let _ = writeln!(text, "  {name:<22} {value}");
        };
        row("seed", self.seed.to_string());
        if let Some(what) = &self.weakened {
            row("weakened", what.clone());
        }
        row("processes", self.processes.clone());
        row(
            "time",
            format!(
                "{:.1} s, of which {:.1} s storm",
                self.whole.as_secs_f64(),
                self.storm.as_secs_f64()
            ),
        );
        row(
            "jobs",
            format!(
                "{} ordered, {} accepted, {} unknown (no key), {} refused to the end",
                self.ordered,
                self.accepted,
                self.unknown,
                self.ordered - self.accepted - self.unknown
            ),
        );
        row("", list(&self.ends));
        row("", format!("{} losses, {} user retries", self.losses, self.retries));
        row("faults", list(&self.faults));
        row(
            "streams",
            format!(
                "{} events; {} readers got {} over {} connections, {} snapshots",
                self.events, self.readers, self.delivered, self.connections, self.snapshots
            ),
        );
        row("resets", list(&self.resets));
        row("frames fetched", self.frames.to_string());
        row(
            "caps",
            format!(
                "{} samples; at most {} jobs of a session, {} in all",
                self.looks, self.session_most, self.load_most
            ),
        );
        row("redis away", seconds(self.redis_away));
        row("settled", seconds(self.settled_after) + " after the storm");
        row("readers caught up", seconds(self.caught_up_after) + " after that");
        row("kill -9 to noticed", times(&self.recoveries.noticed));
        row("kill -9 to next start", times(&self.recoveries.started));
        row("time to 202", times(&self.accept_times));
        let _ = writeln!(text);
        for kind in Kind::ALL {
            let (word, meaning) = kind.words();
            let _ = writeln!(text, "  {:>6}  {word:<14} {meaning}", self.findings.count(*kind));
            for example in self.findings.examples(*kind) {
                let _ = writeln!(text, "          > {example}");
            }
        }
        let verdict = match self.is_clean() {
            true => "every promise held",
            false => "PROMISES WERE BROKEN",
        };
        let _ = writeln!(text, "\n  {verdict}");
        text
    }

    /// Gives the same for programs.
    pub(super) fn json(&self) -> Value {
        let findings: BTreeMap<&str, Value> = Kind::ALL
            .iter()
            .map(|kind| {
                let examples = self.findings.examples(*kind);
                let value = json!({"count": self.findings.count(*kind), "examples": examples});
                (kind.words().0, value)
            })
            .collect();
        let times = |sorted: &[u64]| {
            json!({
                "count": sorted.len(),
                "p50": percentile(sorted, 50),
                "p99": percentile(sorted, 99),
            })
        };
        json!({
            "seed": self.seed,
            "weakened": self.weakened,
            "passed": self.is_clean(),
            "processes": self.processes,
            "storm_ms": self.storm.as_millis() as u64,
            "whole_ms": self.whole.as_millis() as u64,
            "jobs": {
                "ordered": self.ordered, "accepted": self.accepted,
                "unknown": self.unknown, "ends": self.ends,
                "losses": self.losses, "retries": self.retries,
            },
            "faults": self.faults,
            "streams": {
                "events": self.events, "readers": self.readers, "delivered": self.delivered,
                "connections": self.connections, "resets": self.resets,
                "snapshots": self.snapshots,
            },
            "frames_fetched": self.frames,
            "caps": {
                "samples": self.looks, "session_most": self.session_most,
                "load_most": self.load_most,
            },
            "redis_away_ms": self.redis_away.as_millis() as u64,
            "settled_after_ms": self.settled_after.as_millis() as u64,
            "caught_up_after_ms": self.caught_up_after.as_millis() as u64,
            "noticed_ms": times(&self.recoveries.noticed),
            "recovery_ms": times(&self.recoveries.started),
            "accept_ms": times(&self.accept_times),
            "findings": findings,
        })
    }
}

fn times(sorted: &[u64]) -> String {
    match (percentile(sorted, 50), percentile(sorted, 99)) {
        (Some(p50), Some(p99)) => format!("p50 {p50} ms, p99 {p99} ms ({} times)", sorted.len()),
        _ => "never".into(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn list<K: std::fmt::Display, V: std::fmt::Display>(counts: &BTreeMap<K, V>) -> String {
    match counts.is_empty() {
        true => "none".into(),
        false => counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_that_were_measured() {
        let times: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&times, 50), Some(100));
        assert_eq!(percentile(&times, 99), Some(198));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn one_finding_is_enough_to_fail() {
        let mut report = Report::default();
        assert!(report.is_clean());
        report.findings.add(Kind::Burned, "job_c0_1".into());
        assert!(!report.is_clean());
        assert!(report.text().contains("> job_c0_1"));
        assert_eq!(report.json()["findings"]["burned"]["count"], 1);
    }
}
