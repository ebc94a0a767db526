//! Heartbeats and the sweep: what every worker does beside its jobs.
//!
//! No leader: each worker beats for itself and calls the sweep; the script's own throttle lets one
//! of them through per interval.

use std::time::Duration;

use super::codec::{self, Swept};
use super::{Store, StoreError, keys};
use crate::domain::{Cell, Pool, WorkerId};

/// A popped job that nobody claimed is offered again after this long.
const GRACE: Duration = Duration::from_millis(750);
/// Of all workers' calls, one sweep per pool runs in this time.
const THROTTLE: Duration = Duration::from_millis(450);
/// Jobs of each kind mended in one pass, so that Redis is never held for long.
const LIMIT: u32 = 50;

impl Store {
    /// Counts a worker's slots into a pool for `lifetime`; 0 slots take it out. Gives the capacity.
    pub async fn heartbeat(
        &self,
        cell: Cell,
        pool: &Pool,
        worker: &WorkerId,
        slots: u32,
        lifetime: Duration,
    ) -> Result<u32, StoreError> {
        let (slots, lifetime_ms) = (slots.to_string(), lifetime.as_millis().to_string());
        let arguments = [pool.as_str(), worker.as_str(), &slots, &lifetime_ms, ""];
        codec::capacity(self.run(&self.shared.scripts.heartbeat, cell, &arguments).await?)
    }

    /// Says for `lifetime` that a worker lives, and that its providers of a pool are closed off for
    /// another `wait`: it counts no slots, so nothing is admitted for it. Gives the capacity.
    pub async fn heartbeat_closed(
        &self,
        cell: Cell,
        pool: &Pool,
        worker: &WorkerId,
        wait: Duration,
        lifetime: Duration,
    ) -> Result<u32, StoreError> {
        let [wait_ms, lifetime_ms] = [wait, lifetime].map(|time| time.as_millis().to_string());
        let arguments = [pool.as_str(), worker.as_str(), "0", &lifetime_ms, &wait_ms];
        codec::capacity(self.run(&self.shared.scripts.heartbeat, cell, &arguments).await?)
    }

    /// Tells for how long all providers of a pool are closed off; `None` if one may be asked,
    /// where no worker has said otherwise, and for a job with this fingerprint if it needs none.
    pub async fn closed(
        &self,
        cell: Cell,
        pool: &Pool,
        fingerprint: Option<&str>,
    ) -> Result<Option<Duration>, StoreError> {
        let arguments = [pool.as_str(), fingerprint.unwrap_or_default()];
        codec::closed(self.run(&self.shared.scripts.closed, cell, &arguments).await?)
    }

    /// Mends one pool, unless somebody just did.
    pub async fn sweep(&self, cell: Cell, pool: &Pool) -> Result<Option<Swept>, StoreError> {
        self.sweep_with(cell, pool, &THROTTLE.as_millis().to_string()).await
    }

    /// Mends one pool now, whoever just did.
    pub async fn sweep_now(&self, cell: Cell, pool: &Pool) -> Result<Swept, StoreError> {
        Ok(self.sweep_with(cell, pool, "").await?.unwrap_or_default())
    }

    async fn sweep_with(
        &self,
        cell: Cell,
        pool: &Pool,
        throttle_ms: &str,
    ) -> Result<Option<Swept>, StoreError> {
        let options = &self.shared.queue;
        let arguments = [
            pool.as_str(),
            throttle_ms,
            &GRACE.as_millis().to_string(),
            &LIMIT.to_string(),
            &options.losses_max.to_string(),
            &options.retention.as_millis().to_string(),
            &options.dead_max.to_string(),
        ];
        Swept::parse(self.run(&self.shared.scripts.sweep, cell, &arguments).await?)
    }

    /// Lists the pools that ever had a worker.
    pub async fn pools(&self, cell: Cell) -> Result<Vec<String>, StoreError> {
        self.command(cell, redis::cmd("SMEMBERS").arg(keys::pools(cell))).await
    }
}
