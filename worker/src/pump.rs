//! Pops jobs from the windows of one cell while there is a free slot, and starts a runner for each.
//!
//! A slot and a provider's pass are held before the pop, so what is popped can run at once; pools
//! without a pass are not popped. The pumps of all cells share a worker's slots: one that found nothing
//! gives its slot back and stands in line behind the others (the semaphore is first come, first
//! served), and one whose Redis is away holds none meanwhile. What a pop yields is a hint; the claim
//! makes it ours or finds it gone, and either is normal. A hint that comes while we drain is left
//! alone: the sweep offers it to somebody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framewire_shared::domain::{Cell, Pool, WorkerId};
use framewire_shared::service::failpoint;
use framewire_shared::store::codec::Claim;
use framewire_shared::store::window::{Hint, Popper};
use framewire_shared::store::{Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::routes::{Pass, Routes};
use crate::runner::Runner;

/// Pause after a failed pop, so that a Redis that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(300);

/// Pops and starts; see the module.
pub struct Pump {
    /// Which cell's jobs.
    pub cell: Cell,
    /// Who claims.
    pub worker: WorkerId,
    /// Where claims go.
    pub store: Store,
    /// Where hints come from.
    pub popper: Popper,
    /// Runs what is claimed.
    pub runner: Arc<Runner>,
    /// The pools it pops.
    pub pools: Vec<Pool>,
    /// Who draws for each pool.
    pub routes: Arc<Routes>,
    /// Free slots, shared by the pumps of all cells.
    pub slots: Arc<Semaphore>,
}

impl Pump {
    /// Pops and starts until `drain`; gives what still runs.
    pub async fn run(mut self, drain: CancellationToken) -> JoinSet<()> {
        let mut running = JoinSet::new();
        let mut told = false;
        loop {
            while running.try_join_next().is_some() {}
            let connected = tokio::select! {
                () = drain.cancelled() => return running,
                connected = self.popper.connect() => connected,
            };
            if let Err(error) = connected {
                self.tell(error, &mut told);
                if !rest(&drain).await {
                    return running;
                }
                continue;
            }
            let slot = tokio::select! {
                () = drain.cancelled() => return running,
                slot = self.slots.clone().acquire_owned() => slot,
            };
            let Ok(slot) = slot else { return running };
            let turn = tokio::select! {
                // The popper goes with us, and its socket with it: Redis forgets the pop. Passes go
                // back by themselves.
                () = drain.cancelled() => return running,
                turn = self.turn() => turn,
            };
            match turn {
                Ok(Some((hint, pass))) => {
                    told = false;
                    failpoint::hit("popped");
                    self.start(hint, pass, slot, &mut running);
                }
                Ok(None) => told = false,
                Err(error) => {
                    drop(slot);
                    self.tell(error, &mut told);
                    if !rest(&drain).await {
                        return running;
                    }
                }
            }
        }
    }

    /// Logs the first of a row of failures.
    fn tell(&self, error: StoreError, told: &mut bool) {
        if !std::mem::replace(told, true) {
            let error = anyhow::Error::from(error);
            tracing::warn!(cell = %self.cell, "no jobs are taken for now: failed to {error:#}");
        }
    }

    /// Pops once from the pools that have leave, or waits until one may have it.
    async fn turn(&mut self) -> Result<Option<(Hint, Pass)>, StoreError> {
        let passes = self.routes.passes(&self.pools).await?;
        if passes.is_empty() {
            // Guards were asked, and Redis has answered for them.
            self.routes.metrics().pulse.beat();
            passes.wait().await;
            return Ok(None);
        }
        let popped = self.popper.pop_among(|pool| passes.opens(pool)).await?;
        self.routes.metrics().pulse.beat();
        let Some(hint) = popped else {
            passes.rest().await;
            return Ok(None);
        };
        Ok(passes.take(&hint.pool).map(|pass| (hint, pass)))
    }

    /// Claims a popped job and runs it, beside the next pop.
    fn start(&self, hint: Hint, pass: Pass, slot: OwnedSemaphorePermit, running: &mut JoinSet<()>) {
        let (store, runner, worker) =
            (self.store.clone(), self.runner.clone(), self.worker.clone());
        let routes = self.routes.clone();
        running.spawn(async move {
            // Held until the job is settled, so that slots bound what runs.
            let _slot = slot;
            failpoint::hit("claim_before");
            match store.claim(&hint.job, &worker, pass.provider.name()).await {
                Ok(Claim::Claimed(claimed)) => {
                    failpoint::hit("claim_after");
                    let (attempt, fence) = (claimed.attempt, claimed.fence);
                    tracing::debug!(job = %hint.job, attempt, %fence, "claimed");
                    let (metrics, began_at) = (routes.metrics(), Instant::now());
                    let (model, provider) = (claimed.model.clone(), pass.provider.clone());
                    metrics.claimed(hint.pool.as_str());
                    let settled = runner.run(hint.job.clone(), claimed, pass).await;
                    let whose = [hint.pool.as_str(), &model, provider.name()];
                    metrics.settled(whose, settled, began_at.elapsed());
                    tracing::info!(job = %hint.job, attempt, "job is {settled:?}");
                }
                Ok(Claim::Gone(state)) => {
                    tracing::debug!(job = %hint.job, ?state, "a popped job was gone");
                }
                // It may have been claimed all the same; then its lease passes, and it is offered
                // again.
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(job = %hint.job, "a popped job was not claimed: failed to {error:#}");
                }
            }
        });
    }
}

/// Waits a while after a failure; tells whether to go on.
async fn rest(drain: &CancellationToken) -> bool {
    tokio::select! {
        () = drain.cancelled() => false,
        () = tokio::time::sleep(PAUSE) => true,
    }
}
