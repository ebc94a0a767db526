//! Puts the parts together and runs them until told to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use framewire_shared::domain::{Pool, RetryPolicy, WorkerId};
use framewire_shared::service::failpoint;
use framewire_shared::service::settings::{Provider as ProviderName, Settings};
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::Store;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::operate::Unfit;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::lease_keeper::{LeaseKeeper, StopReason};
use crate::provider::Provider;
use crate::provider::builtin::{Builtin, BuiltinOptions};
use crate::pump::Pump;
use crate::runner::Runner;
use crate::upkeep::heart::Heart;
use crate::upkeep::janitor::Janitor;
use crate::upkeep::sweeper::Sweeper;

/// Longest wait, at the very end, for attempts that were told to hand back.
const HAND_BACK: Duration = Duration::from_secs(5);
/// Pause between looks at a Redis that is not there yet.
const REDIS_PAUSE: Duration = Duration::from_millis(500);

/// A worker, ready to run.
pub struct App {
    settings: Settings,
    worker: WorkerId,
    store: Store,
    blobs: Blobs,
    providers: HashMap<Pool, Arc<dyn Provider>>,
}

impl App {
    /// Builds a worker from its settings. Redis need not be up.
    ///
    /// Errors: the artifacts' folder can't be used, or a pool has nobody to draw for it.
    pub fn build(settings: Settings) -> anyhow::Result<Self> {
        let store = Store::open(settings.redis_options(), settings.queue_options())
            .context("read redis.url")?;
        let path = &settings.artifacts.path;
        let blobs = Blobs::on_disk(path)
            .with_context(|| format!("use artifacts.path {}", path.display()))?;
        let providers = providers(&settings)?;
        Ok(Self { worker: WorkerId::new(uuid()), settings, store, blobs, providers })
    }

    /// Runs until told to stop: drain, then hand back, then go.
    pub async fn run_until(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { settings, worker, store, blobs, providers } = self;
        tokio::select! {
            () = shutdown.drain.cancelled() => return Ok(()),
            fit = wait_until_fit(&store) => fit?,
        }
        let slots = settings.worker.slots.get();
        let keeper = LeaseKeeper::new(store.clone(), settings.queue.renew);
        let runner = Arc::new(Runner {
            store: store.clone(),
            blobs: blobs.clone(),
            keeper: keeper.clone(),
            retry: RetryPolicy {
                attempts: settings.queue.attempts.get(),
                ..RetryPolicy::default()
            },
            attempt_timeout: settings.queue.attempt_timeout,
        });
        let pools: Vec<Pool> = settings.worker.pools.clone();
        let pump = Pump {
            worker: worker.clone(),
            store: store.clone(),
            popper: store.popper(&pools).context("make a popper")?,
            runner,
            providers,
            slots: Arc::new(Semaphore::new(slots as usize)),
        };
        let heart = Arc::new(Heart { store: store.clone(), worker: worker.clone(), pools, slots });
        let sweeper = Sweeper { store };
        let options = settings.queue_options();
        let janitor = Janitor { blobs, age: options.retention + 2 * options.attempt_max };

        // Beside the jobs. The lease keeper outlives the rest: it serves until the last hand-back.
        let mut upkeep = JoinSet::new();
        let beating = shutdown.drain.child_token();
        let keeping = tokio_util::sync::CancellationToken::new();
        upkeep.spawn({
            let (heart, stop) = (heart.clone(), beating);
            async move { heart.run(stop).await }
        });
        upkeep.spawn({
            let stop = shutdown.drain.clone();
            async move { sweeper.run(stop).await }
        });
        upkeep.spawn({
            let stop = shutdown.drain.clone();
            async move { janitor.run(stop).await }
        });
        upkeep.spawn({
            let (keeper, stop) = (keeper.clone(), keeping.clone());
            async move { keeper.run(stop).await }
        });
        tracing::info!(%worker, slots, "worker is ready");

        let mut running = pump.run(shutdown.drain.clone()).await;

        // Stopping, in order.
        // 1. Our slots leave the capacity, so that nothing is admitted for us.
        if let Err(error) = heart.last().await {
            tracing::warn!("our slots stay counted for a while: {error}");
        }
        // 2. What runs may finish, within the grace.
        tracing::info!(running = running.len(), "draining");
        failpoint::hit("draining");
        tokio::select! {
            () = all_done(&mut running) => {}
            () = shutdown.stop.cancelled() => {}
            () = tokio::time::sleep(settings.worker.drain) => {}
        }
        // 3. What still runs goes back, and another worker starts it from the beginning.
        keeper.stop_all(StopReason::Drain);
        drop(tokio::time::timeout(HAND_BACK, all_done(&mut running)).await);
        // 4. Nothing holds a lease any more.
        keeping.cancel();
        upkeep.join_all().await;
        tracing::info!("stopped");
        Ok(())
    }
}

async fn all_done(running: &mut JoinSet<()>) {
    while running.join_next().await.is_some() {}
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

/// Finds who draws for each pool this worker serves.
fn providers(settings: &Settings) -> anyhow::Result<HashMap<Pool, Arc<dyn Provider>>> {
    let mut providers: HashMap<Pool, Arc<dyn Provider>> = HashMap::new();
    for model in settings.models.0.values() {
        let provider: Arc<dyn Provider> = match model.provider {
            ProviderName::Builtin => Arc::new(Builtin::new(BuiltinOptions {
                faults: settings.builtin.faults,
                step_ms_default: settings.builtin.step.as_millis() as u64,
            })),
        };
        providers.insert(model.pool.clone(), provider);
    }
    for pool in &settings.worker.pools {
        if !providers.contains_key(pool) {
            anyhow::bail!(
                "serve worker.pools: no [models] entry draws in the pool \"{pool}\"; known pools: {:?}",
                providers.keys().map(Pool::as_str).collect::<Vec<_>>()
            );
        }
    }
    Ok(providers)
}

/// Waits for Redis, and refuses one that would lose jobs.
async fn wait_until_fit(store: &Store) -> anyhow::Result<()> {
    let mut told = false;
    loop {
        match store.check_fitness().await {
            Ok(()) => return Ok(()),
            Err(Unfit::Store(error)) => {
                if !std::mem::replace(&mut told, true) {
                    let error = anyhow::Error::from(error);
                    tracing::warn!("waiting for Redis: failed to {error:#}");
                }
            }
            Err(unfit) => return Err(anyhow::Error::from(unfit).context("use this Redis")),
        }
        tokio::time::sleep(REDIS_PAUSE).await;
    }
}
