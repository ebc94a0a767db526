//! Removes pictures that nothing refers to any more.
//!
//! Frames by age alone: a job's record expires `retention` after its end, and its frames are written
//! before its end, so a blob older than retention plus the longest life of a job that holds frames is
//! referred to by nothing. That also takes what killed workers have left behind. Uploaded files by
//! age too: their records live no longer than [`FILE_LIFETIME`]. What a job starts from goes when the
//! job's record is gone: a job may wait, or be tried again, for longer than any age.

use std::time::{Duration, SystemTime};

use framewire_shared::domain::JobId;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::files::FILE_LIFETIME;
use framewire_shared::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

/// How often the folders are looked through.
const INTERVAL: Duration = Duration::from_secs(600);
/// Time between the making of a job's name and its record, at most: the pictures come first.
const SUBMIT_MAX: Duration = Duration::from_secs(3_600);

/// Removes old blobs.
pub struct Janitor {
    /// What is looked through.
    pub blobs: Blobs,
    /// Where the records are.
    pub store: Store,
    /// How old a blob must be.
    pub age: Duration,
}

impl Janitor {
    /// Removes what is too old at `now`; gives how many.
    pub async fn tick(&self, now: SystemTime) -> Result<usize, StoreError> {
        let mut removed = self.blobs.remove_older(self.age, now).await?;
        removed += self.blobs.remove_files_older(FILE_LIFETIME + SUBMIT_MAX, now).await?;
        for job in self.blobs.jobs_with_inputs().await? {
            if is_older(&job, now) && self.is_gone(&job).await? {
                self.blobs.remove_inputs(&job).await?;
                removed += 1;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "removed expired pictures");
        }
        Ok(removed)
    }

    /// Tells whether a job has no record, or is of a cell that there is no more.
    async fn is_gone(&self, job: &JobId) -> Result<bool, StoreError> {
        Ok(!self.store.cells().contains(&job.cell()) || self.store.owner(job).await?.is_none())
    }

    /// Removes until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        super::every(INTERVAL, stop, "the janitor", || async {
            self.tick(SystemTime::now()).await.map(drop)
        })
        .await;
    }
}

/// Tells by a job's name whether it must have been submitted by now, if it ever was. The age of its
/// blobs says nothing: on disk they are links to older ones.
fn is_older(job: &JobId, now: SystemTime) -> bool {
    let named_at = job.made_at().map(|since| SystemTime::UNIX_EPOCH + since);
    named_at.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age > SUBMIT_MAX))
}
