//! One prompt, from the queue to its end.
//!
//! Comes in: the socket's frames, and answers to our own looks. Goes out: progress and previews as
//! updates, and how the prompt ended. The socket is the fast path and may fail in any way, also
//! silently; whenever it has said nothing of our prompt for a while, history and queue are asked,
//! and their word counts.
//! Invariant: a server that says nothing at all for `stall_after` is given up, long before any
//! deadline; one that only takes its time never is.

use std::time::Duration;

use framewire_shared::domain::Failure;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Found};
use super::failure;
use super::history::Outcome;
use super::socket::{Heard, Socket};
use crate::provider::duty::stopped;
use crate::provider::{Picture, Update, Updates};

/// Pause after a look that brought no answer, or an answer that needs another.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Looks in a row that must find a prompt nowhere: some servers write history late.
const MISSING_LOOKS: u32 = 8;
/// How often a socket is opened again for one prompt: there may be none for us at all.
const REOPENS_MAX: u32 = 3;
/// Previews are handed on at most this often; each becomes a stored picture and an event.
const PREVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// Which frame of the job a prompt is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// From 0.
    pub(super) index: u32,
    /// Frames of the job.
    pub(super) count: u32,
    /// Steps that were asked for.
    pub(super) steps: u32,
}

/// A prompt that is waited for.
pub(super) struct Watch<'a> {
    pub(super) client: &'a Client,
    pub(super) prompt_id: &'a str,
    /// The node whose files are the frame.
    pub(super) output: &'a str,
    pub(super) poll_every: Duration,
    pub(super) stall_after: Duration,
    pub(super) part: Part,
    pub(super) updates: &'a Updates,
}

impl Watch<'_> {
    /// Waits for the prompt's end.
    ///
    /// Errors: the server has fallen silent, or nobody listens to updates any more.
    pub(super) async fn to_its_end(&self, mut socket: Option<Socket>) -> Result<Outcome, Failure> {
        let mut steps = Steps::new(self.part);
        let mut nowhere = 0;
        let mut alive_at = Instant::now();
        // Of a prompt that was submitted before, anything may have happened.
        let mut look_at = if socket.is_some() { alive_at + self.poll_every } else { alive_at };
        let mut reopens_left = REOPENS_MAX;
        loop {
            tokio::select! {
                heard = hear(&mut socket) => {
                    let now = Instant::now();
                    let Some(heard) = heard else {
                        // Whatever ended the socket may have ended more.
                        socket = None;
                        look_at = now;
                        continue;
                    };
                    alive_at = now;
                    match heard {
                        Heard::Failed(error) => return Ok(Outcome::Failed(error)),
                        Heard::Ended => look_at = now,
                        Heard::Other => {}
                        ours => {
                            look_at = now + self.poll_every;
                            if let Some(update) = steps.update(ours) {
                                tell(self.updates, update).await?;
                            }
                        }
                    }
                }
                () = sleep_until(look_at) => {
                    let found = self.client.find(self.prompt_id).await;
                    let now = Instant::now();
                    look_at = now + LOOK_AGAIN;
                    match found {
                        Ok(Found::Ended(entry)) => return Ok(entry.outcome(self.output)),
                        Ok(Found::Nowhere) => {
                            (alive_at, nowhere) = (now, nowhere + 1);
                            if nowhere >= MISSING_LOOKS {
                                return Ok(Outcome::Lost);
                            }
                        }
                        Ok(Found::Queued) => {
                            (alive_at, nowhere) = (now, 0);
                            look_at = now + self.poll_every;
                            if socket.is_none() && reopens_left > 0 {
                                reopens_left -= 1;
                                socket = Socket::open(self.client, self.prompt_id).await.ok();
                            }
                        }
                        Err(failure) if now - alive_at >= self.stall_after => {
                            return Err(failure::stalled(now - alive_at, &failure));
                        }
                        Err(failure) => tracing::debug!("a look at ComfyUI: {}", failure.detail),
                    }
                }
            }
        }
    }
}

/// Waits for the next frame, for ever where there is no socket.
async fn hear(socket: &mut Option<Socket>) -> Option<Heard> {
    match socket {
        Some(socket) => socket.hear().await,
        None => std::future::pending().await,
    }
}

/// Hands an update to the runner.
///
/// Errors: nobody listens any more, which is a stop.
pub(super) async fn tell(updates: &Updates, update: Update) -> Result<(), Failure> {
    updates.send(update).await.map_err(|_| stopped())
}

/// What the nodes' progress means for the job.
///
/// A workflow has several nodes that report, each with steps of its own; a user's steps are the
/// sampler's. Its node is the one that has as many steps as were asked for, else the first.
struct Steps {
    part: Part,
    node: Option<(String, u32)>,
    done: u32,
    previewed_at: Option<Instant>,
}

impl Steps {
    fn new(part: Part) -> Self {
        Self { part, node: None, done: 0, previewed_at: None }
    }

    fn update(&mut self, heard: Heard) -> Option<Update> {
        match heard {
            Heard::Progress { node, value, max } => self.progress(node, value, max),
            Heard::Preview(picture) => self.preview(picture),
            _ => None,
        }
    }

    fn progress(&mut self, node: String, value: u32, max: u32) -> Option<Update> {
        let Part { index, count, steps } = self.part;
        let is_better = |known: u32| max == steps && known != steps;
        match &self.node {
            Some((known, known_max)) if *known != node && !is_better(*known_max) => return None,
            _ => self.node = Some((node, max)),
        }
        self.done = value.min(max);
        let total = max.saturating_mul(count);
        Some(Update::Progress {
            step: max.saturating_mul(index).saturating_add(self.done),
            steps: total,
        })
    }

    fn preview(&mut self, picture: Picture) -> Option<Update> {
        let now = Instant::now();
        if self.previewed_at.is_some_and(|at| now - at < PREVIEW_INTERVAL) {
            return None;
        }
        self.previewed_at = Some(now);
        Some(Update::Preview { index: self.part.index, step: self.done, picture })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(index: u32, count: u32) -> Steps {
        Steps::new(Part { index, count, steps: 20 })
    }

    fn told(steps: &mut Steps, node: &str, value: u32, max: u32) -> Option<(u32, u32)> {
        match steps.progress(node.into(), value, max)? {
            Update::Progress { step, steps } => Some((step, steps)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn steps_are_the_samplers_and_count_over_all_frames() {
        let mut steps = steps(1, 2);
        assert_eq!(told(&mut steps, "vae", 1, 4), Some((5, 8)), "nothing better is known yet");
        assert_eq!(told(&mut steps, "sampler", 1, 20), Some((21, 40)));
        assert_eq!(told(&mut steps, "vae", 2, 4), None);
        assert_eq!(told(&mut steps, "refiner", 1, 20), None);
        assert_eq!(told(&mut steps, "sampler", 99, 20), Some((40, 40)));
    }

    #[tokio::test(start_paused = true)]
    async fn previews_come_at_most_once_a_second_and_carry_the_step() {
        let mut steps = steps(0, 1);
        let picture = || Picture {
            media_type: framewire_shared::domain::MediaType::Jpeg,
            bytes: bytes::Bytes::new(),
        };
        told(&mut steps, "3", 7, 20);
        assert!(matches!(
            steps.preview(picture()),
            Some(Update::Preview { index: 0, step: 7, .. })
        ));
        assert!(steps.preview(picture()).is_none());
        tokio::time::advance(PREVIEW_INTERVAL).await;
        assert!(steps.preview(picture()).is_some());
    }
}
