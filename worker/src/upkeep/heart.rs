//! Says that this worker lives and how many slots it has, or that its providers are closed off.
//!
//! The sum over all living workers is a pool's capacity, and the window is never filled beyond it.
//! A worker that is not heard of for [`LIFETIME`] counts nothing; one that drains says so at once.
//! Each cell is told of all slots: what a cell admits for them and they can't take stays in its window.
//! One whose providers of a pool are all closed off lives and counts nothing in that pool: nothing is
//! admitted for it, and what waits is told until when.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::{Cell, Pool, WorkerId};
use framewire_shared::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::routes::{Outlook, Routes};

/// How long a worker is believed to live without a word.
pub const LIFETIME: Duration = Duration::from_secs(5);
/// How often it says one.
const INTERVAL: Duration = Duration::from_secs(1);

/// Beats for one worker in one cell.
pub struct Heart {
    /// Which.
    pub cell: Cell,
    /// Where it is heard.
    pub store: Store,
    /// Whose it is.
    pub worker: WorkerId,
    /// The pools it serves.
    pub pools: Vec<Pool>,
    /// Who draws for them.
    pub routes: Arc<Routes>,
    /// Jobs it can run at the same time.
    pub slots: u32,
}

impl Heart {
    /// Beats once, in every pool.
    pub async fn tick(&self) -> Result<(), StoreError> {
        for pool in &self.pools {
            let (store, cell, worker) = (&self.store, self.cell, &self.worker);
            match self.routes.outlook(pool).await? {
                Outlook::Open(places) => {
                    let slots = self.slots.min(places.unwrap_or(u32::MAX));
                    store.heartbeat(cell, pool, worker, slots, LIFETIME).await?
                }
                Outlook::Closed(wait) => {
                    store.heartbeat_closed(cell, pool, worker, wait, LIFETIME).await?
                }
            };
        }
        Ok(())
    }

    /// Takes the worker's slots out, so that nothing is admitted for it any more.
    pub async fn last(&self) -> Result<(), StoreError> {
        for pool in &self.pools {
            self.store.heartbeat(self.cell, pool, &self.worker, 0, LIFETIME).await?;
        }
        Ok(())
    }

    /// Beats until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let role = format!("the heartbeat in {}", self.cell);
        super::every(INTERVAL, stop, &role, || self.tick()).await;
    }
}
