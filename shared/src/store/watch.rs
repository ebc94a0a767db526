//! Sessions whose readers have left for good, and what becomes of their jobs.
//!
//! Gateways that are told to (`gateway.cancel_on_disconnect_s`) say every few seconds which sessions
//! have a stream's reader with them. Nobody says that one has left: its session is just not named any
//! more, by whichever gateway, and a gateway that was killed needs no last word. A session that never
//! had a stream is never under watch, and its jobs are never cancelled here; one that had, and now
//! polls its events, is kept under watch as present.

use std::time::Duration;

use super::{Store, StoreError};
use crate::domain::{Cell, SessionId};

/// Jobs cancelled in one call, so that Redis is never held for long.
const LIMIT: u32 = 50;

/// What one call has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// Sessions that are not under watch any more.
    pub sessions: u32,
    /// Their jobs that were cancelled, or will be by their workers.
    pub jobs: u32,
}

impl Store {
    /// Says that these sessions of a cell have readers, and that this gateway lives to say so.
    ///
    /// To be called `every` so often, also without sessions. One that is not named for `after` is
    /// taken to have left, two or three `every` later.
    pub async fn watch(
        &self,
        cell: Cell,
        sessions: &[SessionId],
        after: Duration,
        every: Duration,
    ) -> Result<(), StoreError> {
        self.name_readers(cell, sessions, "", after, every).await
    }

    /// Says that these sessions are there too, where they are under watch already.
    pub async fn watch_on(
        &self,
        cell: Cell,
        sessions: &[SessionId],
        after: Duration,
        every: Duration,
    ) -> Result<(), StoreError> {
        self.name_readers(cell, sessions, "XX", after, every).await
    }

    async fn name_readers(
        &self,
        cell: Cell,
        sessions: &[SessionId],
        only_kept: &str,
        after: Duration,
        every: Duration,
    ) -> Result<(), StoreError> {
        let (after_ms, every_ms) = (after.as_millis().to_string(), every.as_millis().to_string());
        let mut arguments = vec![&*after_ms, &*every_ms, only_kept];
        arguments.extend(sessions.iter().map(SessionId::as_str));
        self.run(&self.shared.scripts.watch, cell, &arguments).await?;
        Ok(())
    }

    /// Cancels the unfinished jobs of sessions that have left, some at a time.
    ///
    /// To be called after [`Store::watch`], by those who call that: so that while no gateway lives,
    /// nobody is taken to have left.
    pub async fn abandon(&self, cell: Cell) -> Result<Abandoned, StoreError> {
        let retention_ms = self.shared.queue.retention.as_millis().to_string();
        let arguments = [&*LIMIT.to_string(), &*retention_ms];
        let words = self.run(&self.shared.scripts.abandon, cell, &arguments).await?.into_words()?;
        match &words[..] {
            [_, sessions, jobs] => Ok(Abandoned {
                sessions: super::codec::number(sessions)?,
                jobs: super::codec::number(jobs)?,
            }),
            _ => Err(StoreError::Garbled(format!("{words:?}"))),
        }
    }
}
