//! Puts the parts together and runs them until told to stop.
//!
//! Each cell has a pump, a heart, a sweeper and renewals of its own, so that one whose Redis is away
//! does not hold up the others. It begins when its node was found fit; the first cell's is waited for
//! before anything begins, because there it is recorded how many there are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use framewire_shared::domain::{Cell, Pool, RetryPolicy, WorkerId};
use framewire_shared::service::failpoint;
use framewire_shared::service::settings::{InputSettings, Settings};
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::Store;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::operate::Unfit;
use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::lease_keeper::{LeaseKeeper, StopReason};
use crate::provider::configured;
use crate::provider::fetch::FetchOptions;
use crate::pump::Pump;
use crate::routes::Routes;
use crate::runner::Runner;
use crate::source::Sources;
use crate::upkeep::heart::Heart;
use crate::upkeep::janitor::Janitor;
use crate::upkeep::prober::Prober;
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
    routes: Arc<Routes>,
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
        let routes = Arc::new(routes(&settings, &store)?);
        Ok(Self { worker: WorkerId::new(uuid()), settings, store, blobs, routes })
    }

    /// Runs until told to stop: drain, then hand back, then go.
    pub async fn run_until(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { settings, worker, store, blobs, routes } = self;
        tokio::select! {
            () = shutdown.drain.cancelled() => return Ok(()),
            fit = wait_until_fit(&store, Cell::FIRST) => fit?,
        }
        let slots = settings.worker.slots.get();
        let InputSettings { allow_http, allow_private } = settings.inputs;
        let fetch = FetchOptions { allow_http, allow_private };
        let sources = Sources::new(blobs.clone(), fetch).context("fetch pictures to start from")?;
        let keeper = LeaseKeeper::new(store.clone(), settings.queue.renew);
        let runner = Arc::new(Runner {
            store: store.clone(),
            blobs: blobs.clone(),
            sources,
            keeper: keeper.clone(),
            retry: RetryPolicy {
                attempts: settings.queue.attempts.get(),
                ..RetryPolicy::default()
            },
            attempt_timeout: settings.queue.attempt_timeout,
        });
        let pools: Vec<Pool> = settings.worker.pools.clone();
        let free = Arc::new(Semaphore::new(slots as usize));
        let prober = Prober { routes: routes.clone() };
        let options = settings.queue_options();
        let janitor = Janitor {
            blobs,
            store: store.clone(),
            age: options.retention + 2 * options.attempt_max,
        };

        // Beside the jobs. The lease keeper outlives the rest: it serves until the last hand-back.
        let mut upkeep = JoinSet::new();
        let mut pumps = JoinSet::new();
        let mut hearts = Vec::new();
        let keeping = CancellationToken::new();
        for cell in store.cells() {
            let heart = Arc::new(Heart {
                cell,
                store: store.clone(),
                worker: worker.clone(),
                pools: pools.clone(),
                routes: routes.clone(),
                slots,
            });
            hearts.push(heart.clone());
            let sweeper = Sweeper { cell, store: store.clone() };
            let pump = Pump {
                cell,
                worker: worker.clone(),
                store: store.clone(),
                popper: store.popper(cell, &pools),
                runner: runner.clone(),
                pools: pools.clone(),
                routes: routes.clone(),
                slots: free.clone(),
            };
            let (store, drain) = (store.clone(), shutdown.drain.clone());
            pumps.spawn(async move {
                tokio::select! {
                    () = drain.cancelled() => return Ok(JoinSet::new()),
                    fit = wait_until_fit(&store, cell) => fit?,
                }
                let beside = async {
                    tokio::join!(heart.run(drain.clone()), sweeper.run(drain.clone()));
                    std::future::pending().await
                };
                tokio::select! {
                    running = pump.run(drain.clone()) => Ok::<_, anyhow::Error>(running),
                    never = beside => never,
                }
            });
            let (keeper, stop) = (keeper.clone(), keeping.clone());
            upkeep.spawn(async move { keeper.run(cell, stop).await });
        }
        upkeep.spawn({
            let stop = shutdown.drain.clone();
            async move { janitor.run(stop).await }
        });
        upkeep.spawn({
            let stop = shutdown.drain.clone();
            async move { prober.run(stop).await }
        });
        tracing::info!(%worker, slots, "worker is ready");

        let mut running = JoinSet::new();
        while let Some(pumped) = pumps.join_next().await {
            // Only a Redis that must not be used ends one before the drain, and with it all.
            let mut its = pumped.context("run a pump")??;
            running.spawn(async move { all_done(&mut its).await });
        }

        // Stopping, in order.
        // 1. Our slots leave the capacity, so that nothing is admitted for us.
        for last in join_all(hearts.iter().map(|heart| heart.last())).await {
            if let Err(error) = last {
                tracing::warn!("our slots stay counted for a while: {error}");
            }
        }
        // 2. What runs may finish, within the grace.
        tracing::info!(running = slots as usize - free.available_permits(), "draining");
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
        // 5. What was learnt of the providers is told; the rest lapses by itself.
        drop(tokio::time::timeout(HAND_BACK, routes.returned()).await);
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

/// Finds who draws what in each pool this worker serves.
///
/// Errors: an adapter can't be made of its settings; no secret is in the text.
pub fn routes(settings: &Settings, store: &Store) -> anyhow::Result<Routes> {
    let mut routes = Routes::default();
    let models = settings.models.0.iter();
    for (name, model) in models.filter(|(_, model)| settings.worker.pools.contains(&model.pool)) {
        for route in &model.routes {
            let provider = settings
                .providers
                .get(&route.provider)
                .with_context(|| format!("find the provider {}", route.provider))?;
            let made = route.model.as_deref();
            let adapter = configured::adapter(&route.provider, provider, made, &settings.builtin)
                .with_context(|| {
                format!("draw models.{name} with the provider {}", route.provider)
            })?;
            let guard = provider.guard(settings.breaker.enabled);
            routes.add_model(store, model.pool.clone(), name.clone(), adapter, guard);
        }
    }
    Ok(routes)
}

/// Waits for a cell's Redis, and refuses one that would lose jobs.
async fn wait_until_fit(store: &Store, cell: Cell) -> anyhow::Result<()> {
    let mut told = false;
    loop {
        match store.check_fitness(cell).await {
            Ok(()) => return Ok(()),
            Err(Unfit::Store(error)) => {
                if !std::mem::replace(&mut told, true) {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(%cell, "waiting for Redis: failed to {error:#}");
                }
            }
            Err(unfit) => return Err(anyhow::Error::from(unfit).context("use this Redis")),
        }
        tokio::time::sleep(REDIS_PAUSE).await;
    }
}
