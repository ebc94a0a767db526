//! The run in numbers: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::findings::{Findings, Kind};
use super::measures::{Estimates, Times};
use super::mutant::Weaken;

/// Everything that is reported.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) weakened: Option<Weaken>,
    pub(super) processes: String,
    /// What Redis' `appendfsync` was.
    pub(super) appendfsync: &'static str,
    pub(super) storm: Duration,
    pub(super) whole: Duration,
    /// Processor time of all processes, which a busy machine does not change.
    pub(super) processor: Duration,
    pub(super) ordered: usize,
    /// Orders that were answered with 202.
    pub(super) accepted: usize,
    /// Requests without a key of which nobody knows whether they were accepted; each was ordered
    /// anew.
    pub(super) unknown: u32,
    /// Jobs that there are: accepted ones, and those of unknown requests.
    pub(super) jobs: usize,
    pub(super) ends: BTreeMap<String, u64>,
    pub(super) losses: i64,
    pub(super) retries: i64,
    /// Jobs that were given up after too many losses, and that missed their start deadline.
    pub(super) given_up: usize,
    pub(super) missed_start: usize,
    pub(super) handed_back: usize,
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
    /// Each sorted, in milliseconds.
    pub(super) recoveries: Times,
    pub(super) waits: Times,
    pub(super) estimates: Estimates,
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

    /// Tells whether a protection was taken away and the promise that it keeps was broken.
    pub(super) fn is_missed(&self) -> bool {
        let broken = |kind: &Kind| self.findings.count(*kind) > 0;
        self.weakened.is_some_and(|weakened| weakened.breaks().iter().any(broken))
    }

    /// Gives what was found, in one line.
    pub(super) fn found(&self) -> String {
        let found = Kind::ALL.iter().filter(|kind| self.findings.count(**kind) > 0);
        let found = found.map(|kind| (kind.words().0, self.findings.count(*kind)));
        list(&found.collect())
    }

    /// Gives the table.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (title, rows) in self.chapters() {
            let _ = writeln!(text, "{title}");
            for (name, value) in rows {
                let _ = writeln!(text, "  {name:<44} {value}");
            }
        }
        let _ = writeln!(text, "Broken promises");
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
        let _ = writeln!(text, "\n{verdict}");
        text
    }

    /// Gives all but the verdict: titles with rows of a name and a value.
    fn chapters(&self) -> [(&'static str, Vec<(String, String)>); 4] {
        let row = |name: &str, value: String| (name.to_owned(), value);
        let rows = |times: &Times| -> Vec<_> {
            let rows = times.iter().filter(|(_, times)| !times.is_empty());
            rows.map(|(name, times)| row(name, spread(times))).collect()
        };
        let mut run = vec![
            row("seed", self.seed.to_string()),
            row("processes", self.processes.clone()),
            row("redis", format!("append-only file, appendfsync {}", self.appendfsync)),
            row(
                "time",
                format!(
                    "{}, of which {} storm; {} of processors",
                    seconds(self.whole),
                    seconds(self.storm),
                    seconds(self.processor)
                ),
            ),
        ];
        run.extend(self.weakened.iter().map(|what| row("missing protection", what.name())));
        let mut done: Vec<_> =
            self.faults.iter().map(|(fault, count)| row(fault, count.to_string())).collect();
        done.push(row("redis could not be read for", seconds(self.redis_away)));
        let accepted = format!(
            "{} of {}; {} requests stayed unknown and were ordered anew",
            self.accepted, self.ordered, self.unknown
        );
        let mut came = vec![
            row("orders answered with 202", accepted),
            row("jobs", format!("{}: {}", self.jobs, list(&self.ends))),
            row(
                "on the way",
                format!(
                    "{} lost workers, {} hand-backs, {} retries by users",
                    self.losses, self.handed_back, self.retries
                ),
            ),
            row("given up after too many lost workers", self.given_up.to_string()),
            row("missed their start deadline", self.missed_start.to_string()),
            row("events", self.events.to_string()),
            row(
                "readers",
                format!(
                    "{} got {} events over {} connections, {} snapshots",
                    self.readers, self.delivered, self.connections, self.snapshots
                ),
            ),
            row("cursors that could not be honoured", list(&self.resets)),
            row("frames fetched and compared", self.frames.to_string()),
            row(
                "looks at the caps",
                format!(
                    "{}; at most {} jobs of a session, {} in all",
                    self.looks, self.session_most, self.load_most
                ),
            ),
            row(
                "estimated_wait_ms held",
                match self.estimates.share() {
                    Some(share) => format!("{share:.0} % of {}", self.estimates.given),
                    None => "none was given".into(),
                } + &format!(" ({} without)", self.estimates.none),
            ),
            row("after the storm, all jobs had ended in", seconds(self.settled_after)),
            row("and after that, all readers had all in", seconds(self.caught_up_after)),
        ];
        came.extend(rows(&self.waits));
        [
            ("The run", run),
            ("What was done to it", done),
            ("What came of it", came),
            ("How soon it went on", rows(&self.recoveries)),
        ]
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
        let times = |times: &Times| -> Value {
            let each = times.iter().map(|(name, sorted)| {
                let value = json!({
                    "count": sorted.len(),
                    "p50": percentile(sorted, 50),
                    "p99": percentile(sorted, 99),
                });
                ((*name).to_owned(), value)
            });
            each.collect::<serde_json::Map<_, _>>().into()
        };
        json!({
            "seed": self.seed,
            "weakened": self.weakened.map(Weaken::name),
            "missed": self.is_missed(),
            "passed": self.is_clean(),
            "processes": self.processes,
            "appendfsync": self.appendfsync,
            "storm_ms": self.storm.as_millis() as u64,
            "whole_ms": self.whole.as_millis() as u64,
            "processor_ms": self.processor.as_millis() as u64,
            "jobs": {
                "ordered": self.ordered, "accepted": self.accepted, "unknown": self.unknown,
                "all": self.jobs, "ends": self.ends, "losses": self.losses,
                "retries": self.retries, "handed_back": self.handed_back,
                "given_up": self.given_up, "missed_start": self.missed_start,
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
            "estimates": {
                "given": self.estimates.given, "held": self.estimates.held,
                "none": self.estimates.none,
            },
            "redis_away_ms": self.redis_away.as_millis() as u64,
            "settled_after_ms": self.settled_after.as_millis() as u64,
            "caught_up_after_ms": self.caught_up_after.as_millis() as u64,
            "waits_ms": times(&self.waits),
            "recoveries_ms": times(&self.recoveries),
            "findings": findings,
        })
    }
}

/// Says how times are spread.
fn spread(sorted: &[u64]) -> String {
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
