//! Renews the leases of what runs, and carries bad news to the runners.
//!
//! One batch per interval and cell for all of a worker's jobs; a cell whose Redis is away does not
//! hold up the others. The answer per job is how a worker hears of
//! cancellation, so cancelling works with pub/sub cut. Only an answer ends an attempt: while Redis
//! is away nobody else can claim the job either, and giving up a paid call because our own clock
//! says that a lease must have passed would pay twice. The fence decides in the end, at settlement.
//!
//! Renewals are a few bytes on the async threads; drawing, decoding and hashing are kept off those
//! threads, so a large picture can't starve a lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use framewire_shared::domain::Cell;
use framewire_shared::service::failpoint;
use framewire_shared::store::codec::Renewal;
use framewire_shared::store::queue::Lease;
use framewire_shared::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Why a running attempt must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody wants the job cancelled.
    Cancel,
    /// The provider's time is up.
    Deadline,
    /// The worker is told to stop; the job goes back.
    Drain,
    /// The job is somebody else's by now; nothing may be written.
    Lost,
}

/// One held lease, shared by its runner and the keeper. The first reason to stop stands.
#[derive(Debug)]
pub struct Held {
    /// What is held.
    pub lease: Lease,
    stop: CancellationToken,
    handed_on: CancellationToken,
    reason: OnceLock<StopReason>,
}

impl Held {
    /// Tells the attempt to stop; a later reason does not replace an earlier one.
    pub fn stop(&self, reason: StopReason) {
        if self.reason.set(reason).is_ok() {
            if matches!(reason, StopReason::Drain | StopReason::Lost) {
                self.handed_on.cancel();
            }
            self.stop.cancel();
        }
    }

    /// Gives the token that fires with the first reason.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Gives the token that fires before it where another worker goes on with the job.
    pub fn handed_on(&self) -> &CancellationToken {
        &self.handed_on
    }

    /// Tells why it must stop, if it must.
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }
}

/// What one pass has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Leases that hold on.
    pub renewed: usize,
    /// Attempts told to stop.
    pub stopped: usize,
}

/// Renews leases; see the module.
pub struct LeaseKeeper {
    store: Store,
    every: Duration,
    held: Mutex<HashMap<Lease, Arc<Held>>>,
    metrics: Arc<Metrics>,
}

/// Ends the keeping of one lease when dropped.
pub struct KeptLease {
    keeper: Arc<LeaseKeeper>,
    held: Arc<Held>,
}

impl std::ops::Deref for KeptLease {
    type Target = Arc<Held>;
    fn deref(&self) -> &Arc<Held> {
        &self.held
    }
}

impl KeptLease {
    /// Ends the keeping before the drop, once the job is settled and its runner has more to do.
    pub(crate) fn give_up(&self) {
        self.keeper.all().remove(&self.held.lease);
    }
}

impl Drop for KeptLease {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl LeaseKeeper {
    /// Makes a keeper that renews every `every`.
    pub fn new(store: Store, every: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { store, every, held: Mutex::default(), metrics })
    }

    /// Keeps a lease until the guard is dropped.
    pub fn keep(self: &Arc<Self>, lease: Lease) -> KeptLease {
        let held = Arc::new(Held {
            lease: lease.clone(),
            stop: CancellationToken::new(),
            handed_on: CancellationToken::new(),
            reason: OnceLock::new(),
        });
        self.all().insert(lease, held.clone());
        KeptLease { keeper: self.clone(), held }
    }

    /// Tells every running attempt to stop.
    pub fn stop_all(&self, reason: StopReason) {
        for held in self.all().values() {
            held.stop(reason);
        }
    }

    /// Renews every lease of a cell once.
    pub async fn tick(&self, cell: Cell) -> Result<Kept, StoreError> {
        let is_here = |held: &&Arc<Held>| held.lease.job.cell() == cell;
        let held: Vec<Arc<Held>> = self.all().values().filter(is_here).cloned().collect();
        let mut kept = Kept::default();
        if held.is_empty() {
            return Ok(kept);
        }
        let leases: Vec<Lease> = held.iter().map(|held| held.lease.clone()).collect();
        let verdicts = self.store.renew(cell, &leases).await?;
        failpoint::hit("renewed");
        self.metrics.pulse.beat();
        for (held, verdict) in held.iter().zip(verdicts) {
            self.metrics.renewed(verdict);
            match verdict {
                Renewal::Renewed => {
                    kept.renewed += 1;
                    continue;
                }
                Renewal::Cancel => held.stop(StopReason::Cancel),
                Renewal::Overtime => held.stop(StopReason::Deadline),
                Renewal::Lost => held.stop(StopReason::Lost),
            }
            kept.stopped += 1;
        }
        Ok(kept)
    }

    /// Renews the leases of a cell at every interval until `stop`.
    pub async fn run(&self, cell: Cell, stop: CancellationToken) {
        let mut interval = tokio::time::interval(self.every);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            if let Err(error) = self.tick(cell).await {
                let error = anyhow::Error::from(error);
                tracing::warn!(%cell, "leases were not renewed, will try again: failed to {error:#}");
            }
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<Lease, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
