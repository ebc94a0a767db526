//! One call: what it asks of the server, frame by frame.
//!
//! Comes in: a call, whose checkpoint may name prompts of an earlier worker. Goes out: checkpoints,
//! each before the prompt it names is submitted, and frames. A prompt that the server lost or that
//! was stopped is never submitted again under its old id: whoever stops that one may not be done.
//! How a prompt goes on is [`super::watch`]'s to find out; retries of a call are the runner's.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use framewire_shared::domain::workflow::Slot;
use framewire_shared::domain::{Abilities, ErrorCode, Failure, FrameInput, Origin};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use uuid::{Builder, Uuid};

use super::cancel::Claim;
use super::client::{Found, Submission};
use super::history::{ExecutionError, Image, Outcome};
use super::socket::Socket;
use super::watch::{Part, Watch, tell};
use super::{ComfyUi, failure, picture};
use crate::provider::convert;
use crate::provider::duty::{keep, outcome, refuse_impossible};
use crate::provider::{Call, Picture, Source, Updates};

/// How often a picture is fetched before the drawing counts as lost.
const VIEW_TRIES: u32 = 3;
/// Pause between.
const VIEW_PAUSE: Duration = Duration::from_millis(250);
/// Between the prompt ids in a checkpoint.
const BETWEEN: &str = ",";
/// What is told of a file that is no picture.
const HEAD_BYTES: usize = 80;

/// One call on its way.
pub(super) struct Run<'a> {
    pub(super) comfy: &'a ComfyUi,
    pub(super) call: &'a Call,
    pub(super) updates: Updates,
    /// Stops prompts that nobody waits for any more.
    pub(super) tasks: TaskTracker,
}

impl Run<'_> {
    /// Draws and hands on every frame, in order.
    pub(super) async fn frames(&self) -> Result<(), Failure> {
        refuse_impossible(&Abilities::of_workflow(&self.comfy.template), self.call)?;
        let mut ids: Vec<String> = known_ids(self.call.checkpoint.as_deref());
        let mut uploads = None;
        for index in 0..self.call.input.n {
            let picture = self.picture(index, &mut ids, &mut uploads).await;
            let drawn = picture.map(|picture| (self.seed(index), picture));
            tell(&self.updates, outcome(&self.call.input, index, drawn)?).await?;
        }
        Ok(())
    }

    /// Gives the picture of one frame, an earlier worker's or drawn now.
    async fn picture(
        &self,
        index: u32,
        ids: &mut Vec<String>,
        uploads: &mut Option<BTreeMap<Slot, Value>>,
    ) -> Result<Picture, Failure> {
        if let Some(images) = self.resumed(index, ids).await? {
            return self.fetch(&images).await;
        }
        let uploads = match uploads {
            Some(uploads) => uploads,
            None => uploads.insert(self.upload().await?),
        };
        ids.truncate(index as usize);
        self.drawn(index, ids, uploads).await
    }

    fn seed(&self, index: u32) -> u64 {
        self.call.input.seed.unwrap_or_default().wrapping_add(u64::from(index))
    }

    /// Waits for a prompt that an earlier worker has submitted; `None` if it must be drawn anew.
    async fn resumed(&self, index: u32, ids: &[String]) -> Result<Option<Vec<Image>>, Failure> {
        let Some(id) = ids.get(index as usize) else {
            return Ok(None);
        };
        let claim = Claim::of_submitted(self, id);
        tracing::debug!(prompt = %id, "looking for a prompt of an earlier worker");
        match self.watch(claim, index, None).await? {
            Outcome::Done(images) => Ok(Some(images)),
            Outcome::Failed(error) => Err(self.failed(&error, id).await),
            // By the worker before us as it lost its lease, or by a restart.
            Outcome::Interrupted | Outcome::Lost => Ok(None),
        }
    }

    /// Submits one frame's prompt and waits for its picture.
    async fn drawn(
        &self,
        index: u32,
        ids: &mut Vec<String>,
        uploads: &BTreeMap<Slot, Value>,
    ) -> Result<Picture, Failure> {
        let id = prompt_id(&self.call.id, index);
        ids.push(id.clone());
        self.checkpoint(ids).await?;
        let client = &self.comfy.client;
        // Before submitting, so that nothing is missed; without it the polls tell all but progress.
        let socket = Socket::open(client, &id).await;
        let socket =
            socket.inspect_err(|error| tracing::debug!("no socket to ComfyUI: {error}")).ok();

        let workflow = self.comfy.template.fill(&self.values(index, uploads), &id);
        let mut claim = Claim::before_submitting(self, &id);
        let output = self.comfy.template.output();
        match client.submit(&workflow, &id, &id).await {
            Submission::Accepted { id: given, left_out } => {
                // A claim that is dropped with an error stops what was accepted.
                let submitted = Claim::of_submitted(self, &given);
                std::mem::replace(&mut claim, submitted).release();
                if failure::leaves_out(&left_out, output) {
                    return Err(failure::left_out(&left_out));
                }
                if given != id {
                    // A server from before clients could choose.
                    *ids.last_mut().unwrap_or(&mut String::new()) = given;
                    self.checkpoint(ids).await?;
                }
            }
            Submission::Refused(failure) => {
                claim.release();
                return Err(named(failure, &id));
            }
            Submission::Unanswered(failure) => {
                tracing::debug!(prompt = %id, "looking whether it arrived: {}", failure.detail);
                if matches!(client.find(&id).await, Ok(Found::Nowhere) | Err(_)) {
                    return Err(named(failure, &id));
                }
            }
        }
        let id = claim.prompt_id().to_owned();
        let images = match self.watch(claim, index, socket).await? {
            Outcome::Done(images) => images,
            Outcome::Failed(error) => return Err(self.failed(&error, &id).await),
            Outcome::Interrupted => return Err(named(failure::interrupted(), &id)),
            Outcome::Lost => return Err(named(failure::lost(), &id)),
        };
        self.fetch(&images).await
    }

    /// Waits until the ids are kept: a prompt that nobody knows of would be drawn twice.
    async fn checkpoint(&self, ids: &[String]) -> Result<(), Failure> {
        keep(&self.updates, ids.join(BETWEEN)).await
    }

    async fn watch(
        &self,
        claim: Claim,
        index: u32,
        socket: Option<Socket>,
    ) -> Result<Outcome, Failure> {
        let ComfyUi { client, template, poll_every, stall_after, .. } = self.comfy;
        let input = &self.call.input;
        let watch = Watch {
            client,
            prompt_id: claim.prompt_id(),
            output: template.output(),
            poll_every: *poll_every,
            stall_after: *stall_after,
            part: Part { index, count: input.n, steps: input.steps },
            updates: &self.updates,
        };
        // On the heap: it holds each request that a look may make.
        let outcome = Box::pin(watch.to_its_end(socket)).await?;
        claim.release();
        Ok(outcome)
    }

    async fn failed(&self, error: &ExecutionError, id: &str) -> Failure {
        if failure::is_out_of_memory(error) {
            // Models of other workflows may fill it; giving them up is what the next try needs.
            self.comfy.client.free().await.ok();
        }
        failure::execution(error, id, self.call.attempt)
    }

    fn values(&self, index: u32, uploads: &BTreeMap<Slot, Value>) -> BTreeMap<Slot, Value> {
        let input = &self.call.input;
        let strength = self.call.source.as_ref().map_or(1.0, |source| source.strength);
        let mut values = BTreeMap::from([
            (Slot::Prompt, input.prompt.clone().into()),
            (Slot::NegativePrompt, input.negative_prompt.clone().into()),
            (Slot::Seed, self.seed(index).into()),
            (Slot::Width, input.width.into()),
            (Slot::Height, input.height.into()),
            (Slot::Steps, input.steps.into()),
            (Slot::Strength, strength.into()),
            (Slot::BatchSize, 1.into()),
        ]);
        values.extend(uploads.clone());
        values
    }

    /// Stores the pictures to start from at the server; gives the values of their slots.
    async fn upload(&self) -> Result<BTreeMap<Slot, Value>, Failure> {
        let Some(Source { picture, mask, .. }) = &self.call.source else {
            return Ok(BTreeMap::new());
        };
        let mut uploads = BTreeMap::from([(Slot::Image, self.store(&picture.bytes).await?)]);
        if self.comfy.template.has(Slot::Mask) {
            let bytes = match mask {
                Some(mask) => mask.bytes.clone(),
                None => {
                    let FrameInput { width, height, .. } = self.call.input;
                    convert::plain(width, height, u8::MAX).await?.bytes
                }
            };
            uploads.insert(Slot::Mask, self.store(&bytes).await?);
        }
        Ok(uploads)
    }

    /// Named by its content, so that a retry finds it there.
    async fn store(&self, bytes: &Bytes) -> Result<Value, Failure> {
        let extension = picture::of(bytes.clone()).map_or("png", |it| it.media_type.extension());
        let name = format!("{}.{extension}", uuid_of(bytes));
        Ok(self.comfy.client.upload(&name, bytes.clone()).await?.into())
    }

    async fn fetch(&self, images: &[Image]) -> Result<Picture, Failure> {
        let Some(image) = images.first() else {
            return Err(failure::no_picture("the output node has saved nothing"));
        };
        let mut tries = 1;
        let bytes = loop {
            match self.comfy.client.view(image).await {
                Ok(bytes) => break bytes,
                // A picture that took minutes is worth a second request, where it was the way that failed.
                Err(failure) if is_the_ways(&failure) && tries < VIEW_TRIES => {
                    tracing::debug!("a picture was not fetched: {}", failure.detail);
                    tries += 1;
                    sleep(VIEW_PAUSE).await;
                }
                Err(failure) => return Err(failure::gone(failure)),
            }
        };
        let head = bytes.slice(..bytes.len().min(HEAD_BYTES));
        let picture = picture::of(bytes);
        picture.map(picture::without_text).ok_or_else(|| {
            failure::no_picture(format!("its file begins: {:?}", String::from_utf8_lossy(&head)))
        })
    }
}

/// Tells whether it was the way to the server that failed, and not its answer.
fn is_the_ways(failure: &Failure) -> bool {
    failure.origin.status.is_none() && failure.code != ErrorCode::Unknown
}

fn named(failure: Failure, id: &str) -> Failure {
    let origin = Origin { request_id: Some(id.to_owned()), ..failure.origin.clone() };
    failure.from_provider(origin)
}

/// Reads the ids of a checkpoint; what is no id of ours is as good as none.
fn known_ids(checkpoint: Option<&str>) -> Vec<String> {
    let ids = checkpoint.into_iter().flat_map(|ids| ids.split(BETWEEN));
    ids.take_while(|id| Uuid::try_parse(id).is_ok()).map(str::to_owned).collect()
}

/// Names the prompt of one frame of an attempt: always the same, never another's.
fn prompt_id(call_id: &str, index: u32) -> String {
    uuid_of(format!("{call_id}-{index}").as_bytes()).to_string()
}

/// Makes a UUID of version 8 (RFC 9562, section 5.8) from a digest.
fn uuid_of(bytes: &[u8]) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(half).into_uuid()
}
