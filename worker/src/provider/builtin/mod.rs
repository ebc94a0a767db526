//! The built-in provider: draws real pictures, slowly on purpose.
//!
//! Comes in: a [`Call`]. Goes out: progress after every step, a preview every few steps and the
//! frames in order, at the pace of a real model (`step_ms` of thinking per step). It needs no
//! network and no key, so a fresh installation shows everything Framewire does, and tests see
//! every path, with `faults` also the unhappy ones.
//! Invariant: same prompt, seed, size, steps and start picture, same bytes. A frame is a pure function of
//! its input; only the pacing here knows time. Pixels are computed on blocking threads, row by row
//! with a look at the token before each, so a stop or a drop ends the work within milliseconds.

// Misbehaviour on request.
mod faults;
// Reproducible chance: hash, dice, noise.
mod chance;
// Colours of a mood.
mod palette;
// The words it knows.
mod words;
// What is in the picture.
mod scene;
// A scene on a canvas.
mod paint;
// Coarse samples of soft things.
mod map;
// Sun, moon, stars, clouds.
mod sky;
// Layers of ground, and water.
mod land;
// Which layers a place has.
mod terrain;
// One layer of ground.
mod ridge;
// Houses with windows.
mod blocks;
// Planets.
mod space;
// Abstract folds.
mod silk;
// Foxes and lighthouses in the scene.
mod figures;
// Draws them in the scene's light.
mod brush;
// Their outlines.
mod shapes;
// A picture to start from, and where it may change.
mod start;
// The look of an unfinished picture.
mod develop;
// Pictures as bytes.
mod encode;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framewire_shared::domain::{ErrorCode, Failure, Fault, FrameInput};
use futures::future::BoxFuture;
use image::RgbImage;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::scene::Scene;
use self::start::Start;
use super::{Call, Picture, Provider, Update, Updates};

/// How the built-in provider behaves.
#[derive(Debug, Clone)]
pub struct BuiltinOptions {
    /// Whether `input.fault` is obeyed; otherwise it is refused.
    pub faults: bool,
    /// Thinking per step where the input doesn't say, in milliseconds.
    pub step_ms_default: u64,
}

impl Default for BuiltinOptions {
    fn default() -> Self {
        Self { faults: false, step_ms_default: 120 }
    }
}

/// Draws pictures from prompt and seed.
#[derive(Debug)]
pub struct Builtin {
    options: BuiltinOptions,
}

impl Builtin {
    /// Makes the provider.
    pub fn new(options: BuiltinOptions) -> Self {
        Self { options }
    }
}

impl Provider for Builtin {
    fn name(&self) -> &str {
        "builtin"
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let fault = faults::of(&call, self.options.faults)?;
            if let Some(failure) = fault.and_then(faults::refusal) {
                return Err(failure);
            }
            let step_ms = call.input.step_ms.unwrap_or(self.options.step_ms_default);
            // The guard stops the blocking threads also when this future is dropped.
            let stop = call.stop.child_token();
            let _guard = stop.clone().drop_guard();
            let input = Arc::new(call.input);
            let size = (input.width, input.height);
            let start = match call.source {
                Some(source) => {
                    let start = off_thread(move || Start::read(&source, size)).await?;
                    Some(Arc::new(start))
                }
                None => None,
            };
            let pause = Duration::from_millis(step_ms);
            let run = Run { input, start, updates, fault, pause, stop };
            let stopped = run.stop.clone();
            stopped.run_until_cancelled(run.frames()).await.unwrap_or_else(|| Err(stop_failure()))
        })
    }
}

/// One call on its way.
struct Run {
    input: Arc<FrameInput>,
    start: Option<Arc<Start>>,
    updates: Updates,
    fault: Option<Fault>,
    /// Thinking per step.
    pause: Duration,
    stop: CancellationToken,
}

impl Run {
    async fn frames(&self) -> Result<(), Failure> {
        for index in 0..self.input.n {
            let seed = self.input.seed.unwrap_or_default().wrapping_add(u64::from(index));
            let picture = self.steps(index, seed).await?;
            if self.fault == Some(Fault::SlowBody) && index + 1 == self.input.n {
                sleep(faults::SLOW_BODY).await;
            }
            self.tell(Update::Frame { index, seed, picture }).await?;
        }
        Ok(())
    }

    /// Goes through the steps of a frame; the last one gives the picture.
    async fn steps(&self, index: u32, seed: u64) -> Result<Picture, Failure> {
        let steps = self.input.steps;
        let mut draft = None;
        for step in 1..steps {
            self.think().await;
            self.progress(index, step).await?;
            if !develop::is_due(step, steps) {
                continue;
            }
            let finished = match draft.take() {
                Some(finished) => finished,
                None => self.draft(seed).await?,
            };
            let shared = Arc::clone(&finished);
            draft = Some(finished);
            let look = move || encode::preview(&shared.look(seed, step, steps));
            let picture = off_thread(look).await?;
            self.tell(Update::Preview { index, step, picture }).await?;
        }
        self.think().await;
        let picture = self.finish(seed).await?;
        self.progress(index, steps).await?;
        Ok(picture)
    }

    async fn think(&self) {
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
    }

    /// Tells that a step is done; the first one is where a fault in the middle of the work hits.
    async fn progress(&self, index: u32, step: u32) -> Result<(), Failure> {
        let steps = self.input.steps;
        let done = index * steps + step;
        self.tell(Update::Progress { step: done, steps: steps * self.input.n }).await?;
        match self.fault {
            Some(Fault::Temporary) => Err(faults::breakdown()),
            Some(Fault::Hang) => std::future::pending().await,
            _ => Ok(()),
        }
    }

    /// Paints the finished picture at the size of a preview.
    async fn draft(&self, seed: u64) -> Result<Arc<Draft>, Failure> {
        let (input, start, stop) = (Arc::clone(&self.input), self.start.clone(), self.stop.clone());
        let size = develop::preview_size(input.width, input.height);
        let draft = move || {
            let scene = picture(&input, seed, size, &stop)?;
            Ok(Draft { scene, start: start.map(|start| start.scaled(size)) })
        };
        off_thread(draft).await.map(Arc::new)
    }

    /// Paints and encodes the frame.
    async fn finish(&self, seed: u64) -> Result<Picture, Failure> {
        let media_type = self.input.output_format.media_type();
        if self.fault == Some(Fault::Garbage) {
            return Ok(Picture { media_type, bytes: Bytes::from_static(faults::GARBAGE) });
        }
        let (input, start, stop) = (Arc::clone(&self.input), self.start.clone(), self.stop.clone());
        let finish = move || {
            let scene = picture(&input, seed, (input.width, input.height), &stop)?;
            let pixels = start.map(|start| start.finished(&scene)).unwrap_or(scene);
            encode::frame(&pixels, media_type)
        };
        off_thread(finish).await
    }

    async fn tell(&self, update: Update) -> Result<(), Failure> {
        // Nobody listens any more: the runner has gone, which is a stop.
        self.updates.send(update).await.map_err(|_| stop_failure())
    }
}

/// What previews are made of: a finished scene and what it started from, small.
struct Draft {
    scene: RgbImage,
    start: Option<Start>,
}

impl Draft {
    /// Gives the look after `step` of `steps`.
    fn look(&self, seed: u64, step: u32, steps: u32) -> RgbImage {
        match &self.start {
            Some(start) => start.develop(&self.scene, seed, step, steps),
            None => develop::develop(&self.scene, seed, step, steps),
        }
    }
}

fn picture(
    input: &FrameInput,
    seed: u64,
    (width, height): (u32, u32),
    stop: &CancellationToken,
) -> Result<RgbImage, Failure> {
    let scene = Scene::new(&input.prompt, &input.negative_prompt, seed);
    paint::paint(&scene, width, height, stop).ok_or_else(stop_failure)
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        let failure = Failure::new(ErrorCode::Unknown, "the picture could not be drawn");
        Err(failure.detail(error.to_string()))
    })
}

fn stop_failure() -> Failure {
    Failure::new(ErrorCode::Temporary, "the drawing was stopped")
}

#[cfg(test)]
mod tests;
