//! The one pub/sub connection of this process to a cell's node.
//!
//! Comes in: texts of events from Redis; from the hub, which sessions are wanted. Goes out: to the
//! hub, events and acknowledgements. Three loops share the connection, and the first to end ends it:
//! **reading** hands on and never waits for a reader, because what is not read piles up to a bound
//! that ends the connection, or in Redis, which cuts us off; **asking** subscribes and unsubscribes
//! in batches, one after the other; **probing** publishes to itself after a silence, because after a
//! fail-over a connection can be open and deaf (centrifugo#1189).
//! Each connection has a generation number. When it is lost, every session is wanted again and every
//! reader joins again from its last position, so a message lost in between is read, not missed.
//! Redis-rs's own resubscription is not used: it does not say when it happened.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::Cell;
use framewire_shared::store::stream::{Heard, TailSink, TailStream};
use framewire_shared::store::{Store, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::hub::Hub;

/// Wait before the first new connection after a loss; doubles up to the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest wait before a new connection.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Longest wait for Redis to acknowledge one batch.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(10);

/// When the tail doubts its connection.
#[derive(Debug, Clone)]
pub struct TailOptions {
    /// Silence after which it publishes a probe.
    pub probe_after: Duration,
    /// Wait for the probe, after which the connection is dropped.
    pub probe_timeout: Duration,
}

/// Owns the connection.
pub struct Tail {
    store: Store,
    cell: Cell,
    hub: Arc<Hub>,
    options: TailOptions,
    name: String,
}

impl Tail {
    /// Makes one for a cell of this process.
    pub fn new(store: Store, cell: Cell, hub: Arc<Hub>, options: TailOptions) -> Self {
        let name = format!("{:016x}", rand::random::<u64>());
        Self { store, cell, hub, options, name }
    }

    /// Keeps a connection until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = BACKOFF_MIN;
        let (mut generation, mut silent) = (0, false);
        let work = async {
            loop {
                match self.connect().await {
                    Ok((sink, stream)) => {
                        generation += 1;
                        silent = false;
                        tracing::info!(cell = %self.cell, generation, "listening to Redis pub/sub");
                        let opened_at = Instant::now();
                        let (heard, hears) = watch::channel(opened_at);
                        let why = self.serve(generation, sink, stream, &heard).await;
                        self.hub.lose();
                        // A server that only accepts and hangs up is not worth a quick return.
                        if *hears.borrow() > opened_at {
                            backoff = BACKOFF_MIN;
                        }
                        tracing::warn!(cell = %self.cell, generation, why, "lost the pub/sub connection");
                    }
                    // Said once per outage: what changes is worth a line, not what lasts.
                    Err(error) if !silent => {
                        silent = true;
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(cell = %self.cell, error, "can't open a pub/sub connection; trying on");
                    }
                    Err(_) => {}
                }
                sleep(backoff.mul_f64(rand::random_range(0.5..=1.0))).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn connect(&self) -> Result<(TailSink, TailStream), StoreError> {
        let (mut sink, stream) = self.store.tail(self.cell).await?;
        // Asked for with every connection, so that one that can't hear itself is never trusted.
        match timeout(ACKNOWLEDGE_MAX, sink.subscribe_probe(&self.name)).await {
            Ok(acknowledged) => acknowledged?,
            Err(elapsed) => return Err(StoreError::Unavailable(elapsed.into())),
        }
        Ok((sink, stream))
    }

    /// Serves one connection to its end and says why it ended.
    async fn serve(
        &self,
        generation: u64,
        sink: TailSink,
        stream: TailStream,
        heard_at: &watch::Sender<Instant>,
    ) -> &'static str {
        tokio::select! {
            () = self.read(stream, heard_at) => "Redis closed it, the cell moved, or too much was heard at once",
            () = self.ask(generation, sink) => "Redis did not acknowledge a subscription",
            () = self.probe(heard_at.subscribe()) => "a probe did not come back",
        }
    }

    async fn read(&self, mut stream: TailStream, heard_at: &watch::Sender<Instant>) {
        while let Some(heard) = stream.next().await {
            heard_at.send_replace(Instant::now());
            if let Heard::Event(session, text) = heard {
                self.hub.deliver(&session, &text);
            }
        }
    }

    async fn ask(&self, generation: u64, mut sink: TailSink) {
        loop {
            let work = self.hub.take_work(Instant::now());
            if work.subscribe.is_empty() && work.unsubscribe.is_empty() {
                let far = Instant::now() + Duration::from_secs(3600);
                tokio::select! {
                    () = self.hub.work_to_do() => {}
                    () = sleep_until(work.again_at.unwrap_or(far)) => {}
                }
                continue;
            }
            let asked = async {
                sink.unsubscribe(&work.unsubscribe).await?;
                sink.subscribe(&work.subscribe).await
            };
            match timeout(ACKNOWLEDGE_MAX, asked).await {
                Ok(Ok(())) => self.hub.acknowledge(generation, &work.subscribe),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Ends when a probe does not come back. Anything heard is a sign of life.
    async fn probe(&self, mut heard_at: watch::Receiver<Instant>) {
        loop {
            let due_at = *heard_at.borrow_and_update() + self.options.probe_after;
            if due_at > Instant::now() {
                sleep_until(due_at).await;
                continue;
            }
            let answered = async {
                // Whether it could be published does not matter: what counts is what is heard.
                if let Err(error) = self.store.probe(self.cell, &self.name).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "can't publish a probe");
                }
                heard_at.changed().await
            };
            if !matches!(timeout(self.options.probe_timeout, answered).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}
