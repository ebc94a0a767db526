//! What happens between claim and settlement: the call, and every frame of it.
//!
//! Comes in: the provider's updates. Goes out: transitions and artifacts through the store, each
//! carrying the fence. The order is the promise: bytes are checked, then stored, then announced, and
//! only then the job may complete; so an event never points at nothing. A frame that can't be made
//! is missing where others of the job can; with none the attempt has failed.
//! It ends early for the first of: the provider's failure, its deadline, a word of the lease keeper,
//! a script's `cancel` or `lost`. Redis being away is none of these: what the job can't do without
//! waits for it, and the rest is left out.

use std::time::{Duration, Instant};

use framewire_shared::domain::artifact::Slot;
use framewire_shared::domain::{
    Artifact, ArtifactId, ErrorCode, Failure, FailureKind, FrameInput, MediaType, Missing, Preview,
    Progress, State, Usage,
};
use framewire_shared::service::failpoint;
use framewire_shared::store::StoreError;
use framewire_shared::store::codec::{Claimed, Noted};
use framewire_shared::store::queue::Lease;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::lease_keeper::{KeptLease, StopReason};
use crate::picture_check::{self, Checked};
use crate::provider::{Call, Picture, Update};
use crate::routes::Pass;
use crate::runner::{Runner, until_answered};

/// Progress is published at most this often per job; the newest wins.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Updates a provider may be ahead of us.
const UPDATES_MAX: usize = 16;
/// How long a provider may take to notice that it must stop, before its future is dropped.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(1);

/// Why an attempt produced no result.
pub(crate) enum Interrupted {
    /// The provider or its bytes failed.
    Failed(Failure),
    /// We were told to stop; the held lease says why.
    Stopped,
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What an attempt has made.
pub(crate) struct Produced {
    /// Its frames, in order; at least one, and all are stored.
    pub(crate) frames: Vec<Artifact>,
    /// Whether the last of them is announced; all others are.
    pub(crate) announced: bool,
    /// Those that could not be made, in order.
    pub(crate) missing: Vec<Missing>,
    /// Time in the provider.
    pub(crate) generate: Duration,
    /// Time checking and storing the last one.
    pub(crate) upload: Duration,
}

/// A note of progress, on its way to Redis once it is polled.
type Told = BoxFuture<'static, Result<Noted, StoreError>>;

/// Progress that is told beside the provider's call, so that a slow answer holds nothing up. One
/// note at a time, so that none overtakes another; of those that wait, the newest.
#[derive(Default)]
struct Telling {
    call: Option<Told>,
    next: Option<Told>,
}

impl Telling {
    fn is_empty(&self) -> bool {
        self.call.is_none() && self.next.is_none()
    }

    /// Waits for the next answer; `None` when nothing is left to tell. Safe to drop midway.
    async fn answer(&mut self) -> Option<Result<Noted, StoreError>> {
        if self.call.is_none() {
            self.call = self.next.take();
        }
        let answer = self.call.as_mut()?.await;
        self.call = None;
        Some(answer)
    }
}

/// The frame with the highest index, which is stored in the next stage: its index, seed and picture.
type Last = Option<(u32, u64, Picture)>;

/// One attempt under way.
pub(crate) struct Attempt<'a> {
    runner: &'a Runner,
    held: KeptLease,
    input: FrameInput,
    batch: Batch,
    progressed_at: Option<Instant>,
    /// What the provider says that the call has used.
    usage: Usage,
    began_at: Instant,
}

impl<'a> Attempt<'a> {
    /// Begins with nothing done.
    pub(crate) fn new(runner: &'a Runner, held: KeptLease, input: FrameInput) -> Self {
        let began_at = Instant::now();
        let (batch, usage) = (Batch::new(input.n), Usage::default());
        Self { runner, held, input, batch, progressed_at: None, usage, began_at }
    }

    /// Gives what the provider says that the call has used.
    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Tells whether its frames are made of a picture that the user named.
    pub(crate) fn starts_from_picture(&self) -> bool {
        self.input.image.is_some()
    }

    /// Gives the lease it is done under.
    pub(crate) fn held(&self) -> &KeptLease {
        &self.held
    }

    /// Calls the provider and stores every frame; the last one is left to be announced.
    pub(crate) async fn produce(
        &mut self,
        claimed: &Claimed,
        pass: &mut Pass,
    ) -> Result<Produced, Interrupted> {
        let source = self.runner.sources.of(&self.lease().job, &self.input);
        // Fetching may take a while, and a stop does not wait for it.
        let source = self.held.stopped().run_until_cancelled(source).await;
        let source = source.ok_or(Interrupted::Stopped)??;
        self.began_at = Instant::now();
        self.must(|| self.runner.store.advance(self.lease(), State::Generating)).await?;
        let (sender, updates) = mpsc::channel(UPDATES_MAX);
        let Lease { job, fence } = self.lease();
        let call = Call {
            id: format!("{job}-{fence}"),
            input: self.input.clone(),
            source,
            attempt: claimed.attempt,
            checkpoint: claimed.checkpoint.clone(),
            stop: self.held.stopped().clone(),
            handed_on: self.held.handed_on().clone(),
        };
        let timeout = pass.begin(job.as_str(), self.runner.attempt_timeout);
        let (last, mut telling) =
            self.follow(pass.provider.generate(call, sender), updates, timeout).await?;
        let generate = self.began_at.elapsed();

        // The next stage is told while the frame is stored; if the job is not ours any more, a file
        // stays that nobody refers to.
        let uploading_at = Instant::now();
        let told = async {
            while let Some(answer) = telling.answer().await {
                self.may(answer)?;
            }
            Ok::<(), Interrupted>(())
        };
        let (told, advanced, stored) = tokio::join!(
            told,
            self.must(|| self.runner.store.advance(self.lease(), State::Uploading)),
            self.store_last(last),
        );
        told?;
        advanced?;
        let announced = match stored? {
            Some(Ok(frame)) => {
                self.batch.keep(frame);
                false
            }
            Some(Err((index, failure))) => {
                self.miss(index, failure);
                true
            }
            None => true,
        };
        let (generate, upload) = (generate, uploading_at.elapsed());
        let made = self.give(None)?;
        Ok(Produced { announced, generate, upload, ..made })
    }

    /// Gives the frames that were announced, with `why` for those of which nothing was heard.
    ///
    /// Errors: there is no frame; why.
    fn give(&self, why: Option<&Failure>) -> Result<Produced, Failure> {
        let (frames, missing) = self.batch.sum_up(why)?;
        let (generate, upload) = (self.began_at.elapsed(), Duration::ZERO);
        Ok(Produced { frames, announced: true, missing, generate, upload })
    }

    /// Gives the frames of an attempt that failed before its end, where it has any.
    pub(crate) fn salvage(&self, failure: &Failure) -> Option<Produced> {
        self.give(Some(failure)).ok()
    }

    /// Notes a frame that can't be made.
    fn miss(&mut self, index: u32, failure: Failure) {
        tracing::info!(
            job = %self.lease().job, index, code = failure.code.as_str(), detail = failure.detail,
            "a frame failed: {}", failure.message,
        );
        self.batch.miss(index, failure);
    }

    /// Follows a call to its end, with the deadline and the reasons to stop; gives the last frame,
    /// if it was made, and the progress that is still being told.
    async fn follow(
        &mut self,
        call: impl Future<Output = Result<(), Failure>>,
        mut updates: mpsc::Receiver<Update>,
        timeout: Duration,
    ) -> Result<(Last, Telling), Interrupted> {
        let held = self.held.clone();
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(call, deadline);
        let mut ended = None;
        let mut last = None;
        let mut telling = Telling::default();
        loop {
            tokio::select! {
                // Updates first: a provider's last frame may be waiting when its call returns.
                biased;
                () = held.stopped().cancelled() => {
                    if ended.is_none() {
                        // The provider closes its socket; its result is of no use any more.
                        drop(tokio::time::timeout(STOP_GRACE, &mut call).await);
                    }
                    return Err(Interrupted::Stopped);
                }
                Some(answer) = telling.answer(), if !telling.is_empty() => self.may(answer)?,
                update = updates.recv() => match update {
                    Some(update) => self.take(update, &mut last, &mut telling).await?,
                    None => break,
                },
                result = &mut call, if ended.is_none() => ended = Some(result),
                () = &mut deadline => held.stop(StopReason::Deadline),
            }
        }
        let result = match ended {
            Some(result) => result,
            None => call.await,
        };
        if let Err(failure) = result {
            // It may be all that the job will have.
            if let Some((index, seed, picture)) = last
                && let Err(Interrupted::Stopped) = self.keep(index, seed, picture).await
            {
                return Err(Interrupted::Stopped);
            }
            return Err(failure.into());
        }
        match last {
            // Without any the attempt has failed, and stays in its stage.
            None => self.give(None).map(|_| (None, telling)).map_err(Interrupted::from),
            last => Ok((last, telling)),
        }
    }

    async fn take(
        &mut self,
        update: Update,
        last: &mut Last,
        telling: &mut Telling,
    ) -> Result<(), Interrupted> {
        match update {
            Update::Progress { step, steps } => {
                failpoint::hit("calling");
                telling.next = self.progress(step, steps).or(telling.next.take());
                Ok(())
            }
            Update::Preview { index, step, picture } => {
                self.store_preview(index, step, picture).await
            }
            Update::Frame { index, seed, picture } => {
                if self.batch.ends_with(index) {
                    *last = Some((index, seed, picture));
                    Ok(())
                } else {
                    self.keep(index, seed, picture).await
                }
            }
            Update::FrameFailed { index, failure } => {
                self.miss(index, failure);
                Ok(())
            }
            Update::Usage(usage) => {
                self.usage.add(&usage);
                let used = self.usage;
                self.may(self.runner.store.usage(self.lease(), &used).await)
            }
            Update::Checkpoint(handle) => {
                self.must(|| self.runner.store.checkpoint(self.lease(), &handle)).await
            }
        }
    }

    /// Stores a frame and tells of it, or notes that it is none.
    async fn keep(&mut self, index: u32, seed: u64, picture: Picture) -> Result<(), Interrupted> {
        let checked = match self.check(picture).await {
            Ok(checked) => checked,
            Err(failure) => {
                self.miss(index, failure);
                return Ok(());
            }
        };
        let frame = self.store_frame(index, seed, checked).await?;
        self.batch.keep(frame);
        let announce = || self.runner.store.announce_frame(self.lease(), self.batch.frames());
        self.must(announce).await?;
        failpoint::hit("frame_announced");
        Ok(())
    }

    /// Makes the call that tells how far we are, unless one was made just now.
    fn progress(&mut self, step: u32, steps: u32) -> Option<Told> {
        let recent = self.progressed_at.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL);
        if recent && step < steps {
            return None;
        }
        self.progressed_at = Some(Instant::now());
        let elapsed_ms = self.began_at.elapsed().as_millis() as u64;
        let left = u64::from(steps.saturating_sub(step));
        let progress = Progress {
            stage: State::Generating,
            step,
            steps,
            fraction: if steps == 0 { 0.0 } else { f64::from(step) / f64::from(steps) },
            eta_ms: (step > 0).then(|| elapsed_ms * left / u64::from(step)),
        };
        let (store, lease) = (self.runner.store.clone(), self.lease().clone());
        Some(async move { store.progress(&lease, &progress).await }.boxed())
    }

    async fn store_preview(
        &mut self,
        index: u32,
        step: u32,
        picture: Picture,
    ) -> Result<(), Interrupted> {
        let id = self.artifact_id(Slot::Preview { index, step }, picture.media_type);
        // A preview that can't be read or kept is no reason to lose the frame.
        let Ok(checked) = picture_check::check(picture, None).await else {
            self.runner.metrics.picture_refused("preview");
            return Ok(());
        };
        if let Err(error) = self.runner.blobs.put(&id, checked.bytes).await {
            tracing::warn!(job = %id.job, "a preview was not stored: {error}");
            return Ok(());
        }
        let preview = Preview { index, step, url: id.url() };
        self.may(self.runner.store.announce_preview(self.lease(), &preview).await)
    }

    /// Decodes a frame, which must have the size that was asked for.
    async fn check(&self, picture: Picture) -> Result<Checked, Failure> {
        picture_check::check(picture, Some((self.input.width, self.input.height)))
            .await
            .inspect_err(|_| self.runner.metrics.picture_refused("frame"))
    }

    /// Checks the last frame, if it was made, and stores it; gives why it can't be one.
    async fn store_last(
        &self,
        last: Last,
    ) -> Result<Option<Result<Artifact, (u32, Failure)>>, Interrupted> {
        let Some((index, seed, picture)) = last else {
            return Ok(None);
        };
        Ok(Some(match self.check(picture).await {
            Ok(checked) => Ok(self.store_frame(index, seed, checked).await?),
            Err(failure) => Err((index, failure)),
        }))
    }

    /// Stores a frame; nobody has been told of it yet.
    async fn store_frame(
        &self,
        index: u32,
        seed: u64,
        checked: Checked,
    ) -> Result<Artifact, Interrupted> {
        let id = self.artifact_id(Slot::Frame(index), checked.media_type);
        let bytes = checked.bytes.len() as u64;
        self.runner.blobs.put(&id, checked.bytes).await.map_err(|error| {
            let detail = format!("{:#}", anyhow::Error::from(error));
            Failure::new(ErrorCode::Temporary, "the frame could not be stored")
                .kind(FailureKind::Ours)
                .detail(detail)
        })?;
        self.runner.metrics.stored(bytes);
        failpoint::hit("frame_stored");
        Ok(Artifact {
            index,
            url: id.url(),
            content_type: checked.media_type,
            width: checked.width,
            height: checked.height,
            bytes,
            sha256: checked.sha256,
            seed,
        })
    }

    fn artifact_id(&self, slot: Slot, media_type: MediaType) -> ArtifactId {
        let Lease { job, fence } = self.lease().clone();
        ArtifactId { job, fence, slot, media_type }
    }

    fn lease(&self) -> &Lease {
        &self.held.lease
    }

    /// Asks for what the job can't do without, until Redis answers.
    async fn must<F: Future<Output = Result<Noted, StoreError>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<(), Interrupted> {
        match until_answered(&self.held, ask).await {
            Some(answer) => self.go_on(answer),
            None => {
                self.held.stop(StopReason::Lost);
                Err(Interrupted::Stopped)
            }
        }
    }

    /// Takes an answer that the job can do without: a Redis that is away for a moment is no reason
    /// to give up a paid call.
    fn may(&self, answer: Result<Noted, StoreError>) -> Result<(), Interrupted> {
        match answer {
            Ok(answer) => self.go_on(answer),
            Err(error) => {
                tracing::debug!(job = %self.lease().job, "progress was not told: {error}");
                Ok(())
            }
        }
    }

    /// Turns a script's answer into going on or stopping.
    fn go_on(&self, answer: Noted) -> Result<(), Interrupted> {
        match answer {
            Noted::Noted => return Ok(()),
            Noted::Cancel => self.held.stop(StopReason::Cancel),
            Noted::Lost(_) => self.held.stop(StopReason::Lost),
            Noted::Refused(state) => {
                tracing::error!(job = %self.lease().job, ?state, "the script refused our stage");
                self.held.stop(StopReason::Lost);
            }
        }
        Err(Interrupted::Stopped)
    }
}
