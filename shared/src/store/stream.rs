//! Reading a session's events: replay, snapshot, and the live tail.
//!
//! The list in Redis is the truth; the channel is the wake-up and the fast path. A reader subscribes
//! first and reads second, so every event is in the read, in the subscription, or in both, and the
//! cursor's chain tells which ([`crate::domain::event::Place::follows`]).
//! The pub/sub connection is our own, one for each cell: redis-rs' automatic resubscription neither
//! tells when it happened nor batches by slot. It speaks RESP3, in which messages come beside the
//! answers, so that one code serves plain and sharded channels (a cluster's). It is lost when Redis
//! closes it or takes subscriptions away, when the cell is known to be elsewhere, and when its reader
//! is too slow.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind};
use tokio::sync::mpsc;

use super::codec::{Position, Replay, Snapshot};
use super::topology::Route;
use super::{Store, StoreError, keys};
use crate::domain::{Cell, Cursor, SessionId};

/// Events a replay may have to catch up; a reader further behind takes a snapshot.
pub const REPLAY_EVENTS_MAX: u32 = 256;
/// Unfinished jobs in a snapshot.
pub const SNAPSHOT_JOBS_MAX: u32 = 200;
/// Messages that may wait for the reader of a connection; beyond it the connection is given up, and
/// what was missed is read from the lists. A second of a busy cell's events.
const HEARD_MAX: usize = 8_192;

/// What came over the pub/sub connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The text of an event of this session; see [`crate::domain::Event`].
    Event(SessionId, String),
    /// The probe that this process published to itself.
    Probe,
}

/// The asking half of a pub/sub connection.
pub struct TailSink {
    connection: MultiplexedConnection,
    cell: Cell,
    sharded: bool,
    /// Subscriptions that we gave up and Redis has not confirmed as gone.
    leaving: Arc<AtomicUsize>,
}

/// The hearing half of a pub/sub connection.
pub struct TailStream {
    heard: mpsc::Receiver<PushInfo>,
    store: Store,
    cell: Cell,
    route: Route,
    /// The connection lives while its clones do.
    _connection: MultiplexedConnection,
}

impl Store {
    /// Reads the head and the events after `cursor`; the head alone if it is `None`.
    ///
    /// No events means: at the head, or the cursor can't be honoured; compare it with the head.
    pub async fn replay(
        &self,
        session: &SessionId,
        cursor: Option<&Cursor>,
    ) -> Result<Replay, StoreError> {
        let n = cursor.map(|cursor| cursor.n.to_string()).unwrap_or_default();
        let limit = REPLAY_EVENTS_MAX.to_string();
        let arguments = [session.as_str(), &*n, &*limit];
        Replay::parse(self.run(&self.shared.scripts.replay, session.cell(), &arguments).await?)
    }

    /// Reads the head and the unfinished jobs, atomically.
    pub async fn snapshot(&self, session: &SessionId) -> Result<Snapshot, StoreError> {
        let limit = SNAPSHOT_JOBS_MAX.to_string();
        let arguments = [session.as_str(), &*limit];
        Snapshot::parse(self.run(&self.shared.scripts.snapshot, session.cell(), &arguments).await?)
    }

    /// Reads where a session's queued jobs stand.
    pub async fn positions(&self, session: &SessionId) -> Result<Vec<Position>, StoreError> {
        let limit = SNAPSHOT_JOBS_MAX.to_string();
        let arguments = [session.as_str(), &*limit];
        let reply = self.run(&self.shared.scripts.positions, session.cell(), &arguments).await?;
        Position::parse_all(reply)
    }

    /// Opens a pub/sub connection for the sessions of a cell.
    pub async fn tail(&self, cell: Cell) -> Result<(TailSink, TailStream), StoreError> {
        let topology = &self.shared.topology;
        let leaving = Arc::new(AtomicUsize::new(0));
        let (ear, heard) = mpsc::channel(HEARD_MAX);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.shared.redis.call_timeout))
            .set_response_timeout(None)
            .set_push_sender(listener(ear, leaving.clone()));
        let (connection, route) = self
            .in_time(async {
                let route = topology.route(cell).await?;
                let info = route.node.info.clone();
                let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                let client = redis::Client::open(info.set_redis_settings(redis))?;
                let connection = client.get_multiplexed_async_connection_with_config(&config).await;
                if connection.is_err() {
                    topology.doubt(cell, &route);
                }
                Ok((connection?, route))
            })
            .await?;
        let sharded = topology.is_cluster();
        let sink = TailSink { connection: connection.clone(), cell, sharded, leaving };
        let store = self.clone();
        Ok((sink, TailStream { heard, store, cell, route, _connection: connection }))
    }

    /// Publishes a probe to the process that calls itself `name`.
    pub async fn probe(&self, cell: Cell, name: &str) -> Result<(), StoreError> {
        let verb = if self.shared.topology.is_cluster() { "SPUBLISH" } else { "PUBLISH" };
        self.command(cell, redis::cmd(verb).arg(keys::probe(cell, name)).arg("probe")).await
    }
}

/// Makes what the connection calls with everything it hears: it never waits, and once it has
/// dropped its ear, the stream ends after what was heard before.
fn listener(
    ear: mpsc::Sender<PushInfo>,
    leaving: Arc<AtomicUsize>,
) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
    let ear = Mutex::new(Some(ear));
    move |push| {
        let mut ear = ear.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = match push.kind {
            PushKind::Disconnection => true,
            PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                // One that we did not ask for: the slot has moved to another node.
                let less = |n: usize| n.checked_sub(1);
                leaving.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err()
            }
            PushKind::Message | PushKind::SMessage => {
                ear.as_ref().is_none_or(|ear| ear.try_send(push).is_err())
            }
            _ => false,
        };
        if lost {
            *ear = None;
        }
        Ok(())
    }
}

impl TailSink {
    /// Subscribes to sessions; returns when Redis has acknowledged all of them.
    pub async fn subscribe(&mut self, sessions: &[SessionId]) -> Result<(), StoreError> {
        self.each("SUBSCRIBE", sessions.iter().map(keys::stream)).await
    }

    /// Ends the subscription to sessions.
    pub async fn unsubscribe(&mut self, sessions: &[SessionId]) -> Result<(), StoreError> {
        self.leaving.fetch_add(sessions.len(), Ordering::SeqCst);
        self.each("UNSUBSCRIBE", sessions.iter().map(keys::stream)).await
    }

    /// Subscribes to the probes of the process that calls itself `name`.
    pub async fn subscribe_probe(&mut self, name: &str) -> Result<(), StoreError> {
        self.each("SUBSCRIBE", [keys::probe(self.cell, name)].into_iter()).await
    }

    /// Sends a command for each channel at once: each is answered once, so answers can't be mixed up.
    async fn each(
        &mut self,
        verb: &str,
        channels: impl Iterator<Item = String>,
    ) -> Result<(), StoreError> {
        let verb = if self.sharded { format!("S{verb}") } else { verb.to_owned() };
        let mut all = redis::pipe();
        for channel in channels {
            all.cmd(&verb).arg(channel).ignore();
        }
        if all.is_empty() {
            return Ok(());
        }
        Ok(all.query_async::<()>(&mut self.connection).await?)
    }
}

impl TailStream {
    /// Waits for the next message; `None` when the connection is lost. Safe to drop midway.
    pub async fn next(&mut self) -> Option<Heard> {
        let topology = &self.store.shared.topology;
        let left = topology.left(self.cell, &self.route.node);
        tokio::pin!(left);
        loop {
            let push = tokio::select! {
                biased;
                push = self.heard.recv() => push,
                () = &mut left => None,
            };
            let Some(push) = push else {
                topology.doubt(self.cell, &self.route);
                return None;
            };
            let message = redis::Msg::from_push_info(push)?;
            let channel = message.get_channel_name();
            let topic = channel.strip_prefix(keys::PREFIX).and_then(|rest| rest.split_once("}:"));
            match topic.and_then(|(_, topic)| topic.split_once(':')) {
                Some(("probe", _)) => return Some(Heard::Probe),
                Some(("stream", session)) => {
                    if let (Ok(session), Ok(text)) = (session.parse(), message.get_payload()) {
                        return Some(Heard::Event(session, text));
                    }
                }
                _ => {}
            }
        }
    }
}
