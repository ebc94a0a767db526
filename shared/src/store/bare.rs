//! A queue of nothing but Redis' own commands; ours is measured beside it.
//!
//! It goes through the same doors as ours: submits over the shared connection, pops with the same
//! [`Popper`](super::window::Popper) from the same window. A job is its id in a sorted set and two
//! messages to whoever listens; no record, no caps, no fairness, no lease, no stream. Nothing but
//! the benchmark uses it, on a Redis that is empty otherwise.

use super::{Store, StoreError, keys};
use crate::domain::{JobId, Pool, Priority, SessionId};

impl Store {
    /// Puts a job in the window and tells its session, in one round trip: ZADD and PUBLISH.
    pub async fn bare_submit(
        &self,
        job: &JobId,
        session: &SessionId,
        pool: &Pool,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        let mut both = redis::pipe();
        both.zadd(keys::ready(job.cell(), pool, Priority::Normal), job.as_str(), at_ms).ignore();
        both.publish(keys::stream(session), format!("- - queued {job}\n{{}}")).ignore();
        self.pipeline(job.cell(), &both).await
    }

    /// Tells a session that its job is done: PUBLISH.
    pub async fn bare_complete(&self, job: &JobId, session: &SessionId) -> Result<(), StoreError> {
        let event = format!("- - completed {job}\n{{}}");
        self.command(job.cell(), redis::cmd("PUBLISH").arg(keys::stream(session)).arg(event)).await
    }
}
