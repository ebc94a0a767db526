//! Has broken things mended: lapsed leases, overdue starts, due retries, popped and unclaimed jobs.
//!
//! Every worker calls the sweep of each cell for every pool there is, also for pools it does not serve, so a pool
//! whose last worker died is still looked after; the script lets one call through per interval.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::{Cell, Pool};
use framewire_shared::store::codec::Swept;
use framewire_shared::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How often a worker offers to sweep.
const INTERVAL: Duration = Duration::from_millis(500);

/// Calls the sweep of one cell.
pub struct Sweeper {
    /// Which.
    pub cell: Cell,
    /// What is swept.
    pub store: Store,
    /// What this process has counted.
    pub metrics: Arc<Metrics>,
}

impl Sweeper {
    /// Sweeps every pool once, where nobody just did.
    pub async fn tick(&self) -> Result<(), StoreError> {
        for name in self.store.pools(self.cell).await? {
            let Ok(pool) = name.parse::<Pool>() else {
                continue;
            };
            if let Some(swept) = self.store.sweep(self.cell, &pool).await? {
                self.metrics.swept(pool.as_str(), &swept);
                report(self.cell, &pool, &swept);
            }
        }
        Ok(())
    }

    /// Sweeps until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let role = format!("the sweep in {}", self.cell);
        super::every(INTERVAL, stop, &role, || self.tick()).await;
    }
}

/// Logs what an operator would want to know of.
fn report(cell: Cell, pool: &Pool, swept: &Swept) {
    let Swept { lapsed, expired, offered_again, workers_gone, dead, .. } = swept;
    for (job, died) in dead {
        tracing::warn!(jobId = job.as_str(), reason = died.as_str(), "queue.deadletter");
    }
    if lapsed + expired + offered_again + workers_gone > 0 {
        tracing::warn!(%cell, %pool, lapsed, expired, offered_again, workers_gone, "swept");
    }
}
