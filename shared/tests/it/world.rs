//! What most tests need: a Redis, a store, one pool, a worker, and short verbs.

use std::time::Duration;

use framewire_shared::domain::{
    Artifact, Cell, Fence, JobId, MediaType, Pool, Priority, SessionId, State, WorkerId,
};
use framewire_shared::store::codec::{Claim, Claimed, Completed, Noted, Submitted};
use framewire_shared::store::queue::{Lease, Submission};
use framewire_shared::store::{QueueOptions, Store};
use framewire_shared::testing::{RedisServer, prompt, submission};
use uuid::Uuid;

/// The moment at which tests with their own clock begin.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// A Redis of one's own, and one pool on it.
pub(crate) struct World {
    pub(crate) redis: RedisServer,
    pub(crate) store: Store,
    pub(crate) pool: Pool,
    pub(crate) worker: WorkerId,
    input: String,
}

pub(crate) fn session() -> SessionId {
    SessionId::new(Cell::FIRST, Uuid::new_v4())
}

impl World {
    /// Starts on Redis' own clock.
    pub(crate) fn new() -> Self {
        let redis = RedisServer::start();
        let store = redis.store();
        Self::with(redis, store)
    }

    /// Starts on a clock that [`World::at`] moves.
    pub(crate) fn with_clock(options: QueueOptions) -> Self {
        let redis = RedisServer::start();
        redis.set_clock(START_MS);
        let store = redis.store_with_clock(options);
        Self::with(redis, store)
    }

    fn with(redis: RedisServer, store: Store) -> Self {
        let pool = "default".parse().unwrap();
        let worker = WorkerId::new(Uuid::new_v4());
        Self { redis, store, pool, worker, input: prompt("a fox") }
    }

    /// Moves the clock to `ms` after the start.
    pub(crate) fn at(&self, ms: u64) {
        self.redis.set_clock(START_MS + ms);
    }

    /// Gives Redis a command; gives what it says, in lines.
    pub(crate) fn redis_cli(&self, words: &[&str]) -> String {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        match command.query(&mut self.redis.connection()).unwrap() {
            redis::Value::Array(all) => {
                let all: Vec<String> =
                    all.into_iter().map(|one| redis::from_redis_value(one).unwrap()).collect();
                all.join("\n")
            }
            one => redis::from_redis_value(one).unwrap(),
        }
    }

    pub(crate) async fn slots(&self, slots: u32) {
        let hour = Duration::from_secs(3_600);
        self.store.heartbeat(Cell::FIRST, &self.pool, &self.worker, slots, hour).await.unwrap();
    }

    pub(crate) async fn submit(&self, session: &SessionId) -> JobId {
        self.submit_as(session, Priority::Normal).await
    }

    pub(crate) async fn submit_as(&self, session: &SessionId, priority: Priority) -> JobId {
        let id = JobId::new(Cell::FIRST, Uuid::now_v7());
        let new = Submission { priority, ..submission(&id, session, &self.pool, &self.input) };
        let answer = self.store.submit(&new).await.unwrap();
        assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
        id
    }

    /// Submits a job that shares with others of the same fingerprint.
    pub(crate) async fn submit_same(&self, session: &SessionId, fingerprint: &str) -> JobId {
        self.submit_by(session, fingerprint, |_| ()).await.0
    }

    /// Submits such a job with a change; gives it with the answer.
    pub(crate) async fn submit_by(
        &self,
        session: &SessionId,
        fingerprint: &str,
        change: impl FnOnce(&mut Submission<'_>),
    ) -> (JobId, Submitted) {
        let id = JobId::new(Cell::FIRST, Uuid::now_v7());
        let mut new = submission(&id, session, &self.pool, &self.input);
        new.fingerprint = Some(fingerprint);
        change(&mut new);
        let answer = self.store.submit(&new).await.unwrap();
        (id, answer)
    }

    /// Pops as a worker does, without waiting.
    pub(crate) fn pop(&self) -> Option<JobId> {
        self.redis.pop(&self.pool)
    }

    pub(crate) async fn claim(&self, job: &JobId) -> Option<(Lease, Claimed)> {
        match self.store.claim(job, &self.worker, "builtin").await.unwrap() {
            Claim::Claimed(claimed) => {
                Some((Lease { job: job.clone(), fence: claimed.fence }, claimed))
            }
            Claim::Gone(_) => None,
        }
    }

    /// Pops and claims whatever is next.
    pub(crate) async fn take(&self) -> Option<Lease> {
        let job = self.pop()?;
        Some(self.claim(&job).await.expect("a popped job may run").0)
    }

    /// Brings a claimed job to its end.
    pub(crate) async fn finish(&self, lease: &Lease) {
        assert_eq!(self.store.advance(lease, State::Generating).await.unwrap(), Noted::Noted);
        assert_eq!(self.store.advance(lease, State::Uploading).await.unwrap(), Noted::Noted);
        let (frames, ms) = ([artifact(lease)], Duration::from_millis(1));
        let answer = self.store.complete(lease, &frames, ms, ms).await.unwrap();
        assert_eq!(answer, Completed::Completed);
    }

    pub(crate) async fn state(&self, job: &JobId) -> State {
        self.store.job(job).await.unwrap().expect("a job").job.state
    }

    /// Gives what the newest durable event of a session says.
    pub(crate) async fn last_event(&self, session: &SessionId) -> serde_json::Value {
        let zero = "0-00000000".parse().unwrap();
        let replay = self.store.replay(session, Some(&zero)).await.unwrap();
        let (_, data) = replay.events.last().expect("an event").split_once('\n').unwrap();
        serde_json::from_str(data).unwrap()
    }

    /// Lists the types of a session's durable events.
    pub(crate) async fn events(&self, session: &SessionId) -> Vec<String> {
        let zero = "0-00000000".parse().unwrap();
        let replay = self.store.replay(session, Some(&zero)).await.unwrap();
        replay.events.iter().map(|text| text.split(' ').nth(2).unwrap().to_owned()).collect()
    }
}

pub(crate) fn artifact(lease: &Lease) -> Artifact {
    let Fence(fence) = lease.fence;
    Artifact {
        index: 0,
        url: format!("/v1/artifacts/{}-{fence}-0.png", lease.job),
        content_type: MediaType::Png,
        width: 64,
        height: 64,
        bytes: 10,
        sha256: "00".into(),
        seed: 1,
    }
}
