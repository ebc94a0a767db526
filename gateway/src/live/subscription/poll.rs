//! One answer with what there is, for those who can hold no stream.
//!
//! The reader is a stream's own: it registers before it reads, and accepts by the same rule, so what
//! polls see one after the other is what a stream would have seen, and an event between two of them is
//! in the second. It only writes JSON instead of frames, and ends where a stream would wait: after the
//! first durable events, or when time is up. Ephemeral events end no wait, because they come several
//! times a second; the newest of each job go along with what does.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{Chain, Subscription, Taken};
use crate::live::frame::{self, Bye, Cause, Mode};

/// What a poll answers with.
#[derive(Debug)]
pub struct Polled {
    /// How the events relate to the position asked for.
    pub mode: Mode,
    /// Why that position can't be honoured.
    pub cause: Option<Cause>,
    /// The events, each as JSON.
    pub events: Vec<Bytes>,
    /// The position to ask with next.
    pub cursor: String,
}

impl Polled {
    /// Writes the answer.
    pub fn json(&self) -> String {
        let cause = self.cause.map(|cause| format!(r#""cause":{},"#, frame::json(&cause)));
        let (mode, cause) = (frame::json(&self.mode), cause.unwrap_or_default());
        let mut text = format!(r#"{{"mode":{mode},{cause}"events":["#);
        for (place, event) in self.events.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            text.push_str(&String::from_utf8_lossy(event));
        }
        text.push_str(&format!(r#"],"cursor":"{}"}}"#, self.cursor));
        text
    }
}

impl Subscription {
    /// Waits for the first events and gives them, and those that came with them.
    ///
    /// Errors: why it could not begin. Once it has begun, whatever ends a stream ends the wait, and
    /// what was accepted until then is given: the next poll goes on after it.
    pub async fn poll(mut self, wait: Duration) -> Result<Polled, Bye> {
        let until = Instant::now() + wait;
        self.begun().await?;
        let _ = timeout_at(until, async {
            while self.has_nothing_to_say() {
                self.step().await;
            }
        })
        .await;
        while let Taken::Told(told) = self.seat.reader().take(self.joined) {
            self.hear(&told, Instant::now());
        }
        let Some((chain, (mode, cause))) = self.chain.as_ref().zip(self.course) else {
            return Err(Bye::BackendDown);
        };
        let cursor = Chain::last(chain).to_string();
        Ok(Polled { mode, cause, events: std::mem::take(&mut self.out).into(), cursor })
    }

    fn has_nothing_to_say(&self) -> bool {
        let is_resumed = self.course.is_some_and(|(mode, _)| mode == Mode::Resumed);
        is_resumed && self.out.is_empty() && self.ended.is_none()
    }
}
