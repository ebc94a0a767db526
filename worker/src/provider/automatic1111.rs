//! AUTOMATIC1111's `/sdapi/v1`, and its relatives: Forge, SD.Next, stable-diffusion.cpp.
//!
//! Comes in: a call. Goes out: one request per frame, so that each is told of when it is done,
//! while beside it the server is asked how far it is and what the picture looks like.
//!
//! The server draws one picture at a time, in one process, and goes on when its client has left. So
//! at the end of an unfinished request it is told to interrupt, by a task of its own that outlives
//! the call; but only if what it draws in that moment is ours, where it says so: the interrupt is
//! global. There is no way back to a lost answer: no checkpoint, and a blind second request once.
//! stable-diffusion.cpp knows neither progress nor interrupt; it is not asked again after a 404.
//!
//! Source: the servers' own `/docs`; Forge's `modules/api`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framewire_shared::domain::{Abilities, Failure, FrameInput, Resend};
use futures::future::BoxFuture;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::duty::{outcome, plain_prompt, refuse_impossible, seed_of, tell, until_stopped};
use super::http::{Answer, Http, Misconfigured, TEXT_BYTES_MAX};
use super::verdict::{Told, Verdict, words_of};
use super::{Call, Picture, Provider, Source, Update, Updates, convert};

/// How often the server is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks at one unfinished frame: each is stored, and the server draws less while it encodes one.
const PREVIEWS_MAX: u32 = 4;
/// Longest time to tell the server to stop.
const INTERRUPT_TIME_MAX: Duration = Duration::from_secs(5);

/// How an AUTOMATIC1111 server is used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Automatic1111Options {
    /// Names the provider in events and logs.
    pub name: String,
    /// Where the server is: `sdapi/v1/txt2img` is put behind it.
    #[serde(default = "base_url_default")]
    pub base_url: String,
    /// User and password as `user:password`, where the server runs with `--api-auth`.
    #[serde(default)]
    pub key: Option<SecretString>,
    /// The checkpoint to draw with; what the server has loaded when absent.
    #[serde(default)]
    pub model: Option<String>,
    /// Further fields of every request, like `sampler_name` or `cfg_scale`.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

fn base_url_default() -> String {
    "http://127.0.0.1:7860".into()
}

/// Asks an AUTOMATIC1111 server.
#[derive(Debug)]
pub struct Automatic1111 {
    options: Automatic1111Options,
    http: Arc<Http>,
}

impl Automatic1111 {
    /// Makes the provider; nothing is sent.
    pub fn new(options: Automatic1111Options) -> Result<Self, Misconfigured> {
        let basic =
            |key: &SecretString| format!("Basic {}", STANDARD.encode(key.expose_secret())).into();
        let auth = options.key.as_ref().map(|key| ("authorization", basic(key)));
        let password = options.key.as_ref().and_then(|key| key.expose_secret().split_once(':'));
        let password = password.map(|(_, password)| SecretString::from(password));
        let http = Http::new(&options.base_url, auth)?.hiding(password.as_ref());
        Ok(Self { options, http: Arc::new(http) })
    }

    async fn draw(&self, call: &Call, updates: &Updates) -> Result<(), Failure> {
        refuse_impossible(&Abilities::automatic1111(), call)?;
        for index in 0..call.input.n {
            let path = if call.source.is_some() { "sdapi/v1/img2img" } else { "sdapi/v1/txt2img" };
            let frame = Frame { index, task: format!("{}-{index}", call.id), call };
            let unfinished = Interrupt { http: Some(self.http.clone()), task: frame.task.clone() };
            let post = async {
                let request = self.http.request(Method::POST, path).json(&self.body(&frame));
                let response = self.http.open(request).await?;
                self.http.read(response, TEXT_BYTES_MAX + convert::BASE64_BYTES_MAX).await
            };
            let answer = tokio::select! {
                answer = post => answer,
                never = self.watch(&frame, updates) => match never {},
            };
            // A server that has answered, or was never reached, draws nothing for us any more; one
            // whose proxy has lost its patience does.
            let drawing = match &answer {
                Ok(answer) => Verdict::of_status(answer.status) == Verdict::Slow,
                Err(failure) => failure.resend != Resend::Freely,
            };
            if !drawing {
                unfinished.disarm();
            }
            let answer = answer?;
            let drawn = self.take(&answer, &frame).await;
            tell(updates, outcome(&call.input, index, drawn)?).await;
        }
        Ok(())
    }

    fn body(&self, frame: &Frame<'_>) -> Map<String, Value> {
        let input = &frame.call.input;
        let mut body = self.options.extra.clone();
        let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        set("prompt", json!(plain_prompt(&input.prompt)));
        set("negative_prompt", json!(plain_prompt(&input.negative_prompt)));
        set("width", json!(input.width));
        set("height", json!(input.height));
        set("steps", json!(input.steps));
        set("seed", json!(seed_of(input, frame.index)));
        set("batch_size", json!(1));
        set("n_iter", json!(1));
        set("force_task_id", json!(frame.task));
        if let Some(model) = &self.options.model {
            set("override_settings", json!({ "sd_model_checkpoint": model }));
        }
        if let Some(Source { picture, mask, strength }) = &frame.call.source {
            set("init_images", json!([convert::to_base64(picture)]));
            set("denoising_strength", json!(strength));
            if let Some(mask) = mask {
                // White is drawn anew, from what was there, in the whole picture.
                set("mask", json!(convert::to_base64(mask)));
                set("inpainting_fill", json!(1));
                set("inpaint_full_res", json!(false));
            }
        }
        body
    }

    /// Tells how far the frame is until it is dropped.
    async fn watch(&self, frame: &Frame<'_>, updates: &Updates) -> Infallible {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await;
        let mut previews = 0;
        let mut told = 0;
        let FrameInput { n, steps, .. } = frame.call.input;
        loop {
            looks.tick().await;
            // A picture is asked for at the end of every part of the way.
            let due = told > 0 && told * (PREVIEWS_MAX + 1) >= steps * (previews + 1);
            let path = format!("sdapi/v1/progress?skip_current_image={}", !due);
            let request = self.http.request(Method::GET, &path);
            let Ok(answer) = self.http.ask(request).await else { continue };
            if answer.status == 404 {
                return std::future::pending().await;
            }
            let Some(progress) = answer.json::<Progress>() else { continue };
            let step = progress.state.step_of(steps);
            if !progress.is_of(&frame.task) || progress.state.job_count == 0 || step <= told {
                continue;
            }
            told = step;
            let done = frame.index * steps + step;
            tell(updates, Update::Progress { step: done, steps: n * steps }).await;
            let picture = progress.current_image.filter(|_| due && previews < PREVIEWS_MAX);
            let picture =
                picture.map(|text| convert::from_base64(&text).and_then(convert::as_it_is));
            if let Some(Ok(picture)) = picture {
                previews += 1;
                tell(updates, Update::Preview { index: frame.index, step, picture }).await;
            }
        }
    }

    /// Takes a frame and its seed out of an answer.
    async fn take(&self, answer: &Answer, frame: &Frame<'_>) -> Result<(u64, Picture), Failure> {
        if !answer.is_success() {
            return Err(self.refusal(answer));
        }
        let Some(drawn) = answer.json::<Drawn>() else {
            return Err(self.http.nonsense(answer, "not what an answer looks like"));
        };
        let Some(image) = drawn.images.first() else {
            let told = Told { message: "no picture".into(), ..answer.told() };
            return Err(self.http.failure(Verdict::Nonsense, told));
        };
        let input = &frame.call.input;
        let picture = convert::frame(convert::from_base64(image)?, input.output_format).await?;
        let seed = drawn.seed().unwrap_or(seed_of(input, frame.index));
        Ok((seed, picture))
    }

    /// Makes the failure of an answer that is one. Bodies are FastAPI's, the server's own, or those
    /// of stable-diffusion.cpp.
    fn refusal(&self, answer: &Answer) -> Failure {
        let mut told = answer.told();
        let fault = answer.json::<Fault>().unwrap_or_default();
        let code = fault.error.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let said = [fault.errors, fault.message, fault.detail.map(|detail| words_of(&detail))];
        let said = said.into_iter().flatten().find(|said| !said.is_empty()).unwrap_or_default();
        let all = format!("{code} {said}");
        let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
        let verdict = match answer.status {
            500 if has(&["OutOfMemory", "out of memory"]) => Verdict::Memory,
            500 if has(&["ValueError", "KeyError"]) => Verdict::Refused,
            // An exception that nobody foresaw, in a server that lives on.
            500 if !code.is_empty() => Verdict::Nonsense,
            status => Verdict::of_status(status),
        };
        if !all.trim().is_empty() {
            told.message = said;
        }
        told.code = Some(code).filter(|code| !code.is_empty());
        self.http.failure(verdict, told)
    }
}

impl Provider for Automatic1111 {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { until_stopped(&call, self.draw(&call, &updates)).await })
    }
}

/// One frame under way.
struct Frame<'a> {
    index: u32,
    /// Our name of the request, where the server lets us choose it.
    task: String,
    call: &'a Call,
}

/// Tells the server to stop drawing when dropped, unless disarmed.
struct Interrupt {
    http: Option<Arc<Http>>,
    task: String,
}

impl Interrupt {
    fn disarm(mut self) {
        self.http = None;
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        let (Some(http), Ok(runtime)) = (self.http.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let task = std::mem::take(&mut self.task);
        runtime.spawn(async move {
            let interrupt = async {
                let path = "sdapi/v1/progress?skip_current_image=true";
                let answer = http.ask(http.request(Method::GET, path)).await?;
                // Between our leaving and now another's picture may have begun.
                let progress = answer.json::<Progress>().filter(|_| answer.is_success());
                if progress.is_some_and(|progress| progress.is_of(&task)) {
                    http.ask(http.request(Method::POST, "sdapi/v1/interrupt")).await?;
                }
                Ok::<_, Failure>(())
            };
            if !matches!(timeout(INTERRUPT_TIME_MAX, interrupt).await, Ok(Ok(()))) {
                tracing::warn!(task, "the provider was not told to stop; it may draw on in vain");
            }
        });
    }
}

#[derive(Deserialize)]
struct Drawn {
    #[serde(default)]
    images: Vec<String>,
    info: Option<Value>,
}

impl Drawn {
    /// Reads the seed that was used from `info`, which is JSON in a string, an object or nothing.
    fn seed(&self) -> Option<u64> {
        match self.info.as_ref()? {
            Value::String(text) => serde_json::from_str::<Value>(text).ok()?.get("seed")?.as_u64(),
            info => info.get("seed")?.as_u64(),
        }
    }
}

#[derive(Deserialize)]
struct Progress {
    #[serde(default)]
    state: ProgressState,
    current_image: Option<String>,
    current_task: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProgressState {
    job_count: i64,
    sampling_step: u32,
    sampling_steps: u32,
}

impl ProgressState {
    /// Gives the step of so many that were asked for; from a picture the server takes fewer.
    fn step_of(&self, steps: u32) -> u32 {
        match self.sampling_steps {
            0 => 0,
            all => (self.sampling_step.min(all) * steps).div_ceil(all),
        }
    }
}

impl Progress {
    /// Tells whether it speaks of our task; a server that names none draws for us alone.
    fn is_of(&self, task: &str) -> bool {
        self.current_task.as_deref().is_none_or(|current| current == task)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fault {
    error: Option<Value>,
    errors: Option<String>,
    message: Option<String>,
    detail: Option<Value>,
}
