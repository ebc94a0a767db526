//! The meeting point of the tail, which never waits, and one reader, which may.
//!
//! The tail pushes and wakes; the reader takes one thing at a time and sleeps when there is none.
//! One permit of the `Notify` is kept while nobody sleeps, so no wake-up is lost between looking
//! and falling asleep.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::buffer::{Buffer, Dropped, Told};

/// What a reader finds.
#[derive(Debug)]
pub enum Taken {
    /// The session's subscription is not the one under which the reader joined; 0 if there is none.
    Subscription(u64),
    /// An event.
    Told(Arc<Told>),
    /// Durable events came faster than they were taken, and are not here any more.
    Overflown,
    /// Nothing, for now.
    Nothing,
}

/// One reader's buffer and the state of its session's subscription.
#[derive(Debug)]
pub struct Reader {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug)]
struct State {
    generation: u64,
    buffer: Buffer,
}

impl Reader {
    /// Makes one whose session is subscribed under this generation, 0 for not yet.
    pub fn new(generation: u64) -> Self {
        Self {
            state: Mutex::new(State { generation, buffer: Buffer::default() }),
            wake: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; tells of those that it cost.
    pub fn push(&self, told: &Arc<Told>) -> Dropped {
        let dropped = self.state().buffer.push(told);
        self.wake.notify_one();
        dropped
    }

    /// Notes the subscription's generation.
    pub fn subscribed(&self, generation: u64) {
        self.state().generation = generation;
        self.wake.notify_one();
    }

    /// Takes the next thing, for a reader that joined under this generation.
    pub fn take(&self, joined: u64) -> Taken {
        self.take_by(joined, Buffer::pop)
    }

    /// Takes the next thing, but leaves ephemeral events where the newest of each job waits.
    pub fn take_durable(&self, joined: u64) -> Taken {
        self.take_by(joined, Buffer::pop_durable)
    }

    fn take_by(&self, joined: u64, pop: fn(&mut Buffer) -> Option<Arc<Told>>) -> Taken {
        let mut state = self.state();
        if state.generation != joined || joined == 0 {
            return Taken::Subscription(state.generation);
        }
        if state.buffer.is_overflown() {
            return Taken::Overflown;
        }
        pop(&mut state.buffer).map_or(Taken::Nothing, Taken::Told)
    }

    /// Forgets everything heard so far.
    pub fn forget(&self) {
        self.state().buffer.clear();
    }

    /// Tells whether the subscription is of this generation.
    pub fn is_under(&self, generation: u64) -> bool {
        generation != 0 && self.state().generation == generation
    }

    /// Sleeps until something was pushed or noted since the last time.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}
