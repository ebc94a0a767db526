//! A Redis, a folder, a runner, and a provider that does what a test tells it to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framewire_shared::domain::{
    Cell, Failure, FrameInput, Job, JobId, MediaType, Pool, RetryPolicy, SessionId, WorkerId,
};
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::codec::{Claim, Claimed};
use framewire_shared::store::{QueueOptions, Store};
use framewire_shared::testing::{RedisServer, submission};
use framewire_worker::lease_keeper::LeaseKeeper;
use framewire_worker::provider::fetch::FetchOptions;
use framewire_worker::provider::{Call, Picture, Provider, Source, Update, Updates};
use framewire_worker::runner::Runner;
use framewire_worker::source::Sources;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use uuid::Uuid;

/// The moment at which worlds with their own clock begin.
const START_MS: u64 = 1_800_000_000_000;

/// What the scripted provider does next.
pub(crate) enum Act {
    /// Yields this.
    Yield(Update),
    /// Waits until a test says so.
    Wait(Arc<Notify>),
    /// Fails.
    Fail(Failure),
    /// Never goes on.
    Hang,
    /// Tells of its progress, without end.
    Chatter,
}

/// A provider that plays one list of acts per call.
#[derive(Default)]
pub(crate) struct Scripted {
    name: Option<&'static str>,
    pub(crate) calls: AtomicU32,
    /// Counts calls whose future was dropped or returned.
    pub(crate) ended: Arc<AtomicU32>,
    acts: Mutex<VecDeque<Vec<Act>>>,
    /// What each call was to start from.
    pub(crate) sources: Mutex<Vec<Option<Source>>>,
}

struct Ended(Arc<AtomicU32>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Scripted {
    pub(crate) fn new(calls: impl IntoIterator<Item = Vec<Act>>) -> Arc<Self> {
        let acts = Mutex::new(calls.into_iter().collect());
        Arc::new(Self { acts, ..Self::default() })
    }

    /// Makes one of another name.
    pub(crate) fn named(
        name: &'static str,
        calls: impl IntoIterator<Item = Vec<Act>>,
    ) -> Arc<Self> {
        let acts = Mutex::new(calls.into_iter().collect());
        Arc::new(Self { name: Some(name), acts, ..Self::default() })
    }
}

impl Provider for Scripted {
    fn name(&self) -> &str {
        self.name.unwrap_or("scripted")
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        let acts = self.acts.lock().unwrap().pop_front().expect("a call that was not foreseen");
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.sources.lock().unwrap().push(call.source);
        let ended = Ended(self.ended.clone());
        Box::pin(async move {
            let _ended = ended;
            for act in acts {
                match act {
                    Act::Yield(update) => drop(updates.send(update).await),
                    Act::Wait(notify) => notify.notified().await,
                    Act::Fail(failure) => return Err(failure),
                    Act::Hang => std::future::pending().await,
                    Act::Chatter => loop {
                        drop(updates.send(Update::Progress { step: 1, steps: 9 }).await);
                        tokio::task::yield_now().await;
                    },
                }
            }
            Ok(())
        })
    }
}

pub(crate) fn png(width: u32, height: u32) -> Picture {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(width, height).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    Picture { media_type: MediaType::Png, bytes: bytes.into_inner().into() }
}

pub(crate) fn frame(index: u32) -> Act {
    Act::Yield(Update::Frame { index, seed: u64::from(index), picture: png(64, 64) })
}

pub(crate) struct World {
    pub(crate) redis: RedisServer,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) keeper: Arc<LeaseKeeper>,
    pub(crate) session: SessionId,
    pub(crate) pool: Pool,
    pub(crate) worker: WorkerId,
}

impl World {
    pub(crate) fn new() -> Self {
        let redis = RedisServer::start();
        let store = redis.store_with(QueueOptions::default());
        Self::with(redis, store)
    }

    /// Starts on a clock that [`World::at`] moves.
    pub(crate) fn with_clock() -> Self {
        let redis = RedisServer::start();
        redis.set_clock(START_MS);
        let store = redis.store_with_clock(QueueOptions::default());
        Self::with(redis, store)
    }

    /// Moves the clock to this long after the start.
    pub(crate) fn at(&self, since: Duration) {
        self.redis.set_clock(START_MS + since.as_millis() as u64);
    }

    fn with(redis: RedisServer, store: Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            blobs: Blobs::on_disk(&folder.path().join("artifacts")).unwrap(),
            keeper: LeaseKeeper::new(store.clone(), Duration::from_millis(20)),
            session: SessionId::new(Cell::FIRST, Uuid::new_v4()),
            pool: "default".parse().unwrap(),
            worker: WorkerId::new(Uuid::new_v4()),
            redis,
            folder,
            store,
        }
    }

    /// What fetches pictures for jobs to start from, from this machine too.
    fn sources(&self) -> Sources {
        let options = FetchOptions { allow_http: true, allow_private: true };
        Sources::new(self.blobs.clone(), options).unwrap()
    }

    pub(crate) fn runner(&self, attempt_timeout: Duration) -> Runner {
        Runner {
            store: self.store.clone(),
            blobs: self.blobs.clone(),
            sources: self.sources(),
            keeper: self.keeper.clone(),
            retry: RetryPolicy {
                base: Duration::ZERO,
                cap: Duration::ZERO,
                ..RetryPolicy::default()
            },
            attempt_timeout,
        }
    }

    pub(crate) async fn submit(&self, n: u32) -> JobId {
        let input = FrameInput { width: 64, height: 64, n, seed: Some(1), ..FrameInput::new("x") };
        self.submit_input(&input).await
    }

    pub(crate) async fn submit_input(&self, input: &FrameInput) -> JobId {
        let id = JobId::new(Cell::FIRST, Uuid::now_v7());
        let input = serde_json::to_string(input).unwrap();
        let new = submission(&id, &self.session, &self.pool, &input);
        self.store.submit(&new).await.unwrap();
        id
    }

    /// Submits a job and claims it.
    pub(crate) async fn claimed(&self, n: u32) -> (JobId, Claimed) {
        self.beat().await;
        let job = self.submit(n).await;
        let claimed = self.claim(&job).await;
        (job, claimed)
    }

    /// Says that a worker with one slot lives.
    pub(crate) async fn beat(&self) {
        let hour = Duration::from_secs(3_600);
        self.store.heartbeat(Cell::FIRST, &self.pool, &self.worker, 1, hour).await.unwrap();
    }

    /// Claims a job that was offered.
    pub(crate) async fn claim(&self, job: &JobId) -> Claimed {
        let claim = self.store.claim(job, &self.worker, "scripted").await.unwrap();
        let Claim::Claimed(claimed) = claim else { panic!("{claim:?}") };
        claimed
    }

    pub(crate) async fn job(&self, job: &JobId) -> Job {
        self.store.job(job).await.unwrap().expect("a job").job
    }

    pub(crate) async fn events(&self) -> Vec<String> {
        let zero = "0-00000000".parse().unwrap();
        let replay = self.store.replay(&self.session, Some(&zero)).await.unwrap();
        replay.events.iter().map(|text| text.split(' ').nth(2).unwrap().to_owned()).collect()
    }
}
