//! ComfyUI: any workflow of its, as a provider.
//!
//! Comes in: a call. Goes out: its frames, one prompt each, drawn from `seed + i`. A prompt's id is
//! ours, made from the attempt's name, and becomes the checkpoint before the prompt is submitted; so
//! whoever continues the job looks the prompt up instead of drawing again, and an answer that was
//! lost is found again. The server itself does not mind ids: sent twice, a prompt runs twice.
//! Invariant: from the moment a prompt may be in the server's queue until its end is known, a claim
//! stands for it, and whatever ends the call takes it out of the queue. Nothing here waits without
//! an end but for a prompt that the server says it is working on: the runner's deadline ends that.
//! Written against ComfyUI 0.3.75 (server.py, execution.py, protocol.py).

use std::time::Duration;

use framewire_shared::domain::Failure;
use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::Url;

// Which inputs of a workflow are a job's to fill.
mod template;
// How they are found.
mod draft;
// What a server's nodes take, and whether a template fits them.
mod catalog;
// The server's routes.
mod client;
// One call: its frames, one prompt each.
mod run;
// One prompt, from the queue to its end.
mod watch;
// What is heard of it while it runs.
mod socket;
// How it ended.
mod history;
// What it has made.
mod picture;
// Nobody waits for it any more.
mod cancel;
// What the server's answers mean.
mod failure;

pub use catalog::Catalog;
pub use client::{Client, ClientError, Health};
pub use template::{Marks, Place, Slot, Template, TemplateError};

use self::run::Run;
use super::{Call, Provider, Updates};

/// How long a stopped call waits for its prompt to be stopped too, before it leaves that to a task.
const STOP_WAIT: Duration = Duration::from_millis(500);

/// Which server, and which workflow.
#[derive(Debug, Clone)]
pub struct ComfyUiOptions {
    /// Names the provider in events, logs and metrics.
    pub name: String,
    /// Where the server is, like `http://127.0.0.1:8188`; may have a path.
    pub url: Url,
    /// Sent with every request, for a proxy that wants a key; never shown.
    pub headers: Vec<(String, SecretString)>,
    /// The workflow's text, as exported with "Export (API)".
    pub workflow: String,
    /// Slots and output that the workflow itself does not show.
    pub marks: Marks,
    /// How often the server is asked while its socket says nothing; 2 s by default.
    pub poll_every: Duration,
    /// After how long without any sign of life the server counts as dead; 10 s by default.
    pub stall_after: Duration,
}

impl ComfyUiOptions {
    /// Makes options with every default.
    pub fn new(url: Url, workflow: impl Into<String>) -> Self {
        Self {
            name: "comfyui".into(),
            url,
            headers: Vec::new(),
            workflow: workflow.into(),
            marks: Marks::default(),
            poll_every: Duration::from_secs(2),
            stall_after: Duration::from_secs(10),
        }
    }
}

/// Why a provider can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ComfyUiError {
    /// The workflow does not fit.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The server can't be spoken to.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A ComfyUI server with one workflow.
#[derive(Debug)]
pub struct ComfyUi {
    name: String,
    client: Client,
    template: Template,
    poll_every: Duration,
    stall_after: Duration,
}

impl ComfyUi {
    /// Makes the provider. The server need not be up.
    ///
    /// Errors: the workflow is no template, or the URL or a header can't be used.
    pub fn new(options: ComfyUiOptions) -> Result<Self, ComfyUiError> {
        let ComfyUiOptions { name, url, headers, workflow, marks, poll_every, stall_after } =
            options;
        let template = Template::parse(&workflow, &marks)?;
        let client = Client::new(&url, &headers)?;
        Ok(Self { name, client, template, poll_every, stall_after })
    }

    /// Asks whether the server is there.
    pub async fn health(&self) -> Result<Health, Failure> {
        self.client.health().await
    }
}

impl Provider for ComfyUi {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let tasks = TaskTracker::new();
            // Closed only means that one may wait for it to be empty.
            tasks.close();
            let stop = call.stop.clone();
            let run = Run { comfy: self, call, updates, tasks: tasks.clone() };
            if let Some(result) = stop.run_until_cancelled(run.frames()).await {
                return result;
            }
            timeout(STOP_WAIT, tasks.wait()).await.ok();
            Err(failure::stopped())
        })
    }
}
