//! Who works in a pool, what waits there, and whether the one fits the other.

use super::super::codec::{Reply, maybe, number};
use super::super::{Store, StoreError};
use super::keyspace::Keyspace;
use super::{Finding, LATE, Report, SECOND_LOOK, count, key, span};
use crate::domain::Cell;

/// A pool, as `doctor_pool.lua` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    now: u64,
    workers: u64,
    slots: u64,
    capacity: u64,
    cap: Option<u64>,
    swept_at: Option<u64>,
    running: u64,
    admitted: u64,
    queued: u64,
    delayed: u64,
    oldest: Option<u64>,
    turns: u64,
    ghosts: Vec<String>,
}

impl Look {
    fn parse(reply: Reply) -> Result<Self, StoreError> {
        let words = reply.into_words()?;
        let [now, workers, slots, capacity, cap, swept_at, rest @ ..] = &words[..] else {
            return Err(StoreError::Garbled(format!("{words:?}")));
        };
        let [running, admitted, queued, delayed, oldest, turns, ghosts @ ..] = rest else {
            return Err(StoreError::Garbled(format!("{words:?}")));
        };
        Ok(Self {
            now: number(now)?,
            workers: number(workers)?,
            slots: number(slots)?,
            capacity: number(capacity)?,
            cap: maybe(cap)?,
            swept_at: maybe(swept_at)?,
            running: number(running)?,
            admitted: number(admitted)?,
            queued: number(queued)?,
            delayed: number(delayed)?,
            oldest: maybe(oldest)?,
            turns: number(turns)?,
            ghosts: ghosts.to_vec(),
        })
    }

    fn may_run(&self) -> u64 {
        self.capacity.min(self.cap.unwrap_or(u64::MAX))
    }

    fn load(&self) -> u64 {
        self.running + self.admitted
    }

    fn unfinished(&self) -> u64 {
        self.queued + self.delayed + self.running
    }

    /// Tells whether it may only be in the middle of a change.
    fn is_suspicious(&self) -> bool {
        self.load() > self.may_run() || self.is_idle() || self.is_unswept()
    }

    fn unswept_ms(&self) -> u64 {
        self.now.saturating_sub(self.swept_at.unwrap_or_default())
    }

    /// Tells whether the sweep is overdue; the workers may only just have started.
    fn is_unswept(&self) -> bool {
        self.workers > 0 && u128::from(self.unswept_ms()) > LATE.as_millis()
    }

    fn is_idle(&self) -> bool {
        self.turns > 0 && self.load() < self.may_run() && self.workers > 0
    }
}

impl Store {
    pub(super) async fn examine_pools(
        &self,
        cell: Cell,
        keyspace: &Keyspace,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        if keyspace.pools.is_empty() {
            let what = "no pool: no worker has ever been here";
            report.add(Finding::note("no pool", what).advise("start one: framewire-worker"));
        }
        for pool in &keyspace.pools {
            let first = self.look_at_pool(cell, pool).await?;
            let second = if first.is_suspicious() {
                tokio::time::sleep(SECOND_LOOK).await;
                self.look_at_pool(cell, pool).await?
            } else {
                first.clone()
            };
            // The same pool is in every cell.
            let place = match self.shared.cells {
                1 => String::new(),
                _ => format!(" in {cell}"),
            };
            judge(cell, pool, &first, &second, report, &place);
        }
        Ok(())
    }

    async fn look_at_pool(&self, cell: Cell, pool: &str) -> Result<Look, StoreError> {
        let script = &self.shared.scripts.doctor_pool;
        Look::parse(self.run(script, cell, &[pool]).await?)
    }
}

fn judge(cell: Cell, pool: &str, first: &Look, look: &Look, report: &mut Report, place: &str) {
    let mut findings = Vec::new();
    let oldest = look.oldest.map(|at| span(look.now.saturating_sub(at)));
    let summary = format!(
        "pool {pool}{place}: {} with {}; {} run, {} wait{}, {} delayed",
        count(look.workers, "worker", "workers"),
        count(look.slots, "slot", "slots"),
        look.running,
        look.queued,
        oldest.as_ref().map_or(String::new(), |age| format!(" (oldest {age})")),
        look.delayed,
    );
    check_workers(pool, look, &mut findings);
    check_capacity(cell, pool, look, &mut findings);
    check_load(pool, first, look, &mut findings);
    if let Some(cap) = look.cap.filter(|cap| *cap < look.capacity) {
        let what = match cap {
            0 => format!("pool {pool} is paused: its cap is 0"),
            cap => format!("pool {pool} runs at most {cap} jobs, its cap, of {} slots", look.slots),
        };
        let lift = format!("raise it with: framewire caps set pool {pool} {}", look.slots);
        findings.push(Finding::note("cap", what).advise(lift));
    }
    report.add(Finding::ok("pool", summary));
    findings.into_iter().for_each(|finding| report.add(finding));
}

fn check_workers(pool: &str, look: &Look, findings: &mut Vec<Finding>) {
    let start =
        format!("start a worker that serves it: FRAMEWIRE_WORKER_POOLS={pool} framewire-worker");
    if look.workers == 0 && look.unfinished() > 0 {
        let jobs = count(look.unfinished(), "unfinished job", "unfinished jobs");
        let what = format!("pool {pool} has {jobs} and no living worker");
        let finding = Finding::wrong("no worker", what).advise(start);
        findings.push(finding.means("they wait until one comes; nobody sweeps meanwhile"));
    } else if look.workers == 0 {
        let what = format!("pool {pool} has no living worker");
        findings.push(Finding::note("no worker", what).advise(start));
    }
    if look.is_unswept() {
        let since = match look.swept_at {
            Some(_) => format!("has not been swept for {}", span(look.unswept_ms())),
            None => "has never been swept".into(),
        };
        let what = format!("pool {pool} {since}, though workers live");
        let finding = Finding::wrong("unswept", what)
            .means("lapsed leases, due retries and passed deadlines stay as they are");
        findings.push(finding.advise("look into the workers' logs for failing sweeps"));
    }
}

fn check_capacity(cell: Cell, pool: &str, look: &Look, findings: &mut Vec<Finding>) {
    let slots = key(cell, format_args!("slots:{pool}"));
    if look.capacity != look.slots {
        let what = format!(
            "pool {pool} counts {} as its capacity, and its workers have {}",
            count(look.capacity, "slot", "slots"),
            look.slots
        );
        let finding = Finding::wrong("capacity", what)
            .means("it runs more or fewer jobs than its workers can take");
        let pool = key(cell, format_args!("pool:{pool}"));
        findings.push(finding.mend(format!("HSET {pool} capacity {}", look.slots)));
    }
    for ghost in &look.ghosts {
        let what = format!("{ghost} holds slots in pool {pool} and is not among its workers");
        let finding = Finding::wrong("ghost", what)
            .means("jobs are admitted for slots that nobody has, and nobody takes them away");
        findings.push(finding.mend(format!("HDEL {slots} {ghost}")));
    }
}

fn check_load(pool: &str, first: &Look, look: &Look, findings: &mut Vec<Finding>) {
    if look.load() > look.may_run() {
        let what = format!(
            "pool {pool} has {} running or admitted and may run {}",
            count(look.load(), "job", "jobs"),
            look.may_run()
        );
        if look.load() > first.load() && first.load() >= first.may_run() {
            let finding = Finding::wrong("overload", format!("{what}, and they become more"));
            findings.push(finding.means("the cap is not kept"));
        } else if look.load() > look.capacity {
            // Where it is the operator's cap, that cap is told of by itself.
            let finding = Finding::note("overload", what);
            findings.push(finding.means("right only if a worker has left; it must shrink"));
        }
    }
    if look.is_idle() && first.is_idle() {
        let free = look.may_run() - look.load();
        let waiting = count(look.turns, "line waits", "lines wait");
        let what =
            format!("in pool {pool} {waiting} while {} free", count(free, "slot is", "slots are"));
        let finding = Finding::wrong("idle", what).means("jobs that could run do not");
        findings.push(finding.advise("look into the workers' logs for failing sweeps"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Look {
        Look {
            now: 1_000_000,
            workers: 1,
            slots: 2,
            capacity: 2,
            cap: None,
            swept_at: Some(999_500),
            running: 1,
            admitted: 1,
            queued: 3,
            delayed: 0,
            oldest: Some(995_000),
            turns: 1,
            ghosts: Vec::new(),
        }
    }

    fn told(first: &Look, second: &Look) -> Vec<Finding> {
        let mut report = Report::default();
        judge(Cell::FIRST, "default", first, second, &mut report, "");
        report.findings.drain(1..).collect()
    }

    #[test]
    fn a_load_above_the_cap_is_noted_and_wrong_only_if_it_grows() {
        let shrinking = Look { capacity: 1, slots: 1, ..sound() };
        let kinds: Vec<_> =
            told(&shrinking, &shrinking).iter().map(|it| (it.kind, it.level)).collect();
        assert_eq!(kinds, [("overload", super::super::Level::Note)]);
        let grown = Look { running: 2, ..shrinking.clone() };
        assert_eq!(told(&shrinking, &grown)[0].level, super::super::Level::Wrong);
    }

    #[test]
    fn free_slots_beside_waiting_lines_are_wrong_only_if_they_stay() {
        let idle = Look { admitted: 0, ..sound() };
        assert_eq!(told(&idle, &idle)[0].kind, "idle");
        assert_eq!(told(&sound(), &idle), []);
    }
}
