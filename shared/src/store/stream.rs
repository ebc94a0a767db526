//! Reading a session's events: replay, snapshot, and the live tail.
//!
//! The list in Redis is the truth; the channel is the wake-up and the fast path. A reader subscribes
//! first and reads second, so every event is in the read, in the subscription, or in both, and the
//! cursor's chain tells which ([`crate::domain::event::Place::follows`]).
//! The pub/sub connection is our own: redis-rs' automatic resubscription neither tells when it
//! happened nor batches by slot.

use futures::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};

use super::codec::{Position, Replay, Snapshot};
use super::{Store, StoreError, keys};
use crate::domain::{Cell, Cursor, SessionId};

/// Events a replay may have to catch up; a reader further behind takes a snapshot.
pub const REPLAY_EVENTS_MAX: u32 = 256;
/// Unfinished jobs in a snapshot.
pub const SNAPSHOT_JOBS_MAX: u32 = 200;
/// Channels in one SUBSCRIBE.
const SUBSCRIBE_CHANNELS_MAX: usize = 512;

/// What came over the pub/sub connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The text of an event of this session; see [`crate::domain::Event`].
    Event(SessionId, String),
    /// The probe that this process published to itself.
    Probe,
}

/// The asking half of a pub/sub connection.
pub struct TailSink(PubSubSink);

/// The hearing half of a pub/sub connection.
pub struct TailStream(PubSubStream);

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

    /// Opens a pub/sub connection.
    pub async fn tail(&self) -> Result<(TailSink, TailStream), StoreError> {
        let pubsub = self.in_time(self.shared.client.get_async_pubsub()).await?;
        let (sink, stream) = pubsub.split();
        Ok((TailSink(sink), TailStream(stream)))
    }

    /// Publishes a probe to the process that calls itself `name`.
    pub async fn probe(&self, name: &str) -> Result<(), StoreError> {
        let channel = keys::probe(Cell::FIRST, name);
        self.command(redis::cmd("PUBLISH").arg(channel).arg("probe")).await
    }
}

impl TailSink {
    /// Subscribes to sessions; returns when Redis has acknowledged all of them.
    pub async fn subscribe(&mut self, sessions: &[SessionId]) -> Result<(), StoreError> {
        for batch in sessions.chunks(SUBSCRIBE_CHANNELS_MAX) {
            let channels: Vec<String> = batch.iter().map(keys::stream).collect();
            self.0.subscribe(channels).await?;
        }
        Ok(())
    }

    /// Ends the subscription to sessions.
    pub async fn unsubscribe(&mut self, sessions: &[SessionId]) -> Result<(), StoreError> {
        for batch in sessions.chunks(SUBSCRIBE_CHANNELS_MAX) {
            let channels: Vec<String> = batch.iter().map(keys::stream).collect();
            self.0.unsubscribe(channels).await?;
        }
        Ok(())
    }

    /// Subscribes to the probes of the process that calls itself `name`.
    pub async fn subscribe_probe(&mut self, name: &str) -> Result<(), StoreError> {
        Ok(self.0.subscribe(keys::probe(Cell::FIRST, name)).await?)
    }
}

impl TailStream {
    /// Waits for the next message; `None` when the connection is gone. Safe to drop midway.
    ///
    /// Read fast: messages that wait here are bounded by nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            let message = self.0.next().await?;
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
