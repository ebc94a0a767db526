//! The one shared connection to a node, replaced when it has gone silent.
//!
//! `ConnectionManager` makes a new connection when the old one *breaks*. One that is half open never
//! does: the other end has lost power or a firewall has dropped its state, no packet says so, and
//! redis-rs takes a response timeout for a slow answer and keeps the connection. Every call would
//! time out until the kernel gives up, a quarter of an hour later (found by `framewire chaos`: a
//! gateway that answered 503 for ever). So a connection on which a call has waited its time, and on
//! which nothing at all was answered meanwhile, is given up here; the next call makes a new one.
//! A Redis that is only slow answers somebody within that time; if it does not, a new connection
//! costs little.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

/// The connection. Cheap to clone; every clone shares it.
#[derive(Clone)]
pub(super) struct Line {
    client: redis::Client,
    config: ConnectionManagerConfig,
    current: Arc<Mutex<Current>>,
}

#[derive(Clone)]
struct Current {
    connection: ConnectionManager,
    /// Answers that came over this connection; also tells one connection from the next.
    answers: Arc<AtomicU64>,
}

/// One call, from its start: what tells later whether the connection was silent meanwhile.
struct Call {
    current: Current,
    answers_before: u64,
}

impl Line {
    /// Makes one that connects at its first call.
    ///
    /// Errors: only if the client's URL can't be used.
    pub(super) fn new(client: redis::Client, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let current = Current::new(&client, &config)?;
        Ok(Self { client, config, current: Arc::new(Mutex::new(current)) })
    }

    fn begin(&self) -> Call {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Call { answers_before: current.answers.load(Ordering::Relaxed), current: current.clone() }
    }

    /// Learns from a call's outcome.
    fn end<T>(&self, call: &Call, outcome: &RedisResult<T>) {
        let answers = &call.current.answers;
        match outcome {
            Err(error) if error.is_timeout() => {
                if answers.load(Ordering::Relaxed) == call.answers_before {
                    self.give_up(&call.current);
                }
            }
            Err(error) if error.is_io_error() => {}
            _ => {
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Replaces a connection, unless another call has done so.
    fn give_up(&self, silent: &Current) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current.answers, &silent.answers) {
            return;
        }
        match Current::new(&self.client, &self.config) {
            Ok(new) => {
                tracing::warn!("gave up a connection to Redis that had gone silent");
                *current = new;
            }
            Err(error) => tracing::error!("can't replace a silent connection to Redis: {error}"),
        }
    }
}

impl Current {
    fn new(client: &redis::Client, config: &ConnectionManagerConfig) -> RedisResult<Self> {
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?,
            answers: Arc::default(),
        })
    }
}

impl ConnectionLike for Line {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut call = self.begin();
            let outcome = call.current.connection.req_packed_command(command).await;
            self.end(&call, &outcome);
            outcome
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut call = self.begin();
            let connection = &mut call.current.connection;
            let outcome = connection.req_packed_commands(commands, offset, count).await;
            self.end(&call, &outcome);
            outcome
        })
    }

    fn get_db(&self) -> i64 {
        self.begin().current.connection.get_db()
    }
}
