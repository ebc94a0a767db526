//! The table of all keys. This is the reference; nothing repeats it.
//!
//! Every key begins with `fw:` and the hash tag of its cell, `fw:{c0}:`, so that everything one
//! script touches lies in one Redis Cluster slot. Scripts build the same names from the root of
//! `KEYS[1]` (`lua/prelude.lua`). `<line>` stands for `<pool>:<priority>`. All values are text; all
//! scores are milliseconds since 1970 by Redis' own clock.
//!
//! | key | type | holds | written by | bound, lifetime |
//! |---|---|---|---|---|
//! | `config` | hash | `session_cap` and other values an operator may change live; of `c0` also `cells`, how many there are | gateway, worker, operator | a few fields |
//! | `pools` | set | pools that ever had a worker | heartbeat | pools |
//! | `pool:<pool>` | hash | `capacity` (live slots), `cap` (operator's), `beat` (place in the class pattern), `service_ms` (moving average), `swept_at`, `lapse_from` | heartbeat, admit, complete, sweep | 6 fields |
//! | `job:<id>` | hash | the job, as text fields | all transitions, purge | retention after the end |
//! | `queue:<line>` | zset | the ledger: every unclaimed job that is not delayed → queued at | submit, claim, … | `queue_max` per pool |
//! | `wait:<line>:<session>` | zset | a session's own line: job → queued at | submit, admit, … | `session_max` |
//! | `turn:<line>` | zset | sessions with something waiting, but for those found at their cap → last served | submit, admit, … | waiting sessions |
//! | `held:<session>` | set | lines taken out of `turn` because the session was found at its cap | admit, free | lines |
//! | `ready:<line>` | zset | **the window workers BZPOPMIN**: job → admitted at | admit, sweep | free slots |
//! | `out:<pool>` | zset | admitted, not yet claimed: job → offered at | admit, claim, sweep | free slots |
//! | `lease:<pool>` | zset | **the running set**: job → lease expiry | claim, renew, ends | capacity |
//! | `live:<session>` | set | jobs admitted or running; the cap is its size | admit, ends | session cap |
//! | `delayed:<pool>` | zset | failed attempts that wait for their next: job → due | fail, sweep | retries |
//! | `deadline:<pool>` | zset | unstarted jobs with a start-by: job → run_by | submit, claim, sweep | queued jobs |
//! | `active:<session>` | zset | unfinished jobs: job → submitted at | submit, ends | `session_max` |
//! | `jobs:<session>` | list | all jobs still listed, newest first | submit, purge | `listed_max`, 7 days |
//! | `dead` | zset | dead letters: failed job → failed at | fail, sweep, retry, purge | `dead_max`, retention |
//! | `idem:<session>:<key>` | string | `<job id> <digest of the request>` | submit, purge | 24 h |
//! | `stream:<session>` | list | the newest events, two lines of text each | every transition | 256, 15 min |
//! | `streamhead:<session>` | hash | `n` and `u` of the newest event | every transition, readers | 7 days |
//! | `session:<id>` | hash | `token_sha256`, `created_at`, `expires_at` | sessions | 30 days |
//! | `workers:<pool>` | zset | worker → heard of until | heartbeat, sweep | workers |
//! | `slots:<pool>` | hash | worker → slots | heartbeat, sweep | workers |
//! | `sweep:<pool>` | string | the throttle of the sweep | sweep | 0.5 s |
//!
//! Channels: `stream:<session>` carries the text of each event; `probe:<gateway>` carries what a
//! gateway publishes to itself to see whether its subscription is alive. In a cluster they are sharded
//! channels (SPUBLISH), and lie in the slot of their cell as keys do.

use crate::domain::{Cell, Pool, Priority, SessionId};

/// Prefix of everything Framewire writes.
pub const PREFIX: &str = "fw:";

/// Types of the keys above, by the first word after the cell's root; for tests and the doctor.
pub const TYPES: [(&str, &str); 24] = [
    ("config", "hash"),
    ("pools", "set"),
    ("pool", "hash"),
    ("job", "hash"),
    ("queue", "zset"),
    ("wait", "zset"),
    ("turn", "zset"),
    ("held", "set"),
    ("ready", "zset"),
    ("out", "zset"),
    ("lease", "zset"),
    ("live", "set"),
    ("delayed", "zset"),
    ("deadline", "zset"),
    ("active", "zset"),
    ("jobs", "list"),
    ("dead", "zset"),
    ("idem", "string"),
    ("stream", "list"),
    ("streamhead", "hash"),
    ("session", "hash"),
    ("workers", "zset"),
    ("slots", "hash"),
    ("sweep", "string"),
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
