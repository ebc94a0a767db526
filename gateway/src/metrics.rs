//! Every number that a gateway shows to a Prometheus, in one table: name, labels, meaning.
//!
//! Two kinds. What this process has counted itself (`Metrics`); all gateways' add up. And what all
//! processes share in Redis, read at the scrape (`shared`); every gateway shows the same, so take
//! the `max` over gateways and never the sum. Labels have few values: pools, providers and routes of
//! the settings, and words of ours; whatever a stranger sends is `other`.

use std::time::Duration;

use framewire_shared::domain::guard::Phase;
use framewire_shared::service::metrics::{BRIEF, Counter, Histogram, Table};
use framewire_shared::store::Store;

use crate::http::problem::Code;
use crate::live::Live;
use crate::outlook::{Guarded, Outlook, Reading};

/// Methods that are named; any other is `other`.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// What this process has counted.
#[derive(Debug)]
pub struct Metrics {
    table: Table,
    requests: Counter<3>,
    request_seconds: Histogram<1>,
    submits: Counter<1>,
    streams_opened: Counter<1>,
    streams_refused: Counter<1>,
    streams_ended: Counter<1>,
    events: Counter<1>,
    events_dropped: Counter<1>,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The pattern of its path, if there is such a route.
    pub route: Option<&'a str>,
    /// Its method.
    pub method: &'a str,
    /// The answer's status.
    pub status: u16,
    /// What went wrong, if something did.
    pub code: Option<Code>,
    /// Whether the answer is that of an earlier request.
    pub replayed: bool,
    /// Time to the head of the answer; a stream goes on after it.
    pub took: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        let table = Table::default();
        let counter = |name, help, label| table.counter(name, help, [label]);
        Self {
            requests: table.counter(
                "framewire_http_requests_total",
                "Requests answered, by route, method and class of the status.",
                ["route", "method", "status"],
            ),
            request_seconds: table.histogram(
                "framewire_http_request_seconds",
                "Time to the head of the answer; long where the caller asked to wait.",
                ["route"],
                &BRIEF,
            ),
            submits: counter(
                "framewire_submits_total",
                "Submits, and jobs that frames/next orders: accepted (a new job), replayed (an earlier \
                 one's), or the code of the refusal.",
                "outcome",
            )
            .with([["accepted"], ["replayed"], ["queue_full"], ["session_full"], ["unavailable"]]),
            streams_opened: counter(
                "framewire_streams_opened_total",
                "Joins of streams: fresh, resumed, reset; job for the stream of one job.",
                "mode",
            )
            .with([["fresh"], ["resumed"], ["reset"], ["job"]]),
            streams_refused: counter(
                "framewire_streams_refused_total",
                "Streams refused before they began, by reason.",
                "reason",
            )
            .with([["limit"], ["overloaded"], ["drain"]]),
            streams_ended: counter(
                "framewire_streams_ended_total",
                "Streams ended: left by the reader, or by us with the reason that bye gave; slow is \
                 a reader that took its events too slowly.",
                "reason",
            )
            .with([["left"], ["slow"], ["lagged"], ["max_age"], ["drain"], ["done"]]),
            events: counter(
                "framewire_stream_events_total",
                "Events handed to readers, heard live or replayed at a join.",
                "source",
            )
            .with([["live"], ["replay"]]),
            events_dropped: counter(
                "framewire_stream_events_dropped_total",
                "Ephemeral events that a newer one replaced (coalesced) or that had no room (full).",
                "cause",
            )
            .with([["coalesced"], ["full"]]),
            table,
        }
    }
}

impl Metrics {
    /// Counts an answered request, and what became of it if it is a submit.
    pub fn answered(&self, it: &Answered<'_>) {
        let route = it.route.unwrap_or("other");
        let method = METHODS.into_iter().find(|known| *known == it.method).unwrap_or("other");
        let class = match it.status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.inc([route, method, class]);
        self.request_seconds.observe([route], it.took);
        if (route, method) == ("/v1/jobs", "POST") {
            let made = if it.replayed { "replayed" } else { "accepted" };
            self.submitted(it.code.map_or(made, Code::word));
        }
    }

    /// Counts a job that was to be queued.
    pub fn submitted(&self, outcome: &str) {
        self.submits.inc([outcome]);
    }

    /// Counts a join of a stream; `None` for that of one job.
    pub fn joined(&self, mode: Option<&'static str>, replayed: usize) {
        self.streams_opened.inc([mode.unwrap_or("job")]);
        self.events.add(["replay"], replayed as f64);
    }

    /// Counts a stream that was refused.
    pub fn refused(&self, reason: &'static str) {
        self.streams_refused.inc([reason]);
    }

    /// Counts a stream's end; `None` if its reader left.
    pub fn ended(&self, reason: Option<&'static str>) {
        self.streams_ended.inc([reason.unwrap_or("left")]);
    }

    /// Counts an event that was handed to a reader.
    pub fn delivered(&self) {
        self.events.inc(["live"]);
    }

    /// Counts ephemeral events that no reader will see.
    pub fn dropped(&self, coalesced: usize, full: usize) {
        for (cause, count) in [("coalesced", coalesced), ("full", full)] {
            if count > 0 {
                self.events_dropped.add([cause], count as f64);
            }
        }
    }

    /// Writes it all, with what is true just now: the readers, and what all processes share.
    pub fn text(&self, live: &Live, store: &Store, outlook: &Outlook, reading: &Reading) -> String {
        let now = Table::default();
        let gauge = |name, help, value: usize| now.gauge(name, help, []).set([], value as f64);
        gauge("framewire_stream_readers", "Streams that are open here.", live.streams());
        gauge(
            "framewire_waiting_requests",
            "Requests that wait here for a job's end.",
            live.readers().saturating_sub(live.streams()),
        );
        gauge("framewire_sessions_followed", "Sessions subscribed to here.", live.sessions());
        let failed = now.counter(
            "framewire_redis_calls_failed_total",
            "Calls to Redis that failed: unavailable, refused, or not understood (garbled).",
            ["kind"],
        );
        for (kind, count) in store.failures() {
            failed.add([kind], count as f64);
        }
        self.table.text() + &now.text() + &shared(outlook, reading).text()
    }
}

/// Writes down what all processes share, as it was read.
fn shared(outlook: &Outlook, reading: &Reading) -> Table {
    let table = Table::default();
    let up = table.gauge("framewire_redis_up", "Whether the cell's Redis answers.", ["cell"]);
    for (cell, is_up) in &reading.cells {
        up.set([&cell.to_string()], f64::from(u8::from(*is_up)));
    }
    if reading.is_up() {
        pools(&table, reading);
        guards(&table, outlook, reading);
    }
    table
}

fn pools(table: &Table, reading: &Reading) {
    let gauge = |name, help| table.gauge(name, help, ["pool"]);
    let by_class = |name, help| table.gauge(name, help, ["pool", "priority"]);
    let queued = by_class("framewire_queue_jobs", "Jobs that nobody has claimed.");
    let oldest = by_class(
        "framewire_queue_oldest_seconds",
        "Age of the oldest of them; 0 if there is none.",
    );
    let window = by_class("framewire_window_jobs", "Jobs in the window, which workers pop from.");
    let running = gauge("framewire_running_jobs", "Jobs that a worker has claimed.");
    let admitted = gauge("framewire_admitted_jobs", "Jobs admitted and not yet claimed.");
    let delayed = gauge("framewire_delayed_jobs", "Failed attempts that wait for their next.");
    let capacity =
        gauge("framewire_pool_slots", "Slots of living workers whose providers may be asked.");
    let cap = gauge("framewire_pool_cap_jobs", "Jobs that may run; absent where there is no cap.");
    let closed =
        gauge("framewire_pool_closed_seconds", "Time for which all its providers are closed off.");
    table
        .gauge("framewire_dead_letters", "Failed jobs that are kept for an operator.", [])
        .set([], reading.all.dead as f64);
    for (name, pool) in &reading.all.pools {
        for (class, line) in pool.classes() {
            let labels = [name.as_str(), class.as_str()];
            queued.set(labels, line.queued as f64);
            oldest.set(labels, line.oldest.unwrap_or_default().as_secs_f64());
            window.set(labels, line.window as f64);
        }
        running.set([name], pool.running as f64);
        admitted.set([name], pool.admitted as f64);
        delayed.set([name], pool.delayed as f64);
        capacity.set([name], pool.capacity as f64);
        closed.set([name], pool.closed_for.as_secs_f64());
        if let Some(jobs) = pool.cap {
            cap.set([name], jobs as f64);
        }
    }
}

fn guards(table: &Table, outlook: &Outlook, reading: &Reading) {
    let gauge = |name, help| table.gauge(name, help, ["provider"]);
    let state = table.gauge(
        "framewire_breaker_state",
        "1 for the state that the provider's breaker is in.",
        ["provider", "state"],
    );
    let open = table.counter(
        "framewire_breaker_open_seconds_total",
        "Time for which the provider's breaker was not closed, by all workers together.",
        ["provider"],
    );
    let rate = gauge("framewire_provider_failure_ratio", "Weighted failures among recent calls.");
    let timeout = gauge("framewire_provider_timeout_seconds", "How long the next call may take.");
    let p95 = gauge("framewire_provider_p95_seconds", "What 95 of 100 recent calls took at most.");
    let tokens = gauge("framewire_budget_tokens", "Calls that the budget has left.");
    let throttled =
        gauge("framewire_provider_throttled_seconds", "For how long it asked to be left alone.");
    let permits = gauge(
        "framewire_permits_held",
        "Leaves to call it that are held: for a call that runs, or by a worker that waits for a job.",
    );
    let calls = table.counter(
        "framewire_provider_calls_total",
        "Calls for jobs by all workers: success, timeout, quota, 5xx, 4xx, unknown, ours.",
        ["provider", "outcome"],
    );
    let probes = table.counter(
        "framewire_provider_probes_total",
        "Recovery calls by all workers.",
        ["provider", "outcome"],
    );
    let readable = gauge("framewire_guard_readable", "Whether the provider's guard can be read.");
    for (Guarded { name, .. }, look) in outlook.guards().iter().zip(&reading.guards) {
        let its = [name.as_str()];
        readable.set(its, f64::from(u8::from(look.is_some())));
        let Some(look) = look else { continue };
        for phase in [Phase::Closed, Phase::Open, Phase::HalfOpen] {
            state.set([name, phase.as_str()], f64::from(u8::from(phase == look.phase)));
        }
        open.add(its, look.open_total.as_secs_f64());
        rate.set(its, look.failure_rate);
        timeout.set(its, look.timeout.as_secs_f64());
        throttled.set(its, look.throttled_for.unwrap_or_default().as_secs_f64());
        permits.set(its, look.permits as f64);
        if let Some(p95_time) = look.p95 {
            p95.set(its, p95_time.as_secs_f64());
        }
        if let Some(left) = look.tokens {
            tokens.set(its, left.into());
        }
        for (outcome, count) in look.tally.calls.each() {
            calls.add([name, outcome], count as f64);
        }
        probes.add([name, "success"], look.tally.probes_succeeded as f64);
        probes.add([name, "failure"], look.tally.probes_failed as f64);
    }
}
