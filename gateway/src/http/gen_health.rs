//! What is said of generation as a whole: does it stand well, and what to do if not. Pure.
//!
//! A reason stands for something that a user feels now (jobs wait longer than they should) and that a
//! person can do something about, or at least wait for with a known end. A spent budget is none: that
//! is what budgets are for. Every reason says what to do. No text of a provider is repeated here, for
//! it may quote a prompt; `framewire doctor` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use framewire_shared::domain::Pool;
use framewire_shared::domain::guard::{Look, Reason};
use framewire_shared::store::survey::PoolSurvey;
use serde::Serialize;
use serde_json::{Value, json};

use crate::outlook::{Guarded, Reading};

/// Share of calls in a quarter of an hour that may time out; as in `deploy/prometheus/alerts.yml`.
const TIMEOUT_SHARE_MAX: f64 = 0.05;
/// Calls below which a share says nothing.
const CALLS_MIN: u64 = 10;
/// Age of a waiting job that is worth a word; as in `deploy/prometheus/alerts.yml`.
const OLDEST_MAX: Duration = Duration::from_secs(600);

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Degraded,
    Down,
}

/// What is said.
#[derive(Debug, Serialize)]
pub struct Report {
    status: Status,
    reasons: Vec<String>,
    cells: usize,
    cells_without_redis: Vec<String>,
    dead_letters: u64,
    providers: BTreeMap<String, Value>,
    pools: BTreeMap<String, Value>,
}

/// Judges what was read.
pub fn report(reading: &Reading, guards: &[Guarded], served: &BTreeSet<&Pool>) -> Report {
    let mut reasons = Vec::new();
    let away = reading.cells.iter().filter(|(_, is_up)| !is_up);
    let cells_without_redis: Vec<String> = away.map(|(cell, _)| cell.to_string()).collect();
    if !cells_without_redis.is_empty() {
        reasons.push(format!(
            "the Redis of {} does not answer: requests for it get 503. See that it runs, and that \
             redis.url is right.",
            cells_without_redis.join(", ")
        ));
    }
    let mut pools: BTreeMap<&str, PoolSurvey> = BTreeMap::new();
    let mut providers = BTreeMap::new();
    if reading.is_up() {
        pools.extend(served.iter().map(|pool| (pool.as_str(), PoolSurvey::default())));
        let found = reading.all.pools.iter().map(|(name, pool)| (name.as_str(), pool.clone()));
        pools.extend(found);
        for (guarded, look) in guards.iter().zip(&reading.guards) {
            judge_provider(guarded, look.as_ref(), &mut reasons);
            let shown = look.as_ref().map_or(Value::Null, |look| provider(guarded, look));
            providers.insert(guarded.name.clone(), shown);
        }
    }
    for (name, pool) in &pools {
        // One that no model waits in any more matters while jobs are left in it.
        if served.iter().any(|served| served.as_str() == *name) || pool.queued() > 0 {
            judge_pool(name, pool, &mut reasons);
        }
    }
    let draws = pools.values().any(|pool| pool.capacity > 0 && pool.cap != Some(0));
    let status = match (draws, reasons.is_empty()) {
        (false, _) => Status::Down,
        (true, false) => Status::Degraded,
        (true, true) => Status::Ok,
    };
    Report {
        status,
        reasons,
        cells: reading.cells.len(),
        cells_without_redis,
        dead_letters: reading.all.dead,
        providers,
        pools: pools.iter().map(|(name, its)| ((*name).to_owned(), pool(its))).collect(),
    }
}

fn judge_provider(guarded: &Guarded, look: Option<&Look>, reasons: &mut Vec<String>) {
    let name = &guarded.name;
    let Some(look) = look else {
        reasons.push(format!(
            "the guard of provider {name} can't be read, so nobody calls it. `framewire doctor` says \
             what to delete."
        ));
        return;
    };
    if let Some(open_for) = look.open_for.filter(|_| guarded.options.breaker.enabled) {
        reasons.push(format!(
            "provider {name} is closed off ({} for {} s): its jobs wait or go to the next route. \
             `framewire doctor` says why; workers probe it by themselves.",
            look.phase.as_str(),
            open_for.as_secs(),
        ));
    } else if let Some(left) = look.throttled_for {
        reasons.push(format!(
            "provider {name} asked to be left alone for another {} s. If that happens often, give \
             it a smaller budget.",
            left.as_secs() + 1,
        ));
    }
    let recent = look.recent;
    if recent.calls >= CALLS_MIN && recent.timeouts as f64 > TIMEOUT_SHARE_MAX * recent.calls as f64
    {
        reasons.push(format!(
            "{} of the last {} calls to provider {name} took too long. See whether it is slow \
             today; its guard's timeout_ceiling_ms is the longest that is waited.",
            recent.timeouts, recent.calls,
        ));
    }
}

fn judge_pool(name: &str, pool: &PoolSurvey, reasons: &mut Vec<String>) {
    if pool.cap == Some(0) {
        reasons.push(format!(
            "pool {name} is paused, its cap is 0. To go on: framewire caps unset pool {name}, or set \
             it higher."
        ));
    } else if !pool.closed_for.is_zero() {
        reasons.push(format!(
            "all providers of pool {name} are closed off for another {} s or so: its jobs wait.",
            pool.closed_for.as_secs() + 1,
        ));
    } else if pool.capacity == 0 {
        reasons.push(format!(
            "pool {name} has no living worker. Start one: FRAMEWIRE_WORKER_POOLS={name} \
             framewire-worker"
        ));
    }
    if let Some(oldest) = pool.oldest().filter(|oldest| *oldest > OLDEST_MAX) {
        reasons.push(format!(
            "the oldest of {} waiting jobs in pool {name} has waited {} s. Start more workers, or \
             raise the cap that holds it (framewire caps).",
            pool.queued(),
            oldest.as_secs(),
        ));
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn provider(guarded: &Guarded, look: &Look) -> Value {
    let budget = guarded.options.budget.as_ref().zip(look.tokens);
    let closed_by = look.closed.map(|refused| match refused.reason {
        Reason::Breaker => "breaker",
        Reason::Throttle => "throttle",
        Reason::Budget => "budget",
        Reason::Busy => "busy",
    });
    json!({
        "breaker": look.phase.as_str(),
        "open_for_ms": look.open_for.map(ms),
        "next_probe_ms": look.probe_in.map(ms),
        "failure_rate": look.failure_rate,
        "p95_ms": look.p95.map(ms),
        "timeout_ms": ms(look.timeout),
        "budget": budget.map(|(its, left)| json!({"tokens": left, "capacity": its.capacity})),
        "throttled_for_ms": look.throttled_for.map(ms),
        "permits_held": look.permits,
        "concurrency": guarded.options.concurrency,
        "closed_for_ms": look.closed.map_or(0, |refused| ms(refused.wait)),
        "closed_by": closed_by,
        "last_15_min": {"calls": look.recent.calls, "timeouts": look.recent.timeouts},
        "probes": {
            "succeeded": look.tally.probes_succeeded,
            "failed": look.tally.probes_failed,
        },
    })
}

fn pool(its: &PoolSurvey) -> Value {
    let queued: BTreeMap<&str, u64> =
        its.classes().map(|(class, line)| (class.as_str(), line.queued)).collect();
    json!({
        "queued": queued,
        "oldest_ms": its.oldest().map(ms),
        "window": its.lines.iter().map(|line| line.window).sum::<u64>(),
        "admitted": its.admitted,
        "running": its.running,
        "delayed": its.delayed,
        "slots": its.capacity,
        "cap": its.cap,
        "closed_for_ms": ms(its.closed_for),
    })
}
