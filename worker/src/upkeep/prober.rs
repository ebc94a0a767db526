//! Finds out whether a provider that is closed off is well again.
//!
//! Jobs are not risked for that: a probe is a call with a fixed small prompt under a permit of its
//! own kind, which the guard grants to one worker at a time, once in a while. Its picture is checked
//! like any other and thrown away: no job, no event, nothing stored. Every worker offers to probe
//! the providers it serves; while a provider is well, that costs one read per pass.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::guard::Purpose;
use framewire_shared::domain::{ErrorCode, Failure, FrameInput, Usage};
use framewire_shared::store::StoreError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt::STOP_GRACE;
use crate::guard::Guard;
use crate::picture_check;
use crate::provider::{Call, Provider, Source, Update, convert};
use crate::routes::{Pass, Routes};

/// How often a worker offers to probe.
const INTERVAL: Duration = Duration::from_secs(2);
/// What is drawn: harmless to every filter, the same each time.
const PROMPT: &str = "a plain grey circle on a white background";
/// Steps, for a provider that lets us choose.
const STEPS: u32 = 8;
/// What a model that needs one starts from: a picture of this grey.
const GREY: u8 = 200;
/// How much of it may change.
const STRENGTH: f64 = 0.75;
/// Updates a provider may be ahead of us.
const UPDATES_MAX: usize = 16;

/// Probes the providers of one worker.
pub struct Prober {
    /// Whose providers are probed.
    pub routes: Arc<Routes>,
}

/// What one pass has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probed {
    /// Probes that gave a picture.
    pub succeeded: usize,
    /// Probes that did not.
    pub failed: usize,
}

impl Prober {
    /// Offers once to probe each provider, and makes the probes that are granted.
    pub async fn tick(&self) -> Result<Probed, StoreError> {
        let guarded = self.routes.guarded();
        let probes = guarded.into_iter().map(async |(provider, guard)| {
            let name = provider.name().to_owned();
            let probed = probe(provider, guard).await;
            if let Ok(Some(is_well)) = probed {
                self.routes.metrics().probed(&name, is_well);
            }
            probed
        });
        let mut probed = Probed::default();
        for result in futures::future::join_all(probes).await {
            match result? {
                Some(true) => probed.succeeded += 1,
                Some(false) => probed.failed += 1,
                None => {}
            }
        }
        Ok(probed)
    }

    /// Probes until `stop`; a probe under way is given up.
    pub async fn run(&self, stop: CancellationToken) {
        let probing = super::every(INTERVAL, stop.clone(), "the prober", || async {
            self.tick().await.map(drop)
        });
        stop.run_until_cancelled(probing).await;
    }
}

/// Probes one provider, if that is granted; tells whether it gave a picture.
async fn probe(provider: Arc<dyn Provider>, guard: Arc<Guard>) -> Result<Option<bool>, StoreError> {
    let Ok(permit) = guard.acquire(Purpose::Probe).await? else {
        return Ok(None);
    };
    let mut pass = Pass::new(provider, permit);
    let id = format!("probe-{}", Uuid::new_v4().simple());
    let timeout = pass.begin(&id, guard.options().timeout.ceiling);
    let stop = CancellationToken::new();
    let drawing = draw(pass.provider.clone(), call(id, pass.provider.as_ref(), stop.clone()).await);
    tokio::pin!(drawing);
    let drawn = match tokio::time::timeout(timeout, &mut drawing).await {
        Ok(drawn) => drawn,
        Err(_) => {
            stop.cancel();
            drop(tokio::time::timeout(STOP_GRACE, drawing).await);
            Err(Failure::new(ErrorCode::Timeout, "the provider did not answer in time"))
        }
    };
    match drawn {
        Ok(()) => pass.succeeded(&Usage::default()).await,
        Err(failure) => {
            pass.failed(&failure).await;
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

/// Asks for what a user gets who names no size: every model can draw that. A model that draws nothing
/// without a picture to start from gets a plain one.
async fn call(id: String, provider: &dyn Provider, stop: CancellationToken) -> Call {
    let mut input = FrameInput { steps: STEPS, seed: Some(1), ..FrameInput::new(PROMPT) };
    let abilities = provider.abilities();
    if let Some(size) = abilities.size_default() {
        (input.width, input.height) = size;
    }
    let mut source = None;
    if abilities.image_needed {
        // What could not be painted is missed by the adapter, in its own words.
        let picture = convert::plain(input.width, input.height, GREY).await.ok();
        source = picture.map(|picture| Source { picture, mask: None, strength: STRENGTH });
    }
    let handed_on = CancellationToken::new();
    Call { id, input, source, attempt: 1, checkpoint: None, stop, handed_on }
}

/// Makes the call; a picture that decodes is a success, whatever its size.
async fn draw(provider: Arc<dyn Provider>, call: Call) -> Result<(), Failure> {
    let (sender, mut updates) = mpsc::channel(UPDATES_MAX);
    let look = async {
        let mut drawn = None;
        while let Some(update) = updates.recv().await {
            if let Update::Frame { picture, .. } = update {
                drawn = Some(picture);
            }
        }
        drawn
    };
    let (ended, drawn) = tokio::join!(provider.generate(call, sender), look);
    ended?;
    let Some(picture) = drawn else {
        return Err(Failure::new(ErrorCode::Unknown, "the provider sent no picture"));
    };
    picture_check::check(picture, None).await.map(drop)
}
