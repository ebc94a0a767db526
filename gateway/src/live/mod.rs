//! Redis pub/sub in, bounded streams of `text/event-stream` out.
//!
//! An event's way: Redis → `tail` (a cell's pub/sub connection) → `hub` (who reads this session)
//! → `reader` (one bounded buffer each) → `subscription` (is it the next one?) → `frame`
//! (bytes). Pub/sub is the wake-up and the fast path; the truth is the session's list in Redis, and
//! `chain` is the rule that compares the two. Promise: a reader that comes back with its cursor
//! gets every durable event of its session once and in order, or is told `reset`.
//!
//! `Live` is the face: it is started once per process, owns a hub for each cell and the tasks around it
//! (the tail, `positions`, and `desertion` where it is wanted), and gives out streams. It knows nothing
//! of HTTP; how a job looks there is handed in (`Render`).

/// Events as bytes of `text/event-stream`; pure.
pub mod frame;
/// Which event is the next one; pure.
pub mod chain;
/// What waits for one reader, within bounds; pure.
pub mod buffer;
/// One reader's buffer, and how it is woken.
pub mod reader;
/// The sessions of a cell and their readers.
pub mod hub;
/// A cell's pub/sub connection.
pub mod tail;
/// How many streams each address has.
pub mod addresses;
/// One reader's stream: register, replay, stitch, live.
pub mod subscription;
/// What a stream is of: a session, or one job.
pub mod view;
/// When a stream pings, checks its position, and ends.
pub mod schedule;
/// Tells sessions where their queued jobs stand.
pub mod positions;
/// Has the jobs of sessions cancelled whose readers left for good.
pub mod desertion;
/// Waits for one job's end.
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::{JobId, SessionId};
use framewire_shared::service::settings::GatewaySettings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::codec::JobRow;
use framewire_shared::store::{Store, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use addresses::Caller;
use addresses::{Addresses, Place};
pub use chain::Asked;
pub use frame::Bye;
use hub::{Hub, Limits, Purpose, Seat};
pub use subscription::{Polled, Subscription, farewell};
use tail::{Tail, TailOptions};
use view::{Form, View};

use crate::metrics::Metrics;
use crate::open_files;

/// Joins that read from a cell's Redis at the same time; paces the return of all after an outage.
const JOINS_MAX: usize = 64;

/// Shows a job as the HTTP API does.
pub type Render = fn(&JobRow) -> serde_json::Value;

/// Bounds and times of the live stream.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// Streams of one session on this gateway; as many requests may wait for its jobs.
    pub streams_per_session_max: usize,
    /// Streams of one address on this gateway.
    pub streams_per_address_max: usize,
    /// Streams and waiting requests on this gateway.
    pub streams_max: usize,
    /// How often a stream says `ping`, ± 10 %.
    pub ping: Duration,
    /// Longest life of a stream; each ends at a random point between 4/6 and 6/6 of it.
    pub stream_age_max: Duration,
    /// Time over which a drain spreads the ends of its streams.
    pub drain: Duration,
    /// How often a stream compares its position with Redis, ± 20 %: finds a lost *last* message.
    pub check: Duration,
    /// Time after which what such a comparison found must have been heard.
    pub recheck: Duration,
    /// Longest wait for the subscription and the first read of a new stream.
    pub join_timeout: Duration,
    /// How long a session stays subscribed after its last reader.
    pub linger: Duration,
    /// How often sessions are told where their queued jobs stand.
    pub positions: Duration,
    /// How long after its last stream's reader a session's jobs are cancelled; never if `None`.
    pub cancel_on_disconnect: Option<Duration>,
    /// How often Redis is told which sessions have readers, where that is wanted.
    pub watch: Duration,
    /// Silence on pub/sub after which it is probed.
    pub probe_after: Duration,
    /// Longest wait for a probe to come back.
    pub probe_timeout: Duration,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self::from(&GatewaySettings::default())
    }
}

impl From<&GatewaySettings> for LiveOptions {
    fn from(gateway: &GatewaySettings) -> Self {
        Self {
            streams_per_session_max: gateway.streams_per_session_max,
            streams_per_address_max: gateway.streams_per_address_max,
            streams_max: gateway.streams_max.unwrap_or_else(open_files::streams_max),
            ping: gateway.ping,
            stream_age_max: gateway.stream_age_max,
            drain: gateway.drain,
            check: Duration::from_secs(25),
            recheck: Duration::from_secs(1),
            join_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(10),
            positions: Duration::from_secs(2),
            cancel_on_disconnect: gateway.cancel_on_disconnect,
            watch: Duration::from_secs(2),
            probe_after: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(5),
        }
    }
}

/// What all streams of a process share; only this module looks inside.
#[derive(Debug)]
pub struct Common {
    store: Store,
    options: LiveOptions,
    /// In order of the cells, so that one whose Redis is slow does not hold up the others.
    joins: Vec<Semaphore>,
    drain: CancellationToken,
    metrics: Arc<Metrics>,
}

/// The live stream of one process.
#[derive(Debug)]
pub struct Live {
    /// In order of their cells.
    hubs: Vec<Arc<Hub>>,
    seats: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    common: Arc<Common>,
}

impl Live {
    /// Starts the tails and the positions' rounds; all end when `shutdown.stop` is asked for.
    ///
    /// Redis need not be up. Whoever drops the tasks ends them.
    pub fn start(
        store: Store,
        options: LiveOptions,
        metrics: Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> (Arc<Self>, JoinSet<()>) {
        let seats = Arc::new(Semaphore::new(options.streams_max));
        let limits = Limits {
            per_session_max: options.streams_per_session_max,
            seats: seats.clone(),
            linger: options.linger,
        };
        let doubts =
            TailOptions { probe_after: options.probe_after, probe_timeout: options.probe_timeout };
        let mut tasks = JoinSet::new();
        let mut hubs = Vec::new();
        for cell in store.cells() {
            let hub = Hub::new(limits.clone(), metrics.clone());
            let tail = Tail::new(store.clone(), cell, hub.clone(), doubts.clone());
            let stop = || shutdown.stop.clone();
            tasks.spawn(tail.run(stop()));
            tasks.spawn(positions::run(store.clone(), hub.clone(), options.positions, stop()));
            if let Some(after) = options.cancel_on_disconnect {
                let (store, hub, every) = (store.clone(), hub.clone(), options.watch);
                tasks.spawn(desertion::Watch { store, cell, hub, after, every }.run(stop()));
            }
            hubs.push(hub);
        }
        let addresses = Addresses::new(options.streams_per_address_max);
        let common = Arc::new(Common {
            store,
            options,
            joins: hubs.iter().map(|_| Semaphore::new(JOINS_MAX)).collect(),
            drain: shutdown.drain.clone(),
            metrics,
        });
        (Arc::new(Self { hubs, seats, addresses, common }), tasks)
    }

    /// Finds the hub of a session's cell.
    ///
    /// Errors: there is no such cell; somebody lowered their number under sessions that are in use.
    fn hub(&self, session: &SessionId) -> Result<&Arc<Hub>, Bye> {
        self.hubs.get(usize::from(session.cell().0)).ok_or(Bye::BackendDown)
    }

    /// Opens the stream of a session's events, after the position asked for.
    ///
    /// Errors: the gateway is at a limit or drains; say so in band and end.
    pub fn session_stream<'a>(
        &self,
        caller: impl Into<Caller<'a>>,
        asked: Asked,
    ) -> Result<Subscription, Bye> {
        self.open(caller.into(), Purpose::Stream, View::session(asked, Form::Frames))
    }

    /// Answers with the session's events after the position asked for; if there are none yet, with
    /// the first that come within `wait`, or with none.
    ///
    /// A position that can't be honoured, and none, are answered at once: a snapshot is due.
    /// Errors: the gateway is at a limit or drains, or Redis does not answer. Safe to drop midway.
    pub async fn poll<'a>(
        &self,
        caller: impl Into<Caller<'a>>,
        asked: Asked,
        wait: Duration,
    ) -> Result<Polled, Bye> {
        let view = View::session(asked, Form::Objects);
        self.open(caller.into(), Purpose::Poll, view)?.poll(wait).await
    }

    /// Opens the stream of one job: a snapshot, then what is newer, to its end.
    ///
    /// The caller has made sure that the job is the session's.
    pub fn job_stream<'a>(
        &self,
        caller: impl Into<Caller<'a>>,
        job: &JobId,
        render: Render,
    ) -> Result<Subscription, Bye> {
        self.open(caller.into(), Purpose::Stream, View::job(job.clone(), render))
    }

    fn open(&self, caller: Caller<'_>, purpose: Purpose, view: View) -> Result<Subscription, Bye> {
        match self.seat(caller, purpose) {
            Ok((seat, place)) => Ok(Subscription::new(self.common.clone(), seat, place, view)),
            Err(reason) => {
                self.common.metrics.refused(reason.word());
                Err(reason)
            }
        }
    }

    fn seat(
        &self,
        Caller { session, address }: Caller<'_>,
        purpose: Purpose,
    ) -> Result<(Seat, Option<Place>), Bye> {
        if self.common.drain.is_cancelled() {
            return Err(Bye::Drain);
        }
        let place = address.map(|address| self.addresses.sit(address)).transpose()?;
        Ok((self.hub(session)?.sit(session, purpose)?, place))
    }

    /// Reads a job, and where it has not ended, waits for its end before it reads again.
    ///
    /// Answers with the job as it is at its end or at the timeout; earlier, if the gateway drains or
    /// has no seat left. `None` if there is no such job. Safe to drop midway.
    pub async fn wait_for(
        &self,
        session: &SessionId,
        job: &JobId,
        timeout: Duration,
    ) -> Result<Option<JobRow>, StoreError> {
        match self.hub(session) {
            Ok(hub) => wait::for_end(hub, &self.common, session, job, timeout).await,
            Err(_) => self.common.store.job(job).await,
        }
    }

    /// Counts the streams and waiting requests.
    pub fn readers(&self) -> usize {
        self.common.options.streams_max - self.seats.available_permits()
    }

    /// Counts the streams.
    pub fn streams(&self) -> usize {
        self.hubs.iter().map(|hub| hub.seated(Purpose::Stream)).sum()
    }

    /// Counts the sessions that are asked for their queued jobs' places.
    pub fn asks_positions_of(&self) -> usize {
        self.hubs.iter().map(|hub| hub.waiting().len()).sum()
    }

    /// Counts the sessions that are subscribed, or are about to be.
    pub fn sessions(&self) -> usize {
        self.hubs.iter().map(|hub| hub.sessions()).sum()
    }
}

/// Gives this host's clock, for what readers are told and nothing is decided by.
fn epoch_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
