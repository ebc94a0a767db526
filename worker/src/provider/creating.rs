//! Generations that are being created, and those that nobody waits for any more.
//!
//! A create that was sent and not answered has an unknown generation at its other end, which is drawn
//! and paid for. So the request outlives the call that made it by half a second: if it is answered in
//! that time, what it created is cancelled; after it its socket is closed like any other, because a
//! stopped call keeps none for longer than a second.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::Failure;
use futures::future::join_all;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::remote::{Remote, is_id};
use super::verdict::Verdict;

/// How long a create may still be answered after a stop.
const CREATE_GRACE: Duration = Duration::from_millis(500);
/// Longest time to tell the service to cancel.
const CANCEL_TIME_MAX: Duration = Duration::from_secs(5);

/// Cancels generations that nobody waits for any more.
pub(super) async fn cancel<R: Remote>(remote: Arc<R>, ids: Vec<String>) {
    let cancels = join_all(ids.iter().filter(|id| is_id(id)).map(|id| remote.cancel(id)));
    let done = timeout(CANCEL_TIME_MAX, cancels).await;
    if !done.is_ok_and(|done| done.iter().all(Result::is_ok)) {
        tracing::warn!(?ids, "the provider did not take a cancel; it may draw in vain");
    }
}

/// A generation that is being created; dropped before the answer, what it creates is cancelled.
pub(super) struct Creating<R: Remote> {
    remote: Arc<R>,
    tasks: TaskTracker,
    answer: Option<JoinHandle<Result<String, Failure>>>,
}

impl<R: Remote> Creating<R> {
    /// Sends the request; what takes it back will be one of `tasks`.
    pub(super) fn begin(remote: &Arc<R>, tasks: &TaskTracker, input: Map<String, Value>) -> Self {
        let (remote, tasks) = (remote.clone(), tasks.clone());
        let asking = remote.clone();
        // In a task, because what drops the call must not drop the answer.
        let answer = Some(tokio::spawn(async move { asking.create(input).await }));
        Self { remote, tasks, answer }
    }

    /// Waits for its name.
    pub(super) async fn name(mut self) -> Result<String, Failure> {
        let Some(answer) = &mut self.answer else { unreachable!("it is taken below") };
        let answer = answer.await;
        self.answer = None;
        answer.unwrap_or_else(|error| Err(Verdict::Cut.failure().detail(error.to_string())))
    }
}

impl<R: Remote> Drop for Creating<R> {
    fn drop(&mut self) {
        let Some(mut answer) = self.answer.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let remote = self.remote.clone();
        let take_back = async move {
            match timeout(CREATE_GRACE, &mut answer).await {
                Ok(Ok(Ok(id))) => cancel(remote, vec![id]).await,
                Ok(_) => {}
                Err(_) => {
                    answer.abort();
                    tracing::warn!(
                        "a create was not answered before its stop; it may draw in vain"
                    );
                }
            }
        };
        self.tasks.spawn_on(take_back, &runtime);
    }
}
