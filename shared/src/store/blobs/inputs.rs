//! Bytes of the pictures that users have brought: files, and what a job starts from.
//!
//! `files/<file>` goes by its age, as the file's record does. `inputs/<job>/image` and `mask` are a
//! job's own copies, made before it is submitted, or by the worker that fetched them: so the file or
//! frame they came from may go while the job waits, runs, or is tried again a day later. They go with
//! the job's record and by no age, because a copy on disk is a second link to the same bytes, and as
//! old as they are.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{BlobName, Blobs, StoreError, path};
use crate::domain::{FileId, JobId, Place};

/// Folder of uploaded files.
const FILES: &str = "files";
/// Folder of what jobs start from.
const INPUTS: &str = "inputs";

impl BlobName for FileId {
    fn path(&self) -> Vec<String> {
        vec![FILES.into(), self.to_string()]
    }
}

/// Names a picture that a job starts from.
#[derive(Debug, Clone, Copy)]
pub struct JobInput<'a> {
    /// The job.
    pub job: &'a JobId,
    /// Which of its pictures.
    pub place: Place,
}

impl BlobName for JobInput<'_> {
    fn path(&self) -> Vec<String> {
        vec![INPUTS.into(), self.job.to_string(), self.place.as_str().into()]
    }
}

/// Tells whether a path is one of ours.
pub(super) fn are_here(path: &Path) -> bool {
    let folder = path.parts().next();
    folder.is_some_and(|folder| [FILES, INPUTS].contains(&folder.as_ref()))
}

impl Blobs {
    /// Reads a blob whole; `None` if it is not there (any more).
    pub async fn read_whole(
        &self,
        name: &impl BlobName,
    ) -> Result<Option<bytes::Bytes>, StoreError> {
        match self.objects.get(&path(name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies a blob, on disk by a link; tells whether there was one to copy.
    pub async fn copy(&self, from: &impl BlobName, to: &impl BlobName) -> Result<bool, StoreError> {
        match self.objects.copy(&path(from), &path(to)).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an uploaded file. Called again, it does nothing.
    pub async fn remove_file(&self, file: &FileId) -> Result<(), StoreError> {
        match self.objects.delete(&path(file)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what a job starts from. Called again, it removes what was left.
    pub async fn remove_inputs(&self, job: &JobId) -> Result<(), StoreError> {
        let folder = Path::from_iter([INPUTS, job.as_str()]);
        let all = self.objects.list(Some(&folder)).map_ok(|meta| meta.location);
        let _: Vec<Path> = self.objects.delete_stream(all.boxed()).try_collect().await?;
        Ok(())
    }

    /// Removes files last written more than `age` before `now`; gives how many.
    pub async fn remove_files_older(
        &self,
        age: Duration,
        now: SystemTime,
    ) -> Result<usize, StoreError> {
        let Some(limit) = now.checked_sub(age) else {
            return Ok(0);
        };
        let old = self
            .objects
            .list(Some(&Path::from(FILES)))
            .try_filter(move |meta| {
                futures::future::ready(SystemTime::from(meta.last_modified) < limit)
            })
            .map_ok(|meta| meta.location)
            .boxed();
        let removed: Vec<Path> = self.objects.delete_stream(old).try_collect().await?;
        Ok(removed.len())
    }

    /// Lists the jobs that pictures are kept for.
    pub async fn jobs_with_inputs(&self) -> Result<BTreeSet<JobId>, StoreError> {
        let folder = Path::from(INPUTS);
        let jobs = self.objects.list(Some(&folder)).try_filter_map(|meta| {
            let job = meta.location.parts().nth(1).and_then(|job| job.as_ref().parse().ok());
            futures::future::ready(Ok(job))
        });
        Ok(jobs.try_collect().await?)
    }
}
