//! Verifies on a live Redis what must hold after every step, and says in words what does not.
//!
//! The scripts are atomic, so every invariant holds between any two of them. Each look therefore
//! is one read-only script over a few jobs, one session or one pool, and a job that moves meanwhile
//! is seen before or after its step and never in the middle: a busy system gives no false finding,
//! and Redis is never held for long. Only what may last a moment (a cap that was just changed) is
//! looked at twice. Names come from SCAN, never from KEYS. Nothing is written.
//!
//! The invariants are those of the model test (`tests/it/model/invariants.rs`). What a finding says
//! is for the stranger at night: what is wrong, what comes of it, and the command that mends it.

// What the keys name: pools, sessions, jobs; and keys that are not of the table.
mod keyspace;
// The server itself: memory, eviction, the append-only file.
mod server;
// Workers, load and waiting of one pool.
mod pools;
// Whether the providers may be called, and why not.
mod guards;
// A session's lines, cap and newest event.
mod sessions;
// Who leads and who follows.
mod leaders;
// Where one job stands, and where it must.
mod jobs;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Store, StoreError, keys};
use crate::domain::Cell;

/// Findings of one kind that are told in full; the others are counted.
pub const EXAMPLES_MAX: u64 = 5;
/// What may be late without being wrong: sweeps run every second, and mend so many at a time.
const LATE: Duration = Duration::from_secs(10);
/// Between the two looks at what may last a moment: longer than two sweeps.
const SECOND_LOOK: Duration = Duration::from_millis(1_500);

/// How much is looked at, so that a look ends and its memory is bounded.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Members read of one structure.
    pub members: usize,
    /// Jobs and sessions looked at, each.
    pub looks: usize,
    /// Keys looked at.
    pub keys: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { members: 10_000, looks: 100_000, keys: 1_000_000 }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is as it must be.
    Ok,
    /// Worth knowing; it may be meant so.
    Note,
    /// A job, a session or a pool will not get what was promised.
    Wrong,
}

/// What mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Arguments of redis-cli, one command each.
    Redis(Vec<String>),
    /// Words.
    Do(String),
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Its kind; findings of one kind differ in whom they are about.
    pub kind: &'static str,
    /// What was found.
    pub what: String,
    /// What comes of it; empty where `what` says it all.
    pub meaning: &'static str,
    /// What mends it, where something does.
    pub remedy: Option<Remedy>,
}

impl Finding {
    fn new(level: Level, kind: &'static str, what: impl Into<String>) -> Self {
        Self { level, kind, what: what.into(), meaning: "", remedy: None }
    }

    fn ok(kind: &'static str, what: impl Into<String>) -> Self {
        Self::new(Level::Ok, kind, what)
    }

    fn note(kind: &'static str, what: impl Into<String>) -> Self {
        Self::new(Level::Note, kind, what)
    }

    fn wrong(kind: &'static str, what: impl Into<String>) -> Self {
        Self::new(Level::Wrong, kind, what)
    }

    fn means(mut self, meaning: &'static str) -> Self {
        self.meaning = meaning;
        self
    }

    fn mend(mut self, command: impl Into<String>) -> Self {
        match &mut self.remedy {
            Some(Remedy::Redis(commands)) => commands.push(command.into()),
            _ => self.remedy = Some(Remedy::Redis(vec![command.into()])),
        }
        self
    }

    fn advise(mut self, words: impl Into<String>) -> Self {
        self.remedy = Some(Remedy::Do(words.into()));
        self
    }
}

/// What was looked at and found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In the order of the looks; at most [`EXAMPLES_MAX`] of a kind that is not ok.
    pub findings: Vec<Finding>,
    /// Per kind, how many more there are.
    pub unlisted: BTreeMap<&'static str, u64>,
    /// Keys looked at.
    pub keys: usize,
    /// Jobs looked at.
    pub jobs: usize,
    /// Sessions looked at.
    pub sessions: usize,
    told: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Tells whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.level < Level::Wrong)
    }

    /// Lists what is wrong.
    pub fn wrongs(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.level == Level::Wrong)
    }

    /// Counts what is wrong, the unlisted included.
    pub fn wrong_count(&self) -> u64 {
        let kinds: BTreeSet<_> = self.wrongs().map(|finding| finding.kind).collect();
        let unlisted: u64 = kinds.iter().filter_map(|kind| self.unlisted.get(kind)).sum();
        self.wrongs().count() as u64 + unlisted
    }

    fn add(&mut self, finding: Finding) {
        let told = self.told.entry(finding.kind).or_default();
        if finding.level > Level::Ok && *told >= EXAMPLES_MAX {
            *self.unlisted.entry(finding.kind).or_default() += 1;
        } else {
            *told += 1;
            self.findings.push(finding);
        }
    }
}

impl Store {
    /// Looks at everything and says what is wrong. Reads only; may be called at any time.
    ///
    /// A node that can't be asked is a finding. Errors: when none can; what was found is lost then.
    pub async fn examine(&self, bounds: Bounds) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let (nodes, mut lost) = self.nodes().await;
        let (mut seen, several) = (false, nodes.len() + lost.len() > 1);
        for (name, cells) in nodes {
            let name = if several { format!(" at {name}") } else { String::new() };
            match self.examine_node(&name, &cells, bounds, &mut report).await {
                Ok(()) => seen = true,
                Err(error @ StoreError::Unavailable(_)) => lost.push((cells, error)),
                Err(error) => return Err(error),
            }
        }
        for (cells, error) in lost {
            if !seen {
                return Err(error);
            }
            let cells: Vec<String> = cells.iter().map(Cell::to_string).collect();
            let what = format!("the node of {} does not answer", cells.join(", "));
            report.add(
                Finding::wrong("unreachable", what)
                    .means("the sessions of these cells stand still; nothing of them was looked at")
                    .advise("restart it, or promote a replica of it"),
            );
        }
        Ok(report)
    }

    async fn examine_node(
        &self,
        name: &str,
        cells: &[Cell],
        bounds: Bounds,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        for &cell in cells.iter().take(1) {
            self.examine_server(cell, name, report).await?;
        }
        if cells.contains(&Cell::FIRST) {
            self.examine_cells(report).await?;
        }
        for (cell, mut keyspace) in self.scan(cells, bounds, report).await? {
            self.read_members(cell, &mut keyspace, bounds, report).await?;
            self.examine_pools(cell, &keyspace, report).await?;
            self.examine_guards(&keyspace, report).await?;
            self.examine_sessions(cell, &keyspace, bounds, report).await?;
            self.examine_leaders(cell, &keyspace, bounds, report).await?;
            self.examine_jobs(cell, &keyspace, bounds, report).await?;
        }
        Ok(())
    }
}

/// Names a key as redis-cli wants it.
fn key(cell: Cell, name: impl std::fmt::Display) -> String {
    format!("{}{name}", keys::root(cell))
}

/// Says that only a part was looked at.
fn partly(what: &'static str, seen: usize, unit: &str) -> Finding {
    Finding::note(what, format!("looked at {seen} {unit} only; there are more"))
}

/// Says how long something took or takes, in the unit a person would choose.
pub fn span(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Says how many of something, in the singular where it is one.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_findings_of_a_kind_five_are_told_and_the_rest_counted() {
        let mut report = Report::default();
        for n in 0..1_000 {
            report.add(Finding::wrong("a kind", n.to_string()));
        }
        report.add(Finding::wrong("another", "x"));
        assert_eq!(report.findings.len(), 6);
        assert_eq!(report.unlisted["a kind"], 995);
        assert_eq!(report.wrong_count(), 1_001);
        assert!(!report.is_healthy());
    }

    #[test]
    fn spans_are_in_the_unit_a_person_would_choose() {
        let told = [999, 1_000, 119_999, 120_000, 7_200_000, 172_800_000].map(span);
        assert_eq!(told, ["999 ms", "1 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
