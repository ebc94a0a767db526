//! The table of all keys. This is the reference; nothing repeats it.
//!
//! Every key begins with `fw:` and the hash tag of its cell, `fw:{c0}:`, so that everything one
//! script touches lies in one Redis Cluster slot. Scripts build the same names from the root of
//! `KEYS[1]` (`lua/prelude/clock.lua`). `<line>` stands for `<pool>:<priority>`. All values are text; all
//! scores are milliseconds since 1970 by Redis' own clock.
//!
//! | key | type | holds | written by | bound, lifetime |
//! |---|---|---|---|---|
//! | `config` | hash | caps of sessions, in jobs: `session_cap` (the operator's), `session_cap_default` (the settings'), `session_cap:<tenant>`; `overrides` (how many of the latter); of `c0` also `cells`, how many there are | set_cap; gateway, worker | tenants |
//! | `pools` | set | pools that ever had a worker or a cap | heartbeat, set_cap | pools |
//! | `pool:<pool>` | hash | `capacity` (live slots), `cap` (the operator's), `cap_default` (the settings'), `beat` (place in the class pattern), `service_ms` and `service_var` (moving mean and variance), `margin_<priority>` (stretches what is stated, so that it holds), `swept_at`, `lapse_from`, `closed_until` (all its providers are closed off until about then) | heartbeat, set_cap, admit, complete, sweep | 12 fields |
//! | `job:<id>` | hash | the job, as text fields | all transitions, purge, delete | retention after the end |
//! | `queue:<line>` | zset | the ledger: every unclaimed job that is not delayed → queued at | submit, claim, … | `queue_max` per pool |
//! | `wait:<line>:<session>` | zset | a session's own line: job → queued at | submit, admit, … | `session_max` |
//! | `turn:<line>` | zset | sessions with something waiting, but for those found at their cap → last served | submit, admit, … | waiting sessions |
//! | `held:<session>` | set | lines taken out of `turn` because the session was found at its cap | admit, wake | lines |
//! | `paused` | set | sessions held by a cap of 0; no end of a job would wake them | admit, wake, set_cap | waiting sessions |
//! | `ready:<line>` | zset | **the window workers BZPOPMIN**: job → admitted at | admit, sweep | free slots |
//! | `out:<pool>` | zset | admitted, not yet claimed: job → offered at | admit, claim, sweep | free slots |
//! | `lease:<pool>` | zset | **the running set**: job → lease expiry | claim, renew, ends | capacity |
//! | `live:<session>` | set | jobs admitted or running; the cap is its size | admit, ends | session cap |
//! | `delayed:<pool>` | zset | failed attempts that wait for their next: job → due | fail, sweep | retries |
//! | `deadline:<pool>` | zset | unstarted jobs with a start-by: job → run_by | submit, claim, sweep | queued jobs |
//! | `active:<session>` | zset | unfinished jobs: job → submitted at | submit, ends | `session_max` |
//! | `jobs:<session>` | list | all jobs still listed, newest first | submit, purge, delete | `listed_max`, 7 days |
//! | `last:<session>` | hash | the newest frame by model: model → `<expires at> <url>`; its blob outlives that moment | complete, delete | models, retention |
//! | `dead` | zset | dead letters: failed job → failed at | fail, sweep, retry, purge, delete | `dead_max`, retention |
//! | `idem:<session>:<key>` | string | `<job id> <digest of the request>` | submit, purge, delete | 24 h |
//! | `stream:<session>` | list | the newest events, two lines of text each | every transition | 256 to 288, 15 min |
//! | `streamhead:<session>` | hash | `n` and `u` of the newest event, `kept` (the minute in which the lifetimes were set) | every transition, readers | 7 days |
//! | `session:<id>` | hash | `id`, `token_sha256`, `tenant` | sessions | 30 days |
//! | `file:<id>` | hash | an uploaded picture: `session`, `content_type`, `width`, `height`, `bytes`, `sha256`, `expires_at` | keep_file, forget_file | 24 h |
//! | `files:<session>` | hash | a session's uploads: file → `<expires at> <bytes>` | keep_file, forget_file | 200 files, 24 h after the last |
//! | `watched` | zset | sessions that had a stream's reader → taken to have left after | watch, abandon | sessions with streams |
//! | `watch` | hash | `seen_at` (last word of a gateway that watches), `spare_until` (nobody is taken to have left before) | watch | 2 fields |
//! | `workers:<pool>` | zset | worker → heard of until | heartbeat, sweep | workers |
//! | `slots:<pool>` | hash | worker → slots | heartbeat, sweep | workers |
//! | `sweep:<pool>` | string | the throttle of the sweep | sweep | 0.5 s |
//! | `guard:<provider>` | hash, in the first cell only | `state` (JSON of `domain::guard`) and its version `v`; for people: `breaker`, `reason`, `tokens` at the last change, `throttled_until`, `running` | guard_swap | providers; 7 days after the last change |
//!
//! Channels: `stream:<session>` carries the text of each event; `probe:<gateway>` carries what a
//! gateway publishes to itself to see whether its subscription is alive. In a cluster they are sharded
//! channels (SPUBLISH), and lie in the slot of their cell as keys do.

use crate::domain::{Cell, Pool, Priority, SessionId};

/// Prefix of everything Framewire writes.
pub const PREFIX: &str = "fw:";

/// Types of the keys above, by the first word after the cell's root; for tests and the doctor.
pub const TYPES: [(&str, &str); 31] = [
    ("config", "hash"),
    ("pools", "set"),
    ("pool", "hash"),
    ("job", "hash"),
    ("queue", "zset"),
    ("wait", "zset"),
    ("turn", "zset"),
    ("held", "set"),
    ("paused", "set"),
    ("ready", "zset"),
    ("out", "zset"),
    ("lease", "zset"),
    ("live", "set"),
    ("delayed", "zset"),
    ("deadline", "zset"),
    ("active", "zset"),
    ("jobs", "list"),
    ("last", "hash"),
    ("dead", "zset"),
    ("idem", "string"),
    ("stream", "list"),
    ("streamhead", "hash"),
    ("session", "hash"),
    ("file", "hash"),
    ("files", "hash"),
    ("watched", "zset"),
    ("watch", "hash"),
    ("workers", "zset"),
    ("slots", "hash"),
    ("sweep", "string"),
    ("guard", "hash"),
];

/// Gives the root of a cell's keys, like `fw:{c0}:`.
pub fn root(cell: Cell) -> String {
    format!("{PREFIX}{{{cell}}}:")
}

pub(crate) fn config(cell: Cell) -> String {
    root(cell) + "config"
}

pub(crate) fn pools(cell: Cell) -> String {
    root(cell) + "pools"
}

pub(crate) fn ready(cell: Cell, pool: &Pool, priority: Priority) -> String {
    format!("{}ready:{pool}:{}", root(cell), priority.as_str())
}

pub(crate) fn job(job: &crate::domain::JobId) -> String {
    format!("{}job:{job}", root(job.cell()))
}

pub(crate) fn jobs(session: &SessionId) -> String {
    format!("{}jobs:{session}", root(session.cell()))
}

pub(crate) fn session(session: &SessionId) -> String {
    format!("{}session:{session}", root(session.cell()))
}

pub(crate) fn file(file: &crate::domain::FileId) -> String {
    format!("{}file:{file}", root(file.cell()))
}

pub(crate) fn stream(session: &SessionId) -> String {
    format!("{}stream:{session}", root(session.cell()))
}

pub(crate) fn probe(cell: Cell, name: &str) -> String {
    format!("{}probe:{name}", root(cell))
}

#[cfg(feature = "testing")]
pub(crate) fn clock(cell: Cell) -> String {
    root(cell) + "clock"
}
