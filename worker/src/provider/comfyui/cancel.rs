//! A prompt that nobody waits for any more is stopped at the server, whatever way we left.
//!
//! The claim is made before a prompt is submitted and released when its end is known. Dropped in
//! between, by a stop, a failure or the runner, it leaves a task that deletes, interrupts and
//! verifies: the server answers 200 to all of these whether or not they did anything, an interrupt
//! right after a submission may be lost, and a running prompt stops only at its next step.
//! A prompt whose job is handed on to another worker is left alone: that one resumes it.
//! The task has an end of its own, so that a server that is gone costs seconds and not a task.

use std::time::Duration;

use framewire_shared::domain::Failure;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{Client, Queued};
use super::run::Run;

/// Longest time that is spent on stopping one prompt.
const CANCEL_LIMIT: Duration = Duration::from_secs(15);
/// Pause between looks at whether it has stopped.
const CANCEL_PAUSE: Duration = Duration::from_millis(250);
/// Looks, in a row, that must miss a prompt whose submission was not answered: it may arrive late.
const LATE_LOOKS: u32 = 8;

/// A prompt that is ours until its end is known.
#[derive(Debug)]
pub(super) struct Claim {
    client: Client,
    tasks: TaskTracker,
    handed_on: CancellationToken,
    prompt_id: String,
    looks: u32,
    is_released: bool,
}

impl Claim {
    /// Claims a prompt that is about to be submitted.
    pub(super) fn before_submitting(run: &Run<'_>, prompt_id: &str) -> Self {
        Self {
            client: run.comfy.client.clone(),
            tasks: run.tasks.clone(),
            handed_on: run.call.handed_on.clone(),
            prompt_id: prompt_id.to_owned(),
            looks: LATE_LOOKS,
            is_released: false,
        }
    }

    /// Claims a prompt that the server is known to have taken.
    pub(super) fn of_submitted(run: &Run<'_>, prompt_id: &str) -> Self {
        let mut claim = Self::before_submitting(run, prompt_id);
        claim.looks = 1;
        claim
    }

    /// Gives the prompt's id.
    pub(super) fn prompt_id(&self) -> &str {
        &self.prompt_id
    }

    /// Lets go: it is over.
    pub(super) fn release(mut self) {
        self.is_released = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Outside a runtime the process is at its end, and so is the way to the server.
        let Ok(runtime) = Handle::try_current() else { return };
        // Another worker goes on with the job, and with the prompt where this one has left it.
        if self.is_released || self.handed_on.is_cancelled() {
            return;
        }
        let (client, id, looks) =
            (self.client.clone(), std::mem::take(&mut self.prompt_id), self.looks);
        let stop = async move {
            match timeout(CANCEL_LIMIT, stop(&client, &id, looks)).await {
                Ok(()) => tracing::debug!(prompt = %id, "the prompt is stopped"),
                Err(_) => tracing::warn!(prompt = %id, "the prompt may go on at the server"),
            }
        };
        self.tasks.spawn_on(stop, &runtime);
    }
}

/// Deletes, interrupts and looks until the prompt is in no queue.
async fn stop(client: &Client, id: &str, looks: u32) {
    let mut missed = 0;
    while missed < looks {
        match push(client, id).await {
            Ok(Queued::Gone) => missed += 1,
            Ok(_) => missed = 0,
            Err(failure) => tracing::debug!(prompt = %id, "not stopped yet: {}", failure.detail),
        }
        if missed < looks {
            sleep(CANCEL_PAUSE).await;
        }
    }
}

/// Takes the prompt out of the queue, or interrupts it; gives where it was found.
async fn push(client: &Client, id: &str) -> Result<Queued, Failure> {
    client.delete(id).await?;
    let found = client.queued(id).await?;
    if found == Queued::Running {
        // By name and only while it runs: a server that knows no names stops whatever runs.
        client.interrupt(id).await?;
    }
    Ok(found)
}
