//! What is measured and judged by nobody: how soon things went on, how long they waited. Pure.

use std::collections::{BTreeMap, HashMap};

use super::pulse::Beat;
use super::storm::Strike;
use super::user::Promise;
use super::verdict::TERMINAL;
use super::witness::{Entry, Seen};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_ready_again_only_after_it_was_silent() {
        let beat = |(asked_at, is_ready)| Beat { asked_at, is_ready };
        let beats = [(10, true), (60, true), (110, false), (160, false), (210, true), (260, true)];
        let beats = beats.map(beat);
        assert_eq!(ready_after(&beats, 50), Some(160), "it answered once more before it left");
        assert_eq!(ready_after(&beats, 205), None, "it never fell silent");
    }
}
