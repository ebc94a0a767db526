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

use framewire_shared::domain::workflow::Template;
use framewire_shared::domain::{Abilities, Failure};
use futures::future::BoxFuture;
use secrecy::SecretString;
use url::Url;

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

use self::run::Run;
use super::duty::until_taken_back;
use super::{Call, Provider, Updates};

/// Which server, and which workflow.
#[derive(Debug, Clone)]
pub struct ComfyUiOptions {
    /// Names the provider in events, logs and metrics.
    pub name: String,
    /// Where the server is, like `http://127.0.0.1:8188`; may have a path.
    pub url: Url,
    /// Sent with every request, for a proxy that wants a key; never shown.
    pub headers: Vec<(String, SecretString)>,
    /// What it draws.
    pub template: Template,
    /// How often the server is asked while its socket says nothing; 2 s by default.
    pub poll_every: Duration,
    /// After how long without any sign of life the server counts as dead; 10 s by default.
    pub stall_after: Duration,
}

impl ComfyUiOptions {
    /// Makes options with every default.
    pub fn new(url: Url, template: Template) -> Self {
        Self {
            name: "comfyui".into(),
            url,
            headers: Vec::new(),
            template,
            poll_every: Duration::from_secs(2),
            stall_after: Duration::from_secs(10),
        }
    }
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
    /// Errors: the URL or a header can't be used.
    pub fn new(options: ComfyUiOptions) -> Result<Self, ClientError> {
        let ComfyUiOptions { name, url, headers, template, poll_every, stall_after } = options;
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

    fn abilities(&self) -> Abilities {
        Abilities::of_workflow(&self.template)
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let call = &call;
            let run = |tasks| Run { comfy: self, call, updates, tasks };
            until_taken_back(call, |tasks| async { run(tasks).frames().await }).await
        })
    }
}
