//! The one door to Redis and to the artifacts' bytes.
//!
//! Only this module names the redis crates; the gateway and the worker do not depend on them, so
//! Cargo enforces it. Scripts and plain commands share one connection (`line`);
//! blocking pops have connections of their own ([`window`]), and so has pub/sub ([`stream`]).
//! Invariant: every method that changes a job runs exactly one script, and the script writes state
//! and event together. A call that failed with [`StoreError::Unavailable`] may or may not have
//! happened; each method says what calling it again does.

// The table of all keys.
pub mod keys;
// The one shared connection, replaced when it has gone silent.
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
// Reading a session's events: replay, snapshot, and the live tail.
pub mod stream;
// Session tokens.
pub mod sessions;
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

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionManagerConfig;

use crate::domain::Cell;
use script::Scripts;
#[cfg(feature = "testing")]
pub(crate) use script::submit_text;

/// Why a call to the store failed, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis can't be reached or did not answer in time; the call may have happened. Try later.
    #[error("reach Redis")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Redis answered, and refused: out of memory, read-only, no permission. An operator must act.
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
                | ServerErrorKind::MasterDown,
            ) => Self::Unavailable(error.into()),
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Garbled(error.to_string()),
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
    /// `redis://host:port/db` or `redis+unix:///path`.
    pub url: String,
    /// Longest wait for one call, connecting included.
    pub call_timeout: Duration,
    /// What start-up demands of its append-only file.
    pub durability: operate::Durability,
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

/// The door. Cheap to clone; every clone shares the connection.
#[derive(Clone)]
pub struct Store {
    connection: line::Line,
    shared: Arc<Shared>,
}

struct Shared {
    client: redis::Client,
    scripts: Scripts,
    redis: RedisOptions,
    queue: QueueOptions,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("queue", &self.shared.queue).finish_non_exhaustive()
    }
}

/// Retries of a broken connection within one call; a script that ran twice answers as if once.
const RETRIES: usize = 1;

impl Store {
    /// Opens the door. Redis need not be up: calls fail with [`StoreError::Unavailable`] until it is.
    ///
    /// Errors: only if the URL is malformed.
    pub fn open(redis: RedisOptions, queue: QueueOptions) -> Result<Self, StoreError> {
        Self::open_with(redis, queue, Scripts::new())
    }

    /// Opens the door to a store whose scripts read their time from the key `clock`.
    #[cfg(feature = "testing")]
    pub fn open_with_clock(redis: RedisOptions, queue: QueueOptions) -> Result<Self, StoreError> {
        Self::open_with(redis, queue, Scripts::with_clock_key())
    }

    fn open_with(
        redis: RedisOptions,
        queue: QueueOptions,
        scripts: Scripts,
    ) -> Result<Self, StoreError> {
        let client = redis::Client::open(connection_info(&redis.url)?)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(RETRIES)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(redis.call_timeout))
            // Before the outer timeout, so that a silent connection is seen as one (`line`).
            .set_response_timeout(Some(redis.call_timeout * 3 / 4))
            .set_pipeline_buffer_size(1024);
        let connection = line::Line::new(client.clone(), config)?;
        Ok(Self { connection, shared: Arc::new(Shared { client, scripts, redis, queue }) })
    }

    /// Gives the bounds and times that this store was opened with.
    pub fn queue_options(&self) -> &QueueOptions {
        &self.shared.queue
    }

    /// Lists the cells; one until there are several.
    pub fn cells(&self) -> Vec<Cell> {
        vec![Cell::FIRST]
    }

    /// Runs a plain command; all of them may run twice.
    async fn command<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, StoreError> {
        self.ask(|mut line, _| async move { command.query_async(&mut line).await }).await
    }

    /// Asks Redis under the outer timeout, and once more if the connection broke: the first call may
    /// have happened, and the second is told so.
    async fn ask<T, F: Future<Output = redis::RedisResult<T>>>(
        &self,
        ask: impl Fn(line::Line, bool) -> F,
    ) -> Result<T, StoreError> {
        self.in_time(async {
            match ask(self.connection.clone(), false).await {
                Err(error) if error.is_unrecoverable_error() => {
                    ask(self.connection.clone(), true).await
                }
                answer => answer,
            }
        })
        .await
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

/// Reads the URL and asks for TCP_NODELAY, which redis-rs 1.x leaves off.
fn connection_info(url: &str) -> Result<redis::ConnectionInfo, StoreError> {
    use redis::IntoConnectionInfo;
    let info = url.into_connection_info()?;
    Ok(info.set_tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true)))
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
