//! Removes frames whose jobs are gone.
//!
//! By age alone: a job's record expires `retention` after its end, and its frames are written before
//! its end, so a blob older than retention plus the longest life of a job that holds frames is
//! referred to by nothing. That also takes what killed workers have left behind.

use std::time::{Duration, SystemTime};

use framewire_shared::store::StoreError;
use framewire_shared::store::blobs::Blobs;
use tokio_util::sync::CancellationToken;

/// How often the folders are looked through.
const INTERVAL: Duration = Duration::from_secs(600);

/// Removes old blobs.
pub struct Janitor {
    /// What is looked through.
    pub blobs: Blobs,
    /// How old a blob must be.
    pub age: Duration,
}

impl Janitor {
    /// Removes what is too old at `now`; gives how many.
    pub async fn tick(&self, now: SystemTime) -> Result<usize, StoreError> {
        let removed = self.blobs.remove_older(self.age, now).await?;
        if removed > 0 {
            tracing::info!(removed, "removed expired artifacts");
        }
        Ok(removed)
    }

    /// Removes until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        super::every(INTERVAL, stop, "the janitor", || async {
            self.tick(SystemTime::now()).await.map(drop)
        })
        .await;
    }
}
