//! The dispatch window: BZPOPMIN on a connection of its own.
//!
//! What a pop yields is a *hint*: the job is still in the ledger and in `out`, so a popper that dies
//! with it loses nothing; the sweep offers it again. Three traps of a blocking pop are closed here.
//! A pop is awaited to its end or its popper is dropped with it, because a dropped future alone still
//! pops at the server. The connection's response timeout is longer than the block, because redis-rs would otherwise give up
//! after half a second while the server goes on. And a connection that stays silent past its block
//! is dropped, not reused: it may be half open, or its server demoted.

use std::time::Duration;

use deadpool_redis::{Manager, Pool as ConnectionPool, Runtime};
use redis::AsyncConnectionConfig;

use super::{Store, StoreError, connection_info, keys};
use crate::domain::{JobId, Pool, Priority};

/// How long one pop waits; a dead connection is noticed soon after it, so it is short.
pub const BLOCK: Duration = Duration::from_secs(1);
/// Silence after which the connection is given up.
const WATCHDOG: Duration = Duration::from_millis(2_500);

/// A job that may run, as popped from the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The pool it stands in.
    pub pool: Pool,
    /// The job.
    pub job: JobId,
}

/// Pops the windows of some pools, high priority first.
pub struct Popper {
    connections: ConnectionPool,
    held: Option<deadpool_redis::Connection>,
    windows: Vec<(String, Pool)>,
}

impl Store {
    /// Makes a popper for these pools of all cells.
    ///
    /// Errors: only if the URL is malformed; connecting is left to the first pop.
    pub fn popper(&self, pools: &[Pool]) -> Result<Popper, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.shared.redis.call_timeout))
            .set_response_timeout(Some(WATCHDOG));
        let info = connection_info(&self.shared.redis.url)?;
        let manager = Manager::new_with_config(info, config)?;
        let connections = ConnectionPool::builder(manager)
            .max_size(1)
            .create_timeout(Some(self.shared.redis.call_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Garbled(error.to_string()))?;
        // One cell is one slot, and BZPOPMIN's keys must share it.
        let [cell] = self.cells()[..] else {
            return Err(StoreError::Garbled("a popper serves one cell".into()));
        };
        let windows = Priority::ALL
            .into_iter()
            .flat_map(|class| pools.iter().map(move |pool| (class, pool)))
            .map(|(class, pool)| (keys::ready(cell, pool, class), pool.clone()))
            .collect();
        Ok(Popper { connections, held: None, windows })
    }
}

impl Popper {
    /// Waits up to [`BLOCK`] for a job; `None` if there was none.
    ///
    /// Must be awaited to its end, or the popper be dropped too: on a connection that lives on the
    /// server still pops, and the job waits for the sweep. Errors: the connection is gone or silent; the next call makes a new one.
    pub async fn pop(&mut self) -> Result<Option<Hint>, StoreError> {
        let mut connection = match self.held.take() {
            Some(connection) => connection,
            None => self
                .connections
                .get()
                .await
                .map_err(|error| StoreError::Unavailable(error.into()))?,
        };
        let mut command = redis::cmd("BZPOPMIN");
        for (window, _) in &self.windows {
            command.arg(window);
        }
        command.arg(BLOCK.as_secs());
        let reply: redis::RedisResult<Option<(String, String, f64)>> =
            command.query_async(&mut connection).await;
        match reply {
            Ok(popped) => {
                self.held = Some(connection);
                Ok(popped.and_then(|(window, job, _)| self.hint(&window, &job)))
            }
            Err(error) => {
                // Close the socket, so that the server forgets the pop it may still be waiting in.
                drop(deadpool_redis::Connection::take(connection));
                Err(error.into())
            }
        }
    }

    /// Puts names to a popped pair; foreign text in a window is logged and left to the sweep.
    fn hint(&self, window: &str, job: &str) -> Option<Hint> {
        let pool = self.windows.iter().find(|(key, _)| key == window).map(|(_, pool)| pool.clone());
        match (pool, job.parse()) {
            (Some(pool), Ok(job)) => Some(Hint { pool, job }),
            _ => {
                tracing::warn!(window, job, "popped something that is no job id, and dropped it");
                None
            }
        }
    }
}
