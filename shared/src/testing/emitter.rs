//! Events without jobs, for benchmarks of their delivery.
//!
//! An event is appended and published by the prelude's own `emit`, with its place in the session's
//! stream, so that readers can't tell it from a transition's. No job stands behind it.

use redis::Script;

use crate::domain::SessionId;
use crate::store::{Store, StoreError};

/// Appends events. Cheap to clone as its store is; calls may be under way at the same time.
#[derive(Debug, Clone)]
pub struct Emitter {
    store: Store,
    script: Script,
}

impl Emitter {
    /// Writes through the store's connection.
    pub fn new(store: Store) -> Self {
        Self { store, script: crate::store::emit_script() }
    }

    /// Appends an event to a session's stream and publishes it.
    ///
    /// `body` is an object's text; the members that every event has are added to it.
    pub async fn emit(
        &self,
        session: &SessionId,
        kind: &str,
        body: &str,
    ) -> Result<(), StoreError> {
        let job = format!("job_{}_{:032x}", session.cell(), 1);
        let arguments = [job.as_str(), session.as_str(), kind, body];
        self.store.run(&self.script, session.cell(), &arguments).await.map(drop)
    }
}
