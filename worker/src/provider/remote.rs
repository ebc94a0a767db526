//! Services that draw in their own time: a generation is created, looked at until it is done, and
//! its output fetched from an address.
//!
//! Comes in: a call, and a [`Remote`] that knows the service's words. Goes out: one generation per
//! frame, so that each has the seed it was asked for; their names as the call's checkpoint as soon
//! as they are known; the frames in order. Invariant: what has a name is never created again while
//! the service knows it, and a look that fails for a moment is no reason to give it up, because it
//! is being paid for.
//!
//! What is unfinished when a call ends is cancelled by a task of its own, which outlives the call
//! for a few seconds; unless the job goes to another worker, who resumes it by the checkpoint.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::{Abilities, ErrorCode, Failure, Resend, Usage};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::creating::{Creating, cancel};
use super::duty::{keep, outcome, refuse_impossible, seed_of, tell, until_taken_back};
use super::fetch::Fetcher;
use super::verdict::Verdict;
use super::written::{Filling, Written};
use super::{Call, Picture, Provider, Update, Updates, convert};

/// Pause after the first look.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause between two looks; each is half as long again as the one before.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Looks that may fail one after the other.
const FAILED_LOOKS_MAX: u32 = 5;
/// Longest name of a generation.
const ID_CHARS_MAX: usize = 64;
/// Largest seed that every model takes; a larger one is folded, and the frame says so.
const SEED_MAX: u64 = u32::MAX as u64;

/// A service, in its own words.
pub(super) trait Remote: fmt::Debug + Send + Sync + 'static {
    /// Gives the request as the settings have it.
    fn written(&self) -> &Written;
    /// Gives what fetches outputs.
    fn fetcher(&self) -> &Fetcher;
    /// Gives the service's word for the encoding that a call asks for.
    fn format(&self, call: &Call) -> &'static str;
    /// Puts a picture where the service finds it, and gives its address.
    fn address(&self, picture: &Picture) -> impl Future<Output = Result<String, Failure>> + Send;
    /// Creates a generation and gives its name.
    fn create(
        &self,
        input: Map<String, Value>,
    ) -> impl Future<Output = Result<String, Failure>> + Send;
    /// Looks at a generation. An error is one of the look, not of the generation.
    fn look(&self, id: &str) -> impl Future<Output = Result<Look, Failure>> + Send;
    /// Asks to cancel a generation.
    fn cancel(&self, id: &str) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What a look at a generation tells.
#[derive(Debug)]
pub(super) enum Look {
    /// It is on its way; how far in percent, where that is known.
    Pending(Option<u32>),
    /// It is done.
    Done {
        /// Where its picture is.
        address: String,
        /// What it was drawn from, where the service says.
        seed: Option<u64>,
        /// What it has used, where the service says.
        usage: Usage,
    },
    /// It failed.
    Failed(Failure),
    /// The service does not know it, or not any more.
    Gone,
}

/// A service as a provider.
#[derive(Debug)]
pub struct Service<R> {
    name: String,
    remote: Arc<R>,
}

impl<R> Service<R> {
    /// Makes the provider of this name.
    pub(super) fn of(name: String, remote: R) -> Self {
        Self { name, remote: Arc::new(remote) }
    }
}

impl<R: Remote> Provider for Service<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        self.remote.written().abilities()
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            until_taken_back(&call, |tasks| draw(&self.remote, &call, &updates, tasks)).await
        })
    }
}

/// Generations under way; those that are unfinished are cancelled when it is dropped.
struct Running<R: Remote> {
    remote: Arc<R>,
    /// Cancels what nobody waits for any more.
    tasks: TaskTracker,
    ids: Vec<String>,
    /// Of `ids`, so many are over.
    finished: usize,
    /// So many are known to whoever goes on with the job.
    kept: usize,
    handed_on: CancellationToken,
}

impl<R: Remote> Drop for Running<R> {
    fn drop(&mut self) {
        let kept = if self.handed_on.is_cancelled() { self.kept } else { 0 };
        let ids = self.ids.split_off(self.finished.max(kept).min(self.ids.len()));
        let Ok(runtime) = Handle::try_current() else { return };
        if !ids.is_empty() {
            self.tasks.spawn_on(cancel(self.remote.clone(), ids), &runtime);
        }
    }
}

/// Draws a call's frames.
async fn draw<R: Remote>(
    remote: &Arc<R>,
    call: &Call,
    updates: &Updates,
    tasks: TaskTracker,
) -> Result<(), Failure> {
    refuse_impossible(&remote.written().abilities(), call)?;
    let frames = call.input.n as usize;
    let mut ids = read_checkpoint(call.checkpoint.as_deref());
    ids.truncate(frames);
    let resumed = ids.len();
    let (remote, handed_on) = (remote.clone(), call.handed_on.clone());
    let mut running = Running { remote, tasks, ids, finished: 0, kept: resumed, handed_on };
    let mut sources = None;
    while running.ids.len() < frames {
        let index = running.ids.len();
        let id = running.create(call, index, &mut sources).await?;
        running.ids.push(id);
        running.keep(updates).await?;
    }
    for index in 0..frames {
        let mut look = running.wait(call, index, updates).await?;
        if matches!(look, Look::Gone) && index < resumed {
            running.ids[index] = running.create(call, index, &mut sources).await?;
            running.keep(updates).await?;
            look = running.wait(call, index, updates).await?;
        }
        running.finished = index + 1;
        let index = index as u32;
        let drawn = running.take(call, index, look, updates).await;
        tell(updates, outcome(&call.input, index, drawn)?).await;
    }
    Ok(())
}

/// Addresses of the picture to start from, and of the mask.
type Sources = (Option<String>, Option<String>);

impl<R: Remote> Running<R> {
    /// Creates the generation of one frame; sources are handed over once.
    async fn create(
        &self,
        call: &Call,
        index: usize,
        sources: &mut Option<Sources>,
    ) -> Result<String, Failure> {
        let (image, mask) = match sources {
            Some(sources) => sources,
            None => sources.insert(self.hand_over(call).await?),
        };
        let filling = Filling {
            input: &call.input,
            seed: folded(seed_of(&call.input, index as u32)),
            format: self.remote.format(call),
            image: image.as_deref(),
            mask: mask.as_deref(),
            strength: call.source.as_ref().map(|source| source.strength),
        };
        let id = Creating::begin(&self.remote, &self.tasks, self.remote.written().fill(&filling))
            .name()
            .await?;
        if !is_id(&id) {
            return Err(Verdict::Nonsense.failure().detail("a name that can't be one"));
        }
        Ok(id)
    }

    async fn keep(&mut self, updates: &Updates) -> Result<(), Failure> {
        keep(updates, self.ids.join(",")).await?;
        self.kept = self.ids.len();
        Ok(())
    }

    async fn hand_over(&self, call: &Call) -> Result<Sources, Failure> {
        let Some(source) = &call.source else { return Ok((None, None)) };
        let image = self.remote.address(&source.picture).await?;
        let mask = match &source.mask {
            Some(mask) => Some(self.remote.address(mask).await?),
            None => None,
        };
        Ok((Some(image), mask))
    }

    /// Takes a frame and its seed out of a generation that is no longer pending.
    async fn take(
        &self,
        call: &Call,
        index: u32,
        look: Look,
        updates: &Updates,
    ) -> Result<(u64, Picture), Failure> {
        let (address, seed, usage) = match look {
            Look::Done { address, seed, usage } => (address, seed, usage),
            Look::Failed(failure) => return Err(failure),
            Look::Gone | Look::Pending(_) => {
                return Err(Verdict::Down.failure().detail("the generation has vanished"));
            }
        };
        if !usage.is_empty() {
            tell(updates, Update::Usage(usage)).await;
        }
        let bytes = self.remote.fetcher().bytes(&address).await?;
        let picture = convert::frame(bytes, call.input.output_format).await?;
        Ok((seed.unwrap_or_else(|| folded(seed_of(&call.input, index))), picture))
    }

    /// Looks at a generation until it is no longer pending.
    async fn wait(&self, call: &Call, index: usize, updates: &Updates) -> Result<Look, Failure> {
        let mut pause = PAUSE_MIN;
        let (mut failed, mut told) = (0, 0);
        loop {
            let mut wait = pause;
            match self.remote.look(&self.ids[index]).await {
                Ok(Look::Pending(percent)) => {
                    failed = 0;
                    let steps = call.input.steps;
                    let step = percent.unwrap_or_default().min(100) * steps / 100;
                    if step > told {
                        told = step;
                        let step = index as u32 * steps + step;
                        let steps = call.input.n * steps;
                        tell(updates, Update::Progress { step, steps }).await;
                    }
                }
                Ok(look) => return Ok(look),
                Err(failure) => {
                    failed += 1;
                    let final_ =
                        matches!(failure.code, ErrorCode::Permanent | ErrorCode::AuthError);
                    if final_ || failed > FAILED_LOOKS_MAX {
                        // It may be drawn and paid for by now.
                        let resend = if final_ { Resend::Never } else { Resend::Once };
                        return Err(failure.resend(resend));
                    }
                    wait = failure.retry_after.unwrap_or(PAUSE_MAX).max(pause);
                }
            }
            sleep(wait).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }
}

fn folded(seed: u64) -> u64 {
    seed % (SEED_MAX + 1)
}

/// Tells whether a text can be the name of a generation, and part of a path.
pub(super) fn is_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !id.is_empty() && id.len() <= ID_CHARS_MAX && id.chars().all(allowed)
}

/// Reads the names that an earlier attempt left; from the first that can't be one on, none.
fn read_checkpoint(handle: Option<&str>) -> Vec<String> {
    let ids = handle.unwrap_or_default().split(',');
    ids.take_while(|id| is_id(id)).map(str::to_owned).collect()
}

/// Reads how far a generation is from its logs: the percentage of the last progress bar in them.
pub(super) fn percent_of<'a>(logs: impl DoubleEndedIterator<Item = &'a str>) -> Option<u32> {
    logs.rev().flat_map(|log| log.rsplit(['\n', '\r'])).find_map(|line| {
        let (percent, bar) = line.trim_start().split_once('%')?;
        bar.trim_start().starts_with('|').then(|| percent.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_progress_bar_in_the_logs_counts() {
        let logs =
            "Using seed: 7\n  0%|    | 0/28 [00:00<?]\r 50%|#####     | 14/28 [00:01<00:01]\n";
        assert_eq!(percent_of([logs].into_iter()), Some(50));
        assert_eq!(percent_of([logs, "100% of the weights loaded"].into_iter()), Some(50));
        assert_eq!(percent_of(["", "nothing"].into_iter()), None);
    }

    #[test]
    fn a_checkpoint_with_a_foreign_name_in_it_is_read_up_to_there() {
        assert_eq!(read_checkpoint(Some("a1,b-2")), ["a1", "b-2"]);
        assert_eq!(read_checkpoint(Some("a1,../x,b2")), ["a1"]);
        assert!(read_checkpoint(None).is_empty() && read_checkpoint(Some("")).is_empty());
    }
}
