//! The dispatch window: BZPOPMIN on a connection of its own.
//!
//! What a pop yields is a *hint*: the job is still in the ledger and in `out`, so a popper that dies
//! with it loses nothing; the sweep offers it again. Three traps of a blocking pop are closed here.
//! A pop is awaited to its end or its popper is dropped with it, because a dropped future alone still
//! pops at the server. The connection's response timeout is longer than the block, because redis-rs
//! would otherwise give up after half a second while the server goes on. And a connection that stays silent past its block
//! is dropped, not reused: it may be half open, or its server demoted.

use std::time::Duration;

use super::topology::{Dedicated, Route};
use super::{Store, StoreError, keys};
use crate::domain::{Cell, JobId, Pool, Priority};

/// How long one pop waits; a dead connection is noticed soon after it, so it is short.
///
/// It is divided by the number of cells: a worker with one free slot goes round all of them in it.
pub const BLOCK: Duration = Duration::from_secs(1);

/// A job that may run, as popped from the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The pool it stands in.
    pub pool: Pool,
    /// The job.
    pub job: JobId,
}

/// Pops the windows of some pools in one cell, high priority first.
pub struct Popper {
    store: Store,
    cell: Cell,
    held: Option<(Dedicated, Route)>,
    windows: Vec<(String, Pool)>,
    block: Duration,
}

impl Store {
    /// Makes a popper for these pools of a cell; it connects when it is first used.
    pub fn popper(&self, cell: Cell, pools: &[Pool]) -> Popper {
        let windows = Priority::ALL
            .into_iter()
            .flat_map(|class| pools.iter().map(move |pool| (class, pool)))
            .map(|(class, pool)| (keys::ready(cell, pool, class), pool.clone()))
            .collect();
        let block = BLOCK / u32::from(self.shared.cells);
        Popper { store: self.clone(), cell, held: None, windows, block }
    }
}

impl Popper {
    /// Makes sure of a connection, so that a slot need not be held while there is none.
    ///
    /// Errors: the cell's node can't be reached.
    pub async fn connect(&mut self) -> Result<(), StoreError> {
        let topology = &self.store.shared.topology;
        // A node that was cut off goes on answering, and has nothing to say.
        self.held.take_if(|(_, route)| topology.has_left(self.cell, &route.node));
        if self.held.is_none() {
            let connect = async {
                let route = topology.route(self.cell).await?;
                let connection = route.node.checkout().await;
                if connection.is_err() {
                    topology.doubt(self.cell, &route);
                }
                Ok((connection?, route))
            };
            self.held = Some(self.store.in_time(connect).await?);
        }
        Ok(())
    }

    /// Waits up to [`BLOCK`] for a job; `None` if there was none.
    ///
    /// Must be awaited to its end, or the popper be dropped too: on a connection that lives on the
    /// server still pops, and the job waits for the sweep. Errors: the connection is gone or silent,
    /// or its node holds the cell no more; the next call makes a new one.
    pub async fn pop(&mut self) -> Result<Option<Hint>, StoreError> {
        self.pop_among(|_| true).await
    }

    /// Does what [`Popper::pop`] does, for some of its pools; there must be one.
    pub async fn pop_among(
        &mut self,
        among: impl Fn(&Pool) -> bool,
    ) -> Result<Option<Hint>, StoreError> {
        self.connect().await?;
        let Some((mut connection, route)) = self.held.take() else {
            return Ok(None);
        };
        let mut command = redis::cmd("BZPOPMIN");
        for (window, _) in self.windows.iter().filter(|(_, pool)| among(pool)) {
            command.arg(window);
        }
        command.arg(self.block.as_secs_f64());
        let reply: redis::RedisResult<Option<(String, String, f64)>> =
            command.query_async(connection.line()).await;
        match reply {
            Ok(popped) => {
                self.held = Some((connection, route));
                Ok(popped.and_then(|(window, job, _)| self.hint(&window, &job)))
            }
            Err(error) => {
                self.store.shared.topology.doubt(self.cell, &route);
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
