//! Has the jobs of sessions cancelled whose readers left for good.
//!
//! Each gateway says every few seconds which sessions have a stream here, in one call per cell and
//! batch, and has those looked after that no gateway has named for the operator's time. So a reader
//! that moves to another gateway is there, a gateway that dies takes nobody with it, and while none
//! lives nobody counts as gone. A request that polls or waits is not a stream: who never opened one is
//! never watched; but who did, and now polls events, is there. Readers are named before the others are looked at, and a round that could not name
//! them looks at nobody.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::{Cell, SessionId};
use framewire_shared::store::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::hub::Hub;

/// Sessions named in one call.
const BATCH_MAX: usize = 500;

/// The sessions that somebody reads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// With streams, those included that came and went.
    pub streamed: Vec<SessionId>,
    /// With polls alone, likewise.
    pub polled: Vec<SessionId>,
}

/// Watches over this process's sessions of one cell.
#[derive(Debug)]
pub struct Watch {
    /// Where it is said.
    pub store: Store,
    /// Whose sessions are watched over.
    pub cell: Cell,
    /// Who knows the streams of that cell.
    pub hub: Arc<Hub>,
    /// How long a reader may stay away.
    pub after: Duration,
    /// How often it is said.
    pub every: Duration,
}

impl Watch {
    /// Makes a round every period until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(self.every);
        // After an outage there is nothing to catch up with.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                ticks.tick().await;
                if let Err(error) = self.tick().await {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "can't say who is read; trying on");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
    }

    /// Names the sessions with streams, and looks after those that nobody names.
    async fn tick(&self) -> Result<(), StoreError> {
        let (cell, present) = (self.cell, self.hub.present());
        // A cell without sessions hears of this gateway too.
        let (named, rest) = present.streamed.split_at(present.streamed.len().min(BATCH_MAX));
        self.store.watch(cell, named, self.after, self.every).await?;
        for batch in rest.chunks(BATCH_MAX) {
            self.store.watch(cell, batch, self.after, self.every).await?;
        }
        for batch in present.polled.chunks(BATCH_MAX) {
            self.store.watch_on(cell, batch, self.after, self.every).await?;
        }
        let left = self.store.abandon(cell).await?;
        if left.jobs > 0 {
            let (sessions, jobs) = (left.sessions, left.jobs);
            tracing::info!(%cell, sessions, jobs, "cancelled what nobody waits for");
        }
        Ok(())
    }
}
