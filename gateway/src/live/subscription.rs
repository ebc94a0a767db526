//! One reader's stream: register, replay, stitch, live.
//!
//! 1. **Register.** The reader has a seat in the hub (`Seat`) and its session's subscription is
//!    acknowledged. From here on every event is heard, or the connection's generation changes.
//! 2. **Replay.** What was heard so far is forgotten, then Redis is read once, atomically: the head,
//!    and the events after the reader's position. Every event before the read is in the read; every
//!    event after the registration is heard. So each is in one, in the other, or in both.
//! 3. **Stitch.** `chain` says of each event heard whether it is the next one (put
//!    it), was put before (drop it), or neither: something is missing, or was taken back. Then the
//!    reader goes back to 1 with its last position, and the client notices nothing.
//! 4. **Live.** The same rule goes on. What the rule can't see, a lost *last* event, is found by
//!    comparing the position with Redis now and then.
//!
//! Why there is no gap and no duplicate: a frame is put only if it is the successor of the last one
//! by number and nonce, so what a reader sees is one contiguous piece of one chain, by induction.
//! Silence never stands for loss: each way out of here puts a `bye` first, and each position that
//! can't be kept a `sync` with mode `reset`.
//!
//! Nothing is spawned for a reader: its connection polls `Subscription::next`, and a reader that
//! takes nothing costs a bounded buffer.

/// The same reader, for one answer instead of a stream.
mod poll;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framewire_shared::store::StoreError;
use futures::Stream;
use tokio::time::{Instant, sleep_until, timeout};

use super::addresses::Place;
use super::buffer::Told;
use super::chain::{Chain, Step};
use super::frame::{self, Bye, Cause, Mode};
use super::hub::Seat;
use super::reader::Taken;
use super::schedule::{Due, Schedule};
use super::view::{Shown, View};
use super::{Common, epoch_ms};
pub use poll::Polled;

/// Times a stream may lose its place within [`STUMBLES_WITHIN`] before it ends as `lagged`.
const STUMBLES_MAX: usize = 3;
/// See [`STUMBLES_MAX`].
const STUMBLES_WITHIN: Duration = Duration::from_secs(10);

/// One reader's stream.
#[derive(Debug)]
pub struct Subscription {
    common: Arc<Common>,
    seat: Seat,
    _place: Option<Place>,
    view: View,
    schedule: Schedule,
    /// The generation of the connection under which we joined; 0 while we have to join.
    joined: u64,
    /// `None` until the first frame.
    chain: Option<Chain>,
    /// How the last join went on from the position it had; `None` for a job's stream.
    course: Option<(Mode, Option<Cause>)>,
    stumbles: VecDeque<Instant>,
    /// Whether Redis answered when it was last asked.
    sure: bool,
    /// Frames on their way out, in order.
    out: VecDeque<Bytes>,
    ended: Option<Bye>,
}

impl Subscription {
    /// Makes the stream of a reader that has its seat.
    pub(super) fn new(common: Arc<Common>, seat: Seat, place: Option<Place>, view: View) -> Self {
        Self {
            schedule: Schedule::new(&common.options, Instant::now()),
            common,
            seat,
            _place: place,
            view,
            joined: 0,
            chain: None,
            course: None,
            stumbles: VecDeque::new(),
            sure: true,
            out: VecDeque::new(),
            ended: None,
        }
    }

    /// Waits for the next frame; `None` after the last. Safe to drop midway.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.out.pop_front() {
                return Some(frame);
            }
            if self.ended.is_some() {
                return None;
            }
            self.step().await;
        }
    }

    /// Waits until the stream has begun, for callers that want a refusal before it does.
    pub async fn begun(&mut self) -> Result<(), Bye> {
        while self.chain.is_none() {
            if let Some(reason) = self.ended {
                return Err(reason);
            }
            self.step().await;
        }
        Ok(())
    }

    /// Gives the frames as the body of a response.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        futures::stream::unfold(Box::new(self), async |mut subscription| {
            let frame = subscription.next().await?;
            Some((Ok(frame), subscription))
        })
    }

    /// Does one thing: what is due, else what was heard, else sleeps until there is either.
    ///
    /// What asks Redis is boxed: it is rare, and an idle stream should not hold room for it.
    async fn step(&mut self) {
        let now = Instant::now();
        if let Some(due) = self.schedule.take(now) {
            return self.on_due(due, now).await;
        }
        let reader = self.seat.reader();
        let taken = if self.view.is_polled() {
            reader.take_durable(self.joined)
        } else {
            reader.take(self.joined)
        };
        match taken {
            Taken::Told(told) => self.hear(&told, now),
            Taken::Overflown => self.end(Bye::Slow),
            Taken::Subscription(generation)
                if generation != 0 && !self.schedule.rejoins_later() =>
            {
                if let Err(error) = Box::pin(self.join(generation, now)).await {
                    self.doubt(&error);
                    self.schedule.rejoin_later(Instant::now());
                }
            }
            Taken::Subscription(_) | Taken::Nothing => self.sleep().await,
        }
    }

    /// Phases 1 and 2: under this generation, reads on from the last position.
    async fn join(&mut self, generation: u64, now: Instant) -> Result<(), StoreError> {
        let common = self.common.clone();
        let joins = &common.joins[usize::from(self.seat.session().cell().0)];
        let Ok(_turn) = timeout(common.options.join_timeout, joins.acquire()).await else {
            return Ok(());
        };
        // All that was heard until now is in the read; what is heard from now on may be in both.
        self.seat.reader().forget();
        let session = self.seat.session();
        let last = self.chain.as_ref().map(Chain::last);
        let Some(joined) = self.view.join(&common.store, session, last).await? else {
            self.end(Bye::Done);
            return Ok(());
        };
        let first = self.chain.is_none();
        if !self.view.is_polled()
            && let Some(opening) = joined.opening(first, &common.options, &self.schedule, now)
        {
            self.out.push_back(opening);
        }
        if !self.view.is_polled() {
            common.metrics.joined(joined.mode(), joined.frames.len());
        }
        self.course = joined.course.map(|course| (course.mode, course.cause));
        self.out.extend(joined.frames);
        self.chain = Some(joined.chain);
        self.joined = generation;
        self.sure = true;
        self.schedule.joined();
        if joined.done {
            self.end(Bye::Done);
        }
        Ok(())
    }

    /// Phases 3 and 4: judges an event that was heard.
    fn hear(&mut self, told: &Told, now: Instant) {
        let Some(chain) = &mut self.chain else {
            return;
        };
        if let Some(place) = &told.place {
            match chain.judge(place) {
                Step::Known => return,
                Step::Broken => return self.stumble("an event does not follow", now),
                Step::Next => chain.advance(place),
            }
        }
        match self.view.show(told) {
            Shown::Frame(frame) => {
                self.common.metrics.delivered();
                self.out.push_back(frame);
            }
            Shown::Last(frame) => {
                self.common.metrics.delivered();
                self.out.push_back(frame);
                self.end(Bye::Done);
            }
            Shown::Nothing => {}
        }
    }

    /// Goes back to phase 1, unless that happens all the time.
    fn stumble(&mut self, why: &'static str, now: Instant) {
        tracing::debug!(session = %self.seat.session(), why, "a stream joins again");
        self.joined = 0;
        self.stumbles.push_back(now);
        while self.stumbles.front().is_some_and(|at| *at + STUMBLES_WITHIN < now) {
            self.stumbles.pop_front();
        }
        if self.stumbles.len() > STUMBLES_MAX {
            self.end(Bye::Lagged);
        }
    }

    async fn on_due(&mut self, due: Due, now: Instant) {
        match due {
            Due::End(reason) => self.end(reason),
            Due::Ping => self.ping(),
            Due::Check => Box::pin(self.check(now)).await,
            Due::Confirm(head) => {
                // Where nothing can be heard, what was not heard tells nothing: it joins again anyway.
                let listens = self.seat.reader().is_under(self.joined);
                if listens && self.chain.as_ref().is_some_and(|chain| !chain.reached(&head)) {
                    self.stumble("the newest event was not heard", now);
                }
            }
        }
    }

    /// Says that we are here, where we are, and whether we are sure that nothing is missing.
    fn ping(&mut self) {
        if let Some(chain) = &self.chain
            && !self.view.is_polled()
        {
            let live = self.sure && self.seat.reader().is_under(self.joined);
            let at = self.view.position(chain);
            self.out.push_back(frame::ping(&at, live, epoch_ms()));
        }
    }

    /// Compares the position with Redis. An event may be on its way: it has a moment to arrive.
    async fn check(&mut self, now: Instant) {
        let head = match self.common.store.replay(self.seat.session(), None).await {
            Ok(replay) => replay.head,
            Err(error) => return self.doubt(&error),
        };
        self.sure = true;
        let Some(chain) = &self.chain else {
            return;
        };
        if head.n > chain.last().n {
            self.schedule.confirm(head, now);
        } else if head != *chain.last() {
            self.stumble("Redis has gone back", now);
        }
    }

    /// Notes that Redis could not be asked; the stream stays, and its pings say so.
    fn doubt(&mut self, error: &StoreError) {
        let error = error as &dyn std::error::Error;
        tracing::debug!(session = %self.seat.session(), error, "a stream can't read its position");
        self.sure = false;
    }

    async fn sleep(&mut self) {
        tokio::select! {
            () = self.seat.reader().woken() => {}
            () = sleep_until(self.schedule.next()) => {}
            () = self.common.drain.cancelled(), if !self.schedule.drains() => {
                self.schedule.drain(Instant::now());
            }
        }
    }

    fn end(&mut self, reason: Bye) {
        tracing::debug!(session = %self.seat.session(), ?reason, "a stream ends");
        if !self.view.is_polled() {
            self.out.push_back(farewell(reason));
        }
        self.ended = Some(reason);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.view.is_polled() {
            self.common.metrics.ended(self.ended.map(Bye::word));
        }
    }
}

/// Makes the last frame of a stream, and the only one of a reader that is refused.
pub fn farewell(reason: Bye) -> Bytes {
    frame::bye(reason, rand::random_range(reason.retry_ms()))
}
