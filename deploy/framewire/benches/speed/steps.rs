//! A job's transitions as calls of the store; any answer but the good one ends the run.

use std::time::Duration;

use anyhow::{Result, bail};
use framewire_shared::domain::{
    Artifact, Cell, Fence, JobId, MediaType, Pool, SessionId, State, WorkerId,
};
use framewire_shared::store::Store;
use framewire_shared::store::codec::{Claim, Completed, Noted, Submitted};
use framewire_shared::store::queue::Lease;
use framewire_shared::testing::submission;
use uuid::Uuid;

use crate::INPUT;

pub(crate) fn new_id() -> JobId {
    JobId::new(Cell::FIRST, Uuid::now_v7())
}

pub(crate) async fn submit(
    store: &Store,
    pool: &Pool,
    session: &SessionId,
    id: &JobId,
) -> Result<()> {
    match store.submit(&submission(id, session, pool, INPUT)).await? {
        Submitted::Accepted { .. } => Ok(()),
        other => bail!("a submit was answered {other:?}"),
    }
}

pub(crate) async fn claim(store: &Store, worker: &WorkerId, job: JobId) -> Result<Lease> {
    match store.claim(&job, worker, "nothing").await? {
        Claim::Claimed(claimed) => Ok(Lease { job, fence: claimed.fence }),
        gone @ Claim::Gone(_) => bail!("a claim was answered {gone:?}"),
    }
}

pub(crate) async fn advance(store: &Store, lease: &Lease) -> Result<()> {
    for stage in [State::Generating, State::Uploading] {
        let answer = store.advance(lease, stage).await?;
        if answer != Noted::Noted {
            bail!("an advance was answered {answer:?}");
        }
    }
    Ok(())
}

pub(crate) async fn complete(store: &Store, lease: &Lease) -> Result<()> {
    let Fence(fence) = lease.fence;
    let frame = Artifact {
        index: 0,
        url: format!("/v1/artifacts/{}-{fence}-0.png", lease.job),
        content_type: MediaType::Png,
        width: 64,
        height: 64,
        bytes: 10_000,
        sha256: "0".repeat(64),
        seed: 1,
    };
    let ms = Duration::from_millis(1);
    match store.complete(lease, &[frame], ms, ms).await? {
        Completed::Completed => Ok(()),
        other => bail!("a complete was answered {other:?}"),
    }
}
