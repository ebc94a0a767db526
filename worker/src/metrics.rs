//! Every number that a worker shows to a Prometheus, in one table: name, labels, meaning.
//!
//! What this process has done and seen; those of all workers add up. How the pools and the guards
//! stand is the same for all and is shown by the gateways. Labels have few values: pools, models and
//! providers of the settings, and words of ours; never an id.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use framewire_shared::domain::Failure;
use framewire_shared::domain::guard::Reason;
use framewire_shared::service::metrics::{Counter, Histogram, LONG, Table};
use framewire_shared::store::Store;
use framewire_shared::store::codec::{Renewal, Swept};

use crate::runner::Settled;

/// What this process has counted.
#[derive(Debug)]
pub struct Metrics {
    /// When Redis last answered.
    pub pulse: Pulse,
    table: Table,
    claims: Counter<1>,
    attempts: Counter<3>,
    attempt_seconds: Histogram<2>,
    call_seconds: Histogram<2>,
    failures: Counter<3>,
    frames: Counter<0>,
    frame_bytes: Counter<0>,
    pictures_refused: Counter<1>,
    renewals: Counter<1>,
    permits_refused: Counter<2>,
    probes: Counter<2>,
    swept: Counter<2>,
}

impl Default for Metrics {
    fn default() -> Self {
        let table = Table::default();
        Self {
            pulse: Pulse::default(),
            claims: table.counter(
                "framewire_worker_claims_total",
                "Jobs claimed.",
                ["pool"],
            ),
            attempts: table.counter(
                "framewire_worker_attempts_total",
                "Attempts settled: completed, retrying, failed, cancelled, released (handed back), \
                 abandoned (somebody else's by then).",
                ["pool", "model", "outcome"],
            ),
            attempt_seconds: table.histogram(
                "framewire_worker_attempt_seconds",
                "Time from claim to settlement.",
                ["provider", "outcome"],
                &LONG,
            ),
            call_seconds: table.histogram(
                "framewire_worker_call_seconds",
                "Time of calls to providers for jobs: success, timeout, quota, 5xx, 4xx, unknown, \
                 ours. What was cancelled or handed back is not in it.",
                ["provider", "outcome"],
                &LONG,
            ),
            failures: table.counter(
                "framewire_worker_failures_total",
                "Failed attempts, by what their users were told (code) and what it says of the \
                 provider (kind).",
                ["provider", "code", "kind"],
            ),
            frames: table.counter("framewire_worker_frames_total", "Frames stored.", []).with([[]]),
            frame_bytes: table
                .counter("framewire_worker_frame_bytes_total", "Bytes of frames stored.", [])
                .with([[]]),
            pictures_refused: table
                .counter(
                    "framewire_worker_pictures_refused_total",
                    "Pictures of providers that were not what was promised.",
                    ["kind"],
                )
                .with([["frame"], ["preview"]]),
            renewals: table
                .counter(
                    "framewire_worker_renewals_total",
                    "Answers to renewals of leases; lost is a job that somebody else has by now.",
                    ["answer"],
                )
                .with([["renewed"], ["cancel"], ["overtime"], ["lost"]]),
            permits_refused: table.counter(
                "framewire_worker_permits_refused_total",
                "Leaves to call a provider that were refused, before anything was popped.",
                ["provider", "reason"],
            ),
            probes: table.counter(
                "framewire_worker_probes_total",
                "Recovery calls made.",
                ["provider", "outcome"],
            ),
            swept: table.counter(
                "framewire_worker_swept_total",
                "What its sweeps mended: leases lapsed, jobs popped and never claimed that were \
                 delivered again (redelivered), jobs nobody started in time (expired), retries due, \
                 workers_gone.",
                ["pool", "what"],
            ),
            table,
        }
    }
}

impl Metrics {
    /// Counts a claim.
    pub fn claimed(&self, pool: &str) {
        self.claims.inc([pool]);
    }

    /// Counts a settled attempt.
    pub fn settled(&self, [pool, model, provider]: [&str; 3], settled: Settled, took: Duration) {
        let outcome = settled.word();
        self.attempts.inc([pool, model, outcome]);
        self.attempt_seconds.observe([provider, outcome], took);
    }

    /// Counts a call to a provider that ended by itself or at its deadline.
    pub fn called(&self, provider: &str, outcome: &str, took: Duration) {
        self.call_seconds.observe([provider, outcome], took);
    }

    /// Counts a failed attempt.
    pub fn failed(&self, provider: &str, failure: &Failure) {
        self.failures.inc([provider, failure.code.as_str(), failure.kind.as_str()]);
    }

    /// Counts a stored frame.
    pub fn stored(&self, bytes: u64) {
        self.frames.inc([]);
        self.frame_bytes.add([], bytes as f64);
    }

    /// Counts a picture that was not what was promised.
    pub fn picture_refused(&self, kind: &'static str) {
        self.pictures_refused.inc([kind]);
    }

    /// Counts the answer to a renewal.
    pub fn renewed(&self, answer: Renewal) {
        self.renewals.inc([match answer {
            Renewal::Renewed => "renewed",
            Renewal::Cancel => "cancel",
            Renewal::Overtime => "overtime",
            Renewal::Lost => "lost",
        }]);
    }

    /// Counts a leave that was refused.
    pub fn permit_refused(&self, provider: &str, reason: Reason) {
        let reason = match reason {
            Reason::Breaker => "breaker",
            Reason::Throttle => "throttle",
            Reason::Budget => "budget",
            Reason::Busy => "busy",
        };
        self.permits_refused.inc([provider, reason]);
    }

    /// Counts a probe.
    pub fn probed(&self, provider: &str, is_well: bool) {
        self.probes.inc([provider, if is_well { "success" } else { "failure" }]);
    }

    /// Counts what a sweep of ours has mended.
    pub fn swept(&self, pool: &str, swept: &Swept) {
        let Swept { due, lapsed, expired, offered_again, workers_gone, dead: _ } = *swept;
        for (what, count) in [
            ("due", due),
            ("lapsed", lapsed),
            ("expired", expired),
            ("redelivered", offered_again),
            ("workers_gone", workers_gone),
        ] {
            self.swept.add([pool, what], count.into());
        }
    }

    /// Writes it all, with what is true just now.
    pub fn text(&self, store: &Store, slots: usize, busy: usize) -> String {
        let now = Table::default();
        let gauge = |name, help, value| now.gauge(name, help, []).set([], value);
        gauge("framewire_worker_slots", "Jobs that may run here at the same time.", slots as f64);
        gauge("framewire_worker_slots_busy", "Slots taken, by a job or a pop.", busy as f64);
        if let Some(age) = self.pulse.age() {
            let help = "Time since Redis last answered a pop or a renewal.";
            gauge("framewire_worker_redis_silence_seconds", help, age.as_secs_f64());
        }
        let failed = now.counter(
            "framewire_redis_calls_failed_total",
            "Calls to Redis that failed: unavailable, refused, or not understood (garbled).",
            ["kind"],
        );
        for (kind, count) in store.failures() {
            failed.add([kind], count as f64);
        }
        self.table.text() + &now.text()
    }
}

/// When Redis last answered a pop, a renewal or a question of the guards: what readiness is read from.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// Notes that it did just now.
    pub fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Gives the time since; `None` if it never did.
    pub fn age(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}
