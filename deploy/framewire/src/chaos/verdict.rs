//! Compares what was promised, what Redis held and what readers saw. Pure.

use std::collections::{HashMap, HashSet};

use super::findings::{Findings, Kind};
use super::inventory::Record;
use super::life::{Life, urls};
use super::orders::Trouble;
use super::reader::{Diary, Snapshot, number};
use super::storm::Kill;
use super::user::Promise;
use super::witness::{Log, Seen};

const TERMINAL: [&str; 3] = ["completed", "failed", "cancelled"];

/// Follows every job through the logs; gives its life by its id.
pub(super) fn lives<'a>(seen: &'a Seen, findings: &mut Findings) -> HashMap<&'a str, Life> {
    let mut lives: HashMap<&str, Life> = HashMap::new();
    for log in &seen.logs {
        let mut completed = HashSet::new();
        for entry in &log.entries {
            let life = lives.entry(&entry.job).or_default();
            life.go_on(entry, findings);
            if entry.kind == "completed" {
                completed.extend(urls(&entry.data));
            }
            let fallback = urls(&entry.data["fallback"]);
            if let Some(url) = fallback.iter().find(|url| !completed.contains(*url)) {
                let text = format!("{}: its fallback was no completed frame: {url}", entry.job);
                findings.add(Kind::BadFrame, text);
            }
        }
    }
    lives
}

/// Judges the jobs: promises against records against lives.
pub(super) fn jobs(
    promises: &[Promise],
    records: &[Record],
    lives: &HashMap<&str, Life>,
    findings: &mut Findings,
) {
    let by_id: HashMap<&str, &Record> = records.iter().map(|job| (job.id.as_str(), job)).collect();
    let mut keys: HashMap<(&str, &str), &str> = HashMap::new();
    for job in records {
        if !TERMINAL.contains(&job.state.as_str()) {
            let text = format!("{} is {} ({} losses)", job.id, job.state, job.losses);
            findings.add(Kind::Unfinished, text);
        }
        if !job.key.is_empty()
            && let Some(other) = keys.insert((&job.session, &job.key), &job.id)
        {
            let text = format!("{} and {other} for the key {}", job.id, job.key);
            findings.add(Kind::Duplicated, text);
        }
        life_of(job, lives.get(job.id.as_str()), findings);
    }
    for promise in promises {
        let Some(id) = promise.ids.first() else {
            continue;
        };
        if promise.ids.iter().any(|other| other != id) {
            let text = format!("one request was answered with {:?}", promise.ids);
            findings.add(Kind::Duplicated, text);
        }
        match by_id.get(id.as_str()) {
            Some(job) => ending(promise, job, findings),
            None => findings.add(Kind::Lost, format!("{id} was answered 202 and is gone")),
        }
    }
}

/// Compares a record with its events.
fn life_of(job: &Record, life: Option<&Life>, findings: &mut Findings) {
    let Some(life) = life else {
        return findings.add(Kind::Lost, format!("{} has no event at all", job.id));
    };
    if life.rounds != job.retries + 1 {
        let text = format!("{}: {} rounds, {} retries", job.id, life.rounds, job.retries);
        findings.add(Kind::Illegal, text);
    }
    if !TERMINAL.contains(&job.state.as_str()) {
        return;
    }
    if life.attempts != job.attempts {
        let text =
            format!("{} counts {} attempts, its events {}", job.id, job.attempts, life.attempts);
        findings.add(Kind::Burned, text);
    }
    if life.ends != life.rounds {
        let text = format!("{}: {} terminal events in {} rounds", job.id, life.ends, life.rounds);
        let kind = match life.ends < life.rounds {
            true => Kind::Lost,
            false => Kind::Duplicated,
        };
        findings.add(kind, text);
    }
}

/// Checks that a job ended as its order says.
fn ending(promise: &Promise, job: &Record, findings: &mut Findings) {
    let trouble = promise.order.trouble;
    let is_right = match job.state.as_str() {
        "completed" => true,
        "cancelled" => promise.cancelled,
        // Its user has not come to ask for the retry.
        "failed" => trouble == Trouble::Refused && job.retries == 0,
        _ => return,
    };
    if !is_right {
        let text = format!("{} {}: {}", job.id, job.state, job.error);
        findings.add(Kind::WrongEnd, text);
    }
    let needed = match trouble {
        Trouble::None => 1,
        Trouble::Temporary(attempts) => attempts as i64 + 1,
        Trouble::Refused => 2,
    };
    if job.state == "completed" && job.attempts != needed {
        let text = format!(
            "{} took {} attempts where {needed} were needed ({} losses)",
            job.id, job.attempts, job.losses
        );
        findings.add(Kind::Burned, text);
    }
}

/// Judges one reader by its session's log, of which it had to have everything up to `head`.
pub(super) fn reader(diary: &Diary, head: u64, seen: &Seen, findings: &mut Findings) {
    let log = &seen.logs[diary.session];
    findings.add_all(Kind::OutOfOrder, diary.complaints.iter().cloned());
    let owner: HashMap<&str, usize> = (0..)
        .zip(&seen.logs)
        .flat_map(|(index, log)| log.entries.iter().map(move |it| (it.job.as_str(), index)))
        .collect();
    let whispered = diary.whispered.iter().map(String::as_str);
    let told = diary.lines.iter().filter_map(|line| line.data["job"].as_str());
    let strange = |job: &&str| owner.get(job).is_some_and(|index| *index != diary.session);
    let leaks = whispered.chain(told).filter(strange);
    findings.add_all(
        Kind::Leaked,
        leaks.map(|job| format!("a reader of another session was told of {job}")),
    );
    let mut got = HashSet::new();
    for line in &diary.lines {
        let id = format!("{}-{}", line.n, line.nonce);
        if !got.insert(line.n) {
            findings.add(Kind::Duplicated, format!("{id} came twice to a reader"));
        }
        let entry = log.entries.get(line.n.saturating_sub(1) as usize);
        let is_it = entry.is_some_and(|entry| {
            entry.nonce == line.nonce && entry.kind == line.kind && entry.data == line.data
        });
        if !is_it {
            let text = format!("{id} {} is not what Redis has there", line.kind);
            findings.add(Kind::Altered, text);
        }
    }
    let covered = diary.resets.iter().map(|reset| reset.to).max();
    let first = covered.unwrap_or(diary.began) + 1;
    let missing = (first..=head).filter(|n| !got.contains(n));
    findings.add_all(
        Kind::Lost,
        missing.map(|n| format!("event {n} of {} did not reach a reader", log.session)),
    );
    for snapshot in &diary.snapshots {
        if let Some(text) = snapshot_fault(snapshot, log) {
            findings.add(Kind::Snapshot, text);
        }
    }
}

/// Compares a snapshot with the log up to the position that it names.
fn snapshot_fault(snapshot: &Snapshot, log: &Log) -> Option<String> {
    let head = number(&snapshot.head) as usize;
    let mut active = HashSet::new();
    for entry in log.entries.iter().take(head) {
        if TERMINAL.contains(&entry.kind.as_str()) {
            active.remove(entry.job.as_str());
        } else {
            active.insert(entry.job.as_str());
        }
    }
    let shown: HashSet<&str> = snapshot.jobs.iter().map(String::as_str).collect();
    (active != shown).then(|| {
        format!(
            "at {} it shows {} jobs, the events say {}; they differ in {:?}",
            snapshot.head,
            shown.len(),
            active.len(),
            active.symmetric_difference(&shown).collect::<Vec<_>>()
        )
    })
}

/// How long it took until killed workers' jobs went on; sorted, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    /// From the kill until the lease was found to have passed.
    pub(super) noticed: Vec<u64>,
    /// From the kill to the next start; under load this is mostly waiting for a turn.
    pub(super) started: Vec<u64>,
}

/// Measures each job whose worker was killed over it.
pub(super) fn recoveries(kills: &[Kill], seen: &Seen) -> Recoveries {
    let mut times = Recoveries::default();
    for kill in kills {
        for job in &kill.jobs {
            let entries = seen.logs.iter().flat_map(|log| &log.entries);
            let mut after = entries.filter(|it| it.job == *job && it.at() > kill.at);
            // It may have finished in its last moment, or been cancelled: nothing was to recover.
            let Some(lapsed) = after.next().filter(|it| it.kind == "queued") else {
                continue;
            };
            times.noticed.push(lapsed.at() - kill.at);
            if let Some(next) = after.next().filter(|it| it.kind == "started") {
                times.started.push(next.at() - kill.at);
            }
        }
    }
    times.noticed.sort_unstable();
    times.started.sort_unstable();
    times
}
