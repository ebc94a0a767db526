//! The ComfyUI adapter against a server that a test plays by hand.

/// The server.
mod server;
/// Jobs that are drawn, and what is handed on of them.
mod drawing;
/// Answers that are not what the documentation promises.
mod traps;
/// Stops, deaths, and jobs that are continued.
mod ending;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use framewire_shared::domain::workflow::{Marks, Template};
use framewire_shared::domain::{Failure, FrameInput};
use framewire_shared::testing::until;
use framewire_worker::provider::comfyui::{ComfyUi, ComfyUiOptions};
use framewire_worker::provider::{Call, Picture, Provider, Source, Update};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use server::Comfy;

/// A workflow like that of the editor's default, with the slots that are wanted.
fn workflow() -> Value {
    json!({
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "denoise": 1.0,
            "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
        "5": {"class_type": "EmptyLatentImage",
            "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "b"}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "fw", "images": ["3", 0]}},
    })
}

/// A workflow that starts from a picture, with a mask.
fn repaint() -> Value {
    let mut workflow = workflow();
    workflow["5"] = json!({"class_type": "LoadImage", "inputs": {"image": "{{image}}"}});
    workflow["8"] = json!({"class_type": "LoadImageMask",
        "inputs": {"image": "{{mask}}", "channel": "red"}});
    workflow
}

/// Options whose waits fit a test.
fn options(server: &Comfy) -> ComfyUiOptions {
    ComfyUiOptions {
        poll_every: Duration::from_millis(40),
        stall_after: Duration::from_millis(400),
        ..ComfyUiOptions::new(server.url.parse().unwrap(), template(&workflow(), &Marks::default()))
    }
}

fn template(workflow: &Value, marks: &Marks) -> Template {
    Template::parse(&workflow.to_string(), marks).unwrap()
}

fn provider(server: &Comfy) -> Arc<ComfyUi> {
    Arc::new(ComfyUi::new(options(server)).unwrap())
}

fn call(n: u32) -> Call {
    Call {
        id: "job_c0_1-1".into(),
        input: FrameInput { seed: Some(7), n, width: 64, height: 64, ..FrameInput::new("a fox") },
        source: None,
        attempt: 1,
        checkpoint: None,
        stop: CancellationToken::new(),
        handed_on: CancellationToken::new(),
    }
}

fn png() -> Vec<u8> {
    crate::world::png(64, 64).bytes.to_vec()
}

fn source(mask: Option<Picture>) -> Option<Source> {
    Some(Source { picture: crate::world::png(64, 64), mask, strength: 0.5 })
}

/// A call that runs, and what it has yielded.
struct Drawing {
    seen: Arc<Mutex<Vec<Update>>>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

/// Begins a call; its updates are taken as they come, as the runner does.
fn draw(provider: &Arc<ComfyUi>, call: Call) -> Drawing {
    let (sender, mut updates) = mpsc::channel(16);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (provider, stop, kept) = (provider.clone(), call.stop.clone(), seen.clone());
    let task = tokio::spawn(async move {
        let take = async {
            while let Some(update) = updates.recv().await {
                kept.lock().unwrap().push(update);
            }
        };
        tokio::join!(provider.generate(call, sender), take).0
    });
    Drawing { seen, stop, task }
}

impl Drawing {
    async fn end(self) -> Result<Vec<Update>, Failure> {
        self.task.await.unwrap()?;
        Ok(std::mem::take(&mut self.seen.lock().unwrap()))
    }

    async fn failure(self) -> Failure {
        self.task.await.unwrap().expect_err("a failure")
    }

    /// Waits for an update of which this can be said.
    async fn sees<T>(&self, what: &str, said: impl Fn(&Update) -> Option<T>) -> T {
        until(what, async || self.seen.lock().unwrap().iter().find_map(&said)).await
    }
}

fn frames(updates: &[Update]) -> Vec<(u32, u64)> {
    let frame = |update: &Update| match update {
        Update::Frame { index, seed, .. } => Some((*index, *seed)),
        _ => None,
    };
    updates.iter().filter_map(frame).collect()
}

fn checkpoints(updates: &[Update]) -> Vec<String> {
    let checkpoint = |update: &Update| match update {
        Update::Checkpoint(ids) => Some(ids.clone()),
        _ => None,
    };
    updates.iter().filter_map(checkpoint).collect()
}

fn progress(update: &Update) -> Option<(u32, u32)> {
    match update {
        Update::Progress { step, steps } => Some((*step, *steps)),
        _ => None,
    }
}
