//! Compares what was promised, what Redis held and what readers saw. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::findings::{Findings, Kind};
use super::inventory::Record;
use super::life::Life;
use super::orders::Trouble;
use super::pulse::Beat;
use super::reader::{Diary, Snapshot, number};
use super::storm::Strike;
use super::user::Promise;
use super::witness::{Entry, Log, Seen};

const TERMINAL: [&str; 3] = ["completed", "failed", "cancelled"];

/// Follows every job through the logs; gives its life by its id.
pub(super) fn lives<'a>(seen: &'a Seen, findings: &mut Findings) -> HashMap<&'a str, Life> {
    let mut lives: HashMap<&str, Life> = HashMap::new();
    for entry in seen.entries() {
        let life = lives.entry(&entry.job).or_default();
        life.go_on(entry, findings);
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
            let text = format!("{}: never answered with 202", promise.order.body());
            findings.add(Kind::Refused, text);
            continue;
        };
        if promise.ids.iter().any(|other| other != id) {
            let text = format!("one request was answered with {:?}", promise.ids);
            findings.add(Kind::Duplicated, text);
        }
        match by_id.get(id.as_str()) {
            Some(job) => {
                let life = lives.get(id.as_str()).cloned().unwrap_or_default();
                ending(promise, job, &life, findings);
            }
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
fn ending(promise: &Promise, job: &Record, life: &Life, findings: &mut Findings) {
    let order = &promise.order;
    if let (Some(late_at), Some(within_s)) = (life.late_at, order.start_within_s)
        && late_at < life.born_at + within_s * 1_000
    {
        findings.add(Kind::Late, format!("{} was failed before its deadline", job.id));
    }
    let is_right = match job.state.as_str() {
        "completed" => true,
        "cancelled" => promise.cancelled,
        "failed" if life.given_up => true,
        "failed" if life.late_at.is_some() => order.start_within_s.is_some(),
        // Its user has not come to ask for the retry.
        "failed" => order.trouble == Trouble::Refused && job.retries == 0,
        _ => return,
    };
    if !is_right {
        let text = format!("{} {}: {}", job.id, job.state, job.error);
        findings.add(Kind::WrongEnd, text);
    }
    let needed = match order.trouble {
        Trouble::None | Trouble::Deadly => 1,
        Trouble::Temporary(attempts) => attempts as i64 + 1,
        Trouble::Refused => 2,
    };
    // An attempt that was cancelled, and one whose worker was the last it might lose, count too.
    let more = i64::from(promise.cancelled && job.retries > 0) + i64::from(life.given_up);
    if job.state == "completed" && !(needed..=needed + more).contains(&job.attempts) {
        let text = format!(
            "{} took {} attempts where {needed} were needed ({} losses)",
            job.id, job.attempts, job.losses
        );
        findings.add(Kind::Burned, text);
    }
}

/// Compares the dead letters with the failed jobs.
pub(super) fn dead_letters(dead: &[String], records: &[Record], findings: &mut Findings) {
    let dead: HashSet<&str> = dead.iter().map(String::as_str).collect();
    let failed = records.iter().filter(|job| job.state == "failed");
    let failed: HashSet<&str> = failed.map(|job| job.id.as_str()).collect();
    let text = |what: &str, id: &&str| format!("{id} {what}");
    let missing = failed.difference(&dead).map(|id| text("failed and has no dead letter", id));
    findings.add_all(Kind::DeadLetters, missing);
    let strange = dead.difference(&failed).map(|id| text("has a dead letter and did not fail", id));
    findings.add_all(Kind::DeadLetters, strange);
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

/// Times in milliseconds, by what they are of.
pub(super) type Times = BTreeMap<&'static str, Vec<u64>>;

/// Measures how long it took until everything went on after each kind of strike.
pub(super) fn recoveries(strikes: &[Strike], pulses: &[Vec<Beat>], seen: &Seen) -> Times {
    let mut moments: Vec<u64> = seen.entries().map(Entry::at).collect();
    moments.sort_unstable();
    let mut by_job: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in seen.entries() {
        by_job.entry(&entry.job).or_default().push(entry);
    }
    let mut times = Times::new();
    let mut note = |what, time: Option<u64>| times.entry(what).or_default().extend(time);
    for strike in strikes {
        let ready = || pulses.get(strike.number).and_then(|beats| ready_after(beats, strike.at));
        match strike.fault {
            "gateway killed" => note("gateway killed, ready again", ready()),
            "gateway drained" => note("gateway drained, ready again", ready()),
            "redis killed" => {
                let next = moments.partition_point(|moment| *moment <= strike.at);
                let next = moments.get(next).map(|moment| moment - strike.at);
                note("redis killed, the next event", next);
            }
            _ => {}
        }
        for job in &strike.jobs {
            let entries = by_job.get(job.as_str()).into_iter().flatten();
            let mut after = entries.filter(|it| it.at() > strike.at);
            // It may have ended in the worker's last moment or drain: nothing was to recover.
            let Some(back) = after.next().filter(|it| it.kind == "queued") else {
                continue;
            };
            let again = after.next().filter(|it| it.kind == "started").map(|it| it.at());
            if strike.fault == "worker drained" {
                note("worker drained, its job runs again", again.map(|at| at - strike.at));
                continue;
            }
            note("worker killed, its job is offered again", Some(back.at() - strike.at));
            note("worker killed, then the job waits its turn", again.map(|at| at - back.at()));
            note("worker killed, its job runs again", again.map(|at| at - strike.at));
        }
    }
    times
}

/// Gives the time from a moment until a gateway was ready that had ceased to be.
fn ready_after(beats: &[Beat], at: u64) -> Option<u64> {
    let after = &beats[beats.partition_point(|beat| beat.asked_at <= at)..];
    let silent = after.iter().position(|beat| !beat.is_ready)?;
    let ready = after[silent..].iter().find(|beat| beat.is_ready)?;
    Some(ready.asked_at - at)
}

/// How the estimates that came with a 202 turned out.
#[derive(Debug, Default)]
pub(super) struct Estimates {
    /// Jobs with one, of those that nobody cancelled.
    pub(super) given: u64,
    /// Jobs that had ended when it was over.
    pub(super) held: u64,
    /// Jobs that were given none.
    pub(super) none: u64,
}

impl Estimates {
    /// Gives how many of a hundred held.
    pub(super) fn share(&self) -> Option<f64> {
        (self.given > 0).then(|| self.held as f64 * 100.0 / self.given as f64)
    }
}

/// Compares estimates with ends.
pub(super) fn estimates(promises: &[Promise], seen: &Seen) -> Estimates {
    let mut spans: HashMap<&str, (u64, Option<u64>)> = HashMap::new();
    for entry in seen.entries() {
        let span = spans.entry(&entry.job).or_insert((entry.at(), None));
        if TERMINAL.contains(&entry.kind.as_str()) {
            span.1.get_or_insert(entry.at());
        }
    }
    let mut estimates = Estimates::default();
    for promise in promises.iter().filter(|promise| !promise.cancelled) {
        let span = promise.ids.first().and_then(|id| spans.get(id.as_str()));
        match (promise.estimated_ms, span) {
            (Some(estimate), Some((from, Some(to)))) => {
                estimates.given += 1;
                estimates.held += u64::from(to - from <= estimate);
            }
            (None, Some(_)) => estimates.none += 1,
            _ => {}
        }
    }
    estimates
}

/// Measures how long jobs of the greedy session and of the others waited for their first start.
pub(super) fn waits(seen: &Seen) -> Times {
    let mut waits = Times::new();
    for (log, number) in seen.logs.iter().zip(0..) {
        let whose = match number {
            0 => "first start, greedy session",
            _ => "first start, other sessions",
        };
        let mut since: HashMap<&str, u64> = HashMap::new();
        for entry in &log.entries {
            if entry.kind == "queued" && entry.data["reason"] == "submitted" {
                since.insert(&entry.job, entry.at());
            } else if entry.kind == "started"
                && let Some(since) = since.remove(entry.job.as_str())
            {
                waits.entry(whose).or_default().push(entry.at() - since);
            }
        }
    }
    waits
}
