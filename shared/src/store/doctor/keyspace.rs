//! What the keys name: pools, sessions and jobs; and keys that the table of keys does not have.
//!
//! SCAN gives every key that is there all the while, and may give a key twice; so sets are made.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Store, StoreError, keys};
use super::{Bounds, Finding, Report, key, partly};
use crate::domain::Cell;

/// Keys asked for in one step of SCAN.
const STEP: usize = 500;
/// Structures that name jobs, by the first word of their key.
const NAMING: [&str; 11] = [
    "queue", "wait", "ready", "out", "lease", "delayed", "deadline", "active", "dead", "live",
    "follow",
];
/// Structures that are per pool: their second word names it.
const OF_POOLS: [&str; 11] = [
    "pool", "queue", "wait", "turn", "ready", "out", "lease", "delayed", "deadline", "workers",
    "slots",
];

/// What the keys of a cell name.
#[derive(Debug, Default)]
pub(super) struct Keyspace {
    pub(super) pools: BTreeSet<String>,
    pub(super) sessions: BTreeSet<String>,
    pub(super) guards: BTreeSet<String>,
    pub(super) fingerprints: BTreeSet<String>,
    /// Job → names of the structures that have it.
    pub(super) jobs: BTreeMap<String, Vec<String>>,
    structures: BTreeSet<String>,
}

impl Keyspace {
    /// Notes what a key of the table names.
    fn note(&mut self, name: &str) {
        let mut words = name.split(':');
        let (word, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if OF_POOLS.contains(&word) {
            self.pools.insert(second.to_owned());
        }
        match word {
            "job" => drop(self.jobs.entry(second.to_owned()).or_default()),
            "live" | "held" | "stream" | "last" => drop(self.sessions.insert(second.to_owned())),
            "leader" | "follow" => drop(self.fingerprints.insert(second.to_owned())),
            "guard" => drop(self.guards.insert(second.to_owned())),
            "wait" => drop(words.nth(1).map(|its| self.sessions.insert(its.to_owned()))),
            _ => {}
        }
        // Names are joined with spaces for the script; ours have none.
        if (NAMING.contains(&word) || word == "turn") && !name.contains(char::is_whitespace) {
            self.structures.insert(name.to_owned());
        }
    }
}

impl Store {
    /// Walks over all keys of ours on the node that holds these cells.
    pub(super) async fn scan(
        &self,
        cells: &[Cell],
        bounds: Bounds,
        report: &mut Report,
    ) -> Result<Vec<(Cell, Keyspace)>, StoreError> {
        let mut found: Vec<(Cell, Keyspace)> =
            cells.iter().map(|&cell| (cell, Keyspace::default())).collect();
        let any = cells.first().copied().unwrap_or(Cell::FIRST);
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*", keys::PREFIX));
            let (next, names): (u64, Vec<Vec<u8>>) =
                self.command(any, scan.arg("COUNT").arg(STEP)).await?;
            let kinds = self.kinds(any, &names).await?;
            for (name, kind) in names.iter().zip(kinds) {
                report.keys += 1;
                sort(&String::from_utf8_lossy(name), &kind, &mut found, report);
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
            if report.keys >= bounds.keys {
                report.add(partly("keys unseen", report.keys, "keys"));
                break;
            }
        }
        for (cell, keyspace) in &mut found {
            let pools: Vec<String> = self.pools(*cell).await.unwrap_or_default();
            keyspace.pools.extend(pools);
        }
        Ok(found)
    }

    async fn kinds(&self, any: Cell, names: &[Vec<u8>]) -> Result<Vec<String>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for name in names {
            pipeline.cmd("TYPE").arg(name);
        }
        self.pipeline(any, &pipeline).await
    }

    /// Reads whom the structures name: jobs, and the sessions that have a turn.
    pub(super) async fn read_members(
        &self,
        cell: Cell,
        keyspace: &mut Keyspace,
        bounds: Bounds,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        for name in std::mem::take(&mut keyspace.structures) {
            let its = self.members(cell, &name, bounds.members).await?;
            if its.len() >= bounds.members {
                let unit = format!("members of {}", key(cell, &name));
                report.add(partly("members unseen", its.len(), &unit));
            }
            if name.starts_with("turn:") {
                keyspace.sessions.extend(its);
                continue;
            }
            for job in its {
                keyspace.jobs.entry(job).or_default().push(name.clone());
            }
        }
        Ok(())
    }

    /// Reads members of a zset or a set; none where it has another type.
    async fn members(&self, cell: Cell, name: &str, max: usize) -> Result<Vec<String>, StoreError> {
        let mut command = if name.starts_with("live:") {
            redis::cmd("SRANDMEMBER")
        } else {
            redis::cmd("ZRANGE")
        };
        command.arg(key(cell, name));
        if !name.starts_with("live:") {
            command.arg(0);
            command.arg(max.saturating_sub(1));
        } else {
            command.arg(max);
        }
        match self.command(cell, &command).await {
            Err(StoreError::Refused(_) | StoreError::Garbled(_)) => Ok(Vec::new()),
            answer => answer,
        }
    }
}

/// Puts a key where it belongs, or says that it belongs nowhere.
fn sort(name: &str, kind: &str, found: &mut [(Cell, Keyspace)], report: &mut Report) {
    // It was there when SCAN saw it; its time has come since.
    if kind == "none" {
        return;
    }
    let ours = found
        .iter_mut()
        .find_map(|(cell, keyspace)| Some((name.strip_prefix(&keys::root(*cell))?, keyspace)));
    let Some((rest, keyspace)) = ours else {
        return report.add(
            Finding::note("strange cell", format!("{name} is in no cell of this installation"))
                .means("nobody reads it; another version or another configuration wrote it"),
        );
    };
    let word = rest.split(':').next().unwrap_or("");
    match keys::TYPES.iter().find(|(known, _)| *known == word) {
        Some((_, expected)) if *expected == kind => keyspace.note(rest),
        Some((_, expected)) => report.add(
            Finding::wrong("wrong type", format!("{name} is a {kind} and must be a {expected}"))
                .means("every script that touches it fails, and the jobs behind it stand still")
                .mend(format!("RENAME {name} broken:{name}")),
        ),
        None => report.add(
            Finding::note("unknown key", format!("{name} is not in the table of keys"))
                .means("nobody reads it; another version or a person wrote it"),
        ),
    }
}
