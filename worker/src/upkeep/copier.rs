//! Copies frames for jobs whose helper has died, or that nobody was there for.
//!
//! Whoever completes a leader, and the gateway that accepts a job whose frames are there, copy at
//! once; here is what they have left: a worker killed between the two, a retry that finds its frames
//! drawn. The script hands out what is due, so any number of workers may ask.

use std::time::Duration;

use framewire_shared::domain::Cell;
use framewire_shared::store::StoreError;
use framewire_shared::store::share::Sharer;
use tokio_util::sync::CancellationToken;

/// How often a worker asks for what is due.
const INTERVAL: Duration = Duration::from_millis(1_000);

/// Serves the followers of one cell.
pub struct Copier {
    /// Which.
    pub cell: Cell,
    /// How.
    pub sharer: Sharer,
}

impl Copier {
    /// Serves all that are due; gives how many jobs were completed.
    pub async fn tick(&self) -> Result<u32, StoreError> {
        let fulfilled = self.sharer.serve(self.cell, None).await?;
        if fulfilled > 0 {
            tracing::info!(cell = %self.cell, fulfilled, "copied frames for jobs left behind");
        }
        Ok(fulfilled)
    }

    /// Serves until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let role = format!("the copier in {}", self.cell);
        super::every(INTERVAL, stop, &role, || async { self.tick().await.map(drop) }).await;
    }
}
