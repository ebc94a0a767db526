//! A worker's own parts around a provider that does nothing.
//!
//! Pump, runner and lease keeper are those that the worker runs; what is left out of them are the
//! heart, the sweeper and the janitor, which do not touch a job that goes well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use framewire_shared::domain::{Cell, Failure, MediaType, Pool, RetryPolicy, WorkerId};
use framewire_shared::store::Store;
use framewire_shared::store::blobs::Blobs;
use framewire_worker::lease_keeper::LeaseKeeper;
use framewire_worker::provider::fetch::FetchOptions;
use framewire_worker::provider::{Call, Picture, Provider, Update, Updates};
use framewire_worker::pump::Pump;
use framewire_worker::routes::Routes;
use framewire_worker::runner::Runner;
use framewire_worker::source::Sources;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Renewal and attempt as the settings have them by default.
const RENEW: Duration = Duration::from_secs(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for the whole.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Yields the same picture at once, and says when it was asked for the last time.
struct Nothing {
    picture: Bytes,
    calls_left: AtomicUsize,
    last: CancellationToken,
}

impl Provider for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            let picture = Picture { media_type: MediaType::Png, bytes: self.picture.clone() };
            let seed = call.input.seed.unwrap_or_default();
            updates.send(Update::Frame { index: 0, seed, picture }).await.ok();
            if self.calls_left.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.last.cancel();
            }
            Ok(())
        }
        .boxed()
    }
}

/// Drains `jobs` jobs of a pool as one worker does; returns when the last is settled.
pub(crate) async fn drain(
    store: &Store,
    pool: &Pool,
    worker: &WorkerId,
    slots: usize,
    jobs: usize,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png)?;
    let last = CancellationToken::new();
    let provider: Arc<dyn Provider> = Arc::new(Nothing {
        picture: png.into_inner().into(),
        calls_left: AtomicUsize::new(jobs),
        last: last.clone(),
    });
    let keeper = LeaseKeeper::new(store.clone(), RENEW);
    let blobs = Blobs::on_disk(folder.path())?;
    let mut routes = Routes::default();
    routes.add(store, pool.clone(), provider, None);
    let pump = Pump {
        cell: Cell::FIRST,
        worker: worker.clone(),
        store: store.clone(),
        popper: store.popper(Cell::FIRST, std::slice::from_ref(pool)),
        runner: Arc::new(Runner {
            store: store.clone(),
            sources: Sources::new(blobs.clone(), FetchOptions::default())?,
            blobs,
            keeper: keeper.clone(),
            retry: RetryPolicy::default(),
            attempt_timeout: ATTEMPT_TIMEOUT,
        }),
        pools: vec![pool.clone()],
        routes: Arc::new(routes),
        slots: Arc::new(Semaphore::new(slots)),
    };
    let keeping = tokio::spawn({
        let last = last.clone();
        async move { keeper.run(Cell::FIRST, last).await }
    });
    let drained = async { pump.run(last).await.join_all().await };
    tokio::time::timeout(DRAIN_TIMEOUT, drained).await.context("the worker is not done")?;
    Ok(keeping.await?)
}
