//! The artifacts' bytes, by name; and those of the pictures that users have brought (`inputs`).
//!
//! Comes in: checked pictures from workers. Goes out: ranges of bytes to the gateway. A blob's path
//! is its artifact's name under a folder of its job, so one job's blobs are found and removed
//! together; the name carries the fence, so two attempts never write the same blob. Blobs are
//! written before the event that refers to them, and removed by age after the job's retention, or
//! with the job when its owner deletes it.

// Uploaded files, and the pictures that a job starts from.
pub mod inputs;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem};

use super::StoreError;
use crate::domain::{ArtifactId, JobId};

/// The artifact store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        Self::Blobs(error)
    }
}

/// Something that has a blob.
pub trait BlobName: Sync {
    /// Gives the parts of its path: folders, then the file.
    fn path(&self) -> Vec<String>;
}

impl BlobName for ArtifactId {
    fn path(&self) -> Vec<String> {
        vec![self.job.to_string(), self.to_string()]
    }
}

fn path(name: &impl BlobName) -> Path {
    Path::from_iter(name.path())
}

impl Blobs {
    /// Opens a folder on the local disk, and makes it where it is missing.
    ///
    /// Errors: the folder can't be made or is not ours to write.
    pub fn on_disk(folder: &FilePath) -> Result<Self, std::io::Error> {
        std::fs::create_dir_all(folder)?;
        // A folder that exists may still refuse us; better now than after the first paid frame.
        let probe = folder.join(format!(".writable-{}", std::process::id()));
        std::fs::write(&probe, b"")?;
        std::fs::remove_file(&probe)?;
        let objects = LocalFileSystem::new_with_prefix(folder)
            .map_err(std::io::Error::other)?
            .with_automatic_cleanup(true);
        Ok(Self { objects: Arc::new(objects) })
    }

    /// Writes a blob, whole or not at all. The same name written twice has the same bytes.
    pub async fn put(&self, id: &impl BlobName, bytes: Bytes) -> Result<(), StoreError> {
        self.objects.put(&path(id), PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }

    /// Tells a blob's size in bytes; `None` if it is not there.
    pub async fn size(&self, id: &impl BlobName) -> Result<Option<u64>, StoreError> {
        match self.objects.head(&path(id)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a range of a blob; `None` if it is not there (any more).
    pub async fn read(
        &self,
        id: &impl BlobName,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.objects.get_range(&path(id), range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes all blobs of a job; gives how many. Called again, it removes what was left.
    pub async fn remove_job(&self, job: &JobId) -> Result<usize, StoreError> {
        let all = self.objects.list(Some(&Path::from(job.as_str()))).map_ok(|meta| meta.location);
        let removed: Vec<Path> = self.objects.delete_stream(all.boxed()).try_collect().await?;
        self.remove_inputs(job).await?;
        Ok(removed.len())
    }

    /// Removes blobs last written more than `age` before `now`; gives how many.
    ///
    /// A blob is older than its job's end by at most the longest attempt, so an age of retention
    /// plus that bound never takes a frame that a job still refers to. Pictures that users brought
    /// are not among them.
    pub async fn remove_older(&self, age: Duration, now: SystemTime) -> Result<usize, StoreError> {
        let Some(limit) = now.checked_sub(age) else {
            return Ok(0);
        };
        let old = self
            .objects
            .list(None)
            .try_filter(move |meta| {
                let old = SystemTime::from(meta.last_modified) < limit;
                futures::future::ready(old && !inputs::are_here(&meta.location))
            })
            .map_ok(|meta| meta.location)
            .boxed();
        let removed: Vec<Path> = self.objects.delete_stream(old).try_collect().await?;
        Ok(removed.len())
    }
}
