//! Compares what was promised, what Redis held and what readers saw. Pure.

use std::collections::{HashMap, HashSet};

use super::findings::{Findings, Kind};
use super::inventory::Record;
use super::life::{Life, urls};
use super::orders::Trouble;
use super::reader::{Diary, Snapshot, number};
use super::user::Promise;
use super::witness::{Log, Seen};

/// Events after which nothing comes unless somebody asks.
pub(super) const TERMINAL: [&str; 3] = ["completed", "failed", "cancelled"];

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::reader::Line;
    use super::super::witness::Entry;
    use super::*;

    /// Two sessions, each with one job that was submitted.
    fn two() -> Seen {
        let log = |session: &str, job: &str| {
            let mut log = Log::default();
            session.clone_into(&mut log.session);
            log.entries.push(Entry {
                n: 1,
                nonce: "aaaaaaaa".into(),
                kind: "queued".into(),
                job: job.into(),
                data: json!({"job": job, "v": 1}),
            });
            log
        };
        let mut seen = Seen::default();
        seen.logs = vec![log("one", "job_1"), log("two", "job_2")];
        seen
    }

    /// A reader of the first session that was told this.
    fn told(n: u64, nonce: &str, job: &str) -> Diary {
        let data = json!({"job": job, "v": 1});
        let line = Line { n, nonce: nonce.into(), kind: "queued".into(), data };
        Diary { lines: vec![line], ..Diary::default() }
    }

    #[test]
    fn a_reader_that_was_told_of_anothers_job_has_seen_a_leak() {
        let mut findings = Findings::default();
        reader(&told(1, "aaaaaaaa", "job_1"), 1, &two(), &mut findings);
        assert_eq!(findings.total(), 0, "{findings:?}");
        reader(&told(1, "aaaaaaaa", "job_2"), 1, &two(), &mut findings);
        assert_eq!(findings.count(Kind::Leaked), 1, "{findings:?}");
    }

    #[test]
    fn an_event_that_never_came_and_one_that_is_another_are_found() {
        let mut findings = Findings::default();
        reader(&Diary::default(), 1, &two(), &mut findings);
        assert_eq!(findings.count(Kind::Lost), 1, "{findings:?}");
        reader(&told(1, "bbbbbbbb", "job_1"), 1, &two(), &mut findings);
        assert_eq!(findings.count(Kind::Altered), 1, "{findings:?}");
    }

    #[test]
    fn a_dead_letter_too_few_and_one_too_many_are_found() {
        let record = |id: &str, state: &str| Record {
            id: id.into(),
            state: state.into(),
            ..Record::default()
        };
        let records = [record("one", "failed"), record("two", "completed")];
        let mut findings = Findings::default();
        dead_letters(&["one".into()], &records, &mut findings);
        assert_eq!(findings.total(), 0, "{findings:?}");
        dead_letters(&["two".into()], &records, &mut findings);
        assert_eq!(findings.count(Kind::DeadLetters), 2, "{findings:?}");
    }
}
