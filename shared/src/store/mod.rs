//! The one door to Redis and to the artifacts' bytes.
//!
//! Only this module names the redis crates; the gateway and the worker do not depend on them, so
//! Cargo enforces it. Every call names its cell, and goes to the node that holds it (`topology`).
//! Scripts and plain commands share one connection to a node (`line`); blocking pops have connections
//! of their own ([`window`]), so has pub/sub ([`stream`]), and so has what waits for replicas.
//! Invariant: every method that changes a job runs exactly one script, and the script writes state
//! and event together. A call that failed with [`StoreError::Unavailable`] may or may not have
//! happened; each method says what calling it again does.

// The table of all keys.
pub mod keys;
// Which node holds a cell: one Redis, Sentinel, or Cluster.
pub mod topology;
// The one shared connection to a node, replaced when it has gone silent.
mod line;
// The Lua files, loaded once and run by digest.
mod script;
// Words of a script's reply into one enum per script; pure.
pub mod codec;
// One method per transition.
pub mod queue;
// The dispatch window: BZPOPMIN on a connection of its own.
pub mod window;
// Heartbeats and the sweep.
pub mod upkeep;
// What all workers know of each provider, changed one step at a time.
pub mod guard;
// Reading a session's events: replay, snapshot, and the live tail.
pub mod stream;
// Session tokens.
pub mod sessions;
// Pictures that users have brought: what is known of each.
pub mod files;
// How much may run at a time: listed and changed live.
pub mod caps;
// Sessions whose readers have left for good.
pub mod watch;
// What start-up checks and operators ask.
pub mod operate;
// The invariants, verified on a live Redis and told in words.
pub mod doctor;
// Failed jobs that are kept for an operator: listed, shown, retried, purged.
pub mod dead;
// The artifacts' bytes.
pub mod blobs;
// A queue of Redis' own commands, which the benchmark measures ours beside.
#[cfg(feature = "testing")]
mod bare;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::Cell;
#[cfg(feature = "testing")]
pub(crate) use script::submit_text;
use script::{Flavour, Scripts};
use topology::{CELLS_IN_A_CLUSTER, CELLS_MAX, Node, Topology};

/// Why a call to the store failed, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis can't be reached or did not answer in time; the call may have happened. Try later.
    #[error("reach Redis")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Redis answered, and refused: out of memory, no permission. An operator must act.
    #[error("have Redis accept a command")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer or a record that this version does not understand.
    #[error("understand what Redis holds: {0}")]
    Garbled(String),
    /// The artifacts' storage failed.
    #[error("use the artifact store")]
    Blobs(#[source] object_store::Error),
}

impl From<redis::RedisError> for StoreError {
    fn from(error: redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        match error.kind() {
            ErrorKind::Io => Self::Unavailable(error.into()),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                // Another node holds the cell, or soon will; the next call finds it. ASK belongs to
                // a slot that is being moved live, in which scripts can't run.
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::ReadOnly,
            ) => Self::Unavailable(error.into()),
            // Too few replicas for the master's own min-replicas-to-write.
            ErrorKind::Extension if error.code() == Some("NOREPLICAS") => {
                Self::Unavailable(error.into())
            }
            ErrorKind::UnexpectedReturnType => Self::Garbled(error.to_string()),
            // An answer that breaks off in its middle is a connection that did.
            ErrorKind::Parse => Self::Unavailable(error.into()),
            _ if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() => {
                Self::Unavailable(error.into())
            }
            _ => Self::Refused(error.into()),
        }
    }
}

/// Where Redis is, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://host:port/db`, `redis+unix:///path`, `redis+sentinel://h1:p1,h2:p2/master` or
    /// `redis+cluster://h1:p1,h2:p2`.
    pub url: String,
    /// Cells that keys are spread over; 1 where it is not said, in a cluster
    /// [`CELLS_IN_A_CLUSTER`].
    pub cells: Option<u16>,
    /// Replicas that must have a submit before it is accepted.
    pub replicas: u32,
    /// Longest wait for one call, connecting included.
    pub call_timeout: Duration,
    /// What start-up demands of its append-only file.
    pub durability: operate::Durability,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            cells: None,
            replicas: 0,
            call_timeout: Duration::from_secs(2),
            durability: operate::Durability::Relaxed,
        }
    }
}

/// Bounds and times of the queue; see the settings for their reasons.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// Jobs waiting in one pool.
    pub queue_max: u32,
    /// Unfinished jobs of one session.
    pub session_max: u32,
    /// Jobs listed for one session.
    pub listed_max: u32,
    /// How long a job and its frames stay after its end.
    pub retention: Duration,
    /// How long an idempotency key is remembered.
    pub idempotency: Duration,
    /// How long a claim holds without renewal.
    pub lease: Duration,
    /// How long an attempt may hold its lease, renewed or not.
    pub attempt_max: Duration,
    /// Attempts that a submit or a retry buys.
    pub attempts: u32,
    /// Losses in a row that end a job.
    pub losses_max: u32,
    /// Dead letters kept.
    pub dead_max: u32,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            queue_max: 10_000,
            session_max: 100,
            listed_max: 1_000,
            retention: Duration::from_secs(24 * 3600),
            idempotency: Duration::from_secs(24 * 3600),
            lease: Duration::from_secs(8),
            attempt_max: Duration::from_secs(600),
            attempts: crate::domain::attempt::ATTEMPTS_DEFAULT,
            losses_max: 3,
            dead_max: 1_000,
        }
    }
}

/// The door. Cheap to clone; every clone shares the connections.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    topology: Topology,
    cells: u16,
    scripts: Scripts,
    redis: RedisOptions,
    queue: QueueOptions,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("queue", &self.shared.queue).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the door. Redis need not be up: calls fail with [`StoreError::Unavailable`] until it is.
    ///
    /// Errors: only if the URL is malformed.
    pub fn open(redis: RedisOptions, queue: QueueOptions) -> Result<Self, StoreError> {
        Self::open_with(redis, queue, Flavour::default())
    }

    /// Opens the door to a store whose scripts read their time from the key `clock`.
    #[cfg(feature = "testing")]
    pub fn open_with_clock(redis: RedisOptions, queue: QueueOptions) -> Result<Self, StoreError> {
        Self::open_with(redis, queue, Flavour { clock_key: true, ..Flavour::default() })
    }

    fn open_with(
        redis: RedisOptions,
        queue: QueueOptions,
        flavour: Flavour,
    ) -> Result<Self, StoreError> {
        let topology = Topology::open(&redis.url, redis.call_timeout)?;
        let sharded = topology.is_cluster();
        let cells = redis.cells.unwrap_or(if sharded { CELLS_IN_A_CLUSTER } else { 1 });
        let cells = cells.clamp(1, CELLS_MAX);
        let scripts = Scripts::new(&Flavour { sharded, ..flavour });
        Ok(Self { shared: Arc::new(Shared { topology, cells, scripts, redis, queue }) })
    }

    /// Gives the bounds and times that this store was opened with.
    pub fn queue_options(&self) -> &QueueOptions {
        &self.shared.queue
    }

    /// Lists the cells.
    pub fn cells(&self) -> Vec<Cell> {
        (0..self.shared.cells).map(Cell).collect()
    }

    /// Gives a cell's share of a number that an operator set for all of them together.
    ///
    /// The shares sum up to `whole`, but none is 0 unless `whole` is: a cell without a share would
    /// never be served, so a number below that of the cells counts as one for each.
    pub fn share_of(&self, whole: u32, cell: Cell) -> u32 {
        let cells = u32::from(self.shared.cells);
        let share = whole / cells + u32::from(u32::from(cell.0) < whole % cells);
        share.max(whole.min(1))
    }

    /// Lists the nodes that hold cells, by name, with their cells; and the cells without one.
    async fn nodes(&self) -> (BTreeMap<String, Vec<Cell>>, Vec<(Vec<Cell>, StoreError)>) {
        let (mut nodes, mut lost) = (BTreeMap::<String, Vec<Cell>>::new(), Vec::new());
        for cell in self.cells() {
            match self.in_time(self.shared.topology.route(cell)).await {
                Ok(route) => nodes.entry(route.node.name.clone()).or_default().push(cell),
                Err(error) => lost.push((vec![cell], error)),
            }
        }
        (nodes, lost)
    }

    /// Runs a plain command on a cell's node; all of them may run twice.
    async fn command<T: redis::FromRedisValue>(
        &self,
        cell: Cell,
        command: &redis::Cmd,
    ) -> Result<T, StoreError> {
        self.ask(cell, |node, _| async move { command.query_async(&mut node.line.clone()).await })
            .await
    }

    /// Runs plain commands on a cell's node, all of one cell; they may run twice.
    async fn pipeline<T: redis::FromRedisValue>(
        &self,
        cell: Cell,
        pipeline: &redis::Pipeline,
    ) -> Result<T, StoreError> {
        self.ask(cell, |node, _| async move { pipeline.query_async(&mut node.line.clone()).await })
            .await
    }

    /// Asks a cell's node under the outer timeout, and once more if the connection broke or the cell
    /// is elsewhere by now: the first call may have happened, and the second is told so.
    async fn ask<T, F: Future<Output = redis::RedisResult<T>>>(
        &self,
        cell: Cell,
        ask: impl Fn(Arc<Node>, bool) -> F,
    ) -> Result<T, StoreError> {
        let topology = &self.shared.topology;
        // What a call that is cut off by the timeout was waiting for.
        let mut asked_last = None;
        let last = &mut asked_last;
        let mut again = false;
        let asked = async {
            loop {
                let route = topology.route(cell).await?;
                *last = Some(route.clone());
                match ask(route.node.clone(), again).await {
                    Err(error) if topology::is_astray(&error) && !again => {
                        topology.doubt(cell, &route);
                        again = true;
                    }
                    answer => return answer,
                }
            }
        };
        let answer = self.in_time(asked).await;
        if let (Err(StoreError::Unavailable(_)), Some(route)) = (&answer, &asked_last) {
            topology.doubt(cell, route);
        }
        answer
    }

    /// Waits for a reply, and not longer than a caller may be kept: reconnecting alone is not
    /// bounded by the connection's own response timeout.
    async fn in_time<T>(
        &self,
        reply: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.shared.redis.call_timeout, reply).await {
            Ok(reply) => Ok(reply?),
            Err(elapsed) => Err(StoreError::Unavailable(elapsed.into())),
        }
    }
}

/// Draws a nonce: eight characters of `[0-9a-z]`.
pub(crate) fn nonce() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest: u64 = rand::random();
    let mut text = String::with_capacity(crate::domain::event::NONCE_CHARS);
    for _ in 0..crate::domain::event::NONCE_CHARS {
        text.push(char::from(DIGITS[(rest % 36) as usize]));
        rest /= 36;
    }
    text
}
