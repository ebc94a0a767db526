//! fal: a queue before hosted models.
//!
//! Comes in: a call. Goes out: one queued request per frame, looked at until it is completed, which
//! is also what fal calls a failed one. The settings may write the request out; without that it is
//! the one of FLUX.
//!
//! A request's name is the checkpoint. fal repeats what fails inside of it by itself; we ask it not
//! to, because attempts are counted here. Addresses of a request are built from its name and never
//! taken from an answer, so that the key goes nowhere else.
//!
//! Source: fal's queue reference, its errors page, and its clients' rule for names of apps.

use framewire_shared::domain::{Failure, OutputFormat, Resend, Usage};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fetch::{FetchOptions, Fetcher};
use super::http::{Answer, Http, Misconfigured};
use super::remote::{Look, Remote, Service, percent_of};
use super::verdict::{Told, Verdict, verdict_of, wait_in_words, words_of};
use super::written::{SizeFields, Written};
use super::{Call, Picture, convert};

/// First parts of an app's name that are followed by its owner.
const NAMESPACES: [&str; 2] = ["workflows", "comfy"];

/// How fal is used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FalOptions {
    /// Names the provider in events and logs.
    pub name: String,
    /// Where the queue is.
    #[serde(default = "base_url_default")]
    pub base_url: String,
    /// The API key.
    #[serde(default)]
    pub key: Option<SecretString>,
    /// What draws, like `fal-ai/flux/dev`.
    pub model: String,
    /// The arguments, with places like `"$prompt"` in them: prompt, negative_prompt, width, height,
    /// steps, seed, format, image, mask, strength. Those of FLUX when absent.
    #[serde(default = "input_default")]
    pub input: Map<String, Value>,
    /// The sizes that the model draws, like `1024x768`, and further arguments for each; any when
    /// empty.
    #[serde(default)]
    pub sizes: SizeFields,
    /// Sides are multiples of this, where `sizes` doesn't list them.
    #[serde(default = "side_step_px_default")]
    pub side_step_px: u32,
    /// What outputs may be fetched.
    #[serde(default)]
    pub fetch: FetchOptions,
}

fn base_url_default() -> String {
    "https://queue.fal.run".into()
}

fn input_default() -> Map<String, Value> {
    let input = json!({
        "prompt": "$prompt",
        "image_size": { "width": "$width", "height": "$height" },
        "num_inference_steps": "$steps",
        "seed": "$seed",
        "output_format": "$format",
        "num_images": 1,
    });
    input.as_object().cloned().unwrap_or_default()
}

/// Of FLUX; models that know a smaller one know this too.
fn side_step_px_default() -> u32 {
    16
}

/// Asks fal.
pub type Fal = Service<Api>;

/// fal's queue.
#[derive(Debug)]
pub struct Api {
    http: Http,
    fetcher: Fetcher,
    written: Written,
    /// Where requests are submitted.
    app: String,
    /// Where they are looked at: without the path inside of the app.
    requests: String,
}

impl Service<Api> {
    /// Makes the provider; nothing is sent.
    pub fn new(options: FalOptions) -> Result<Self, Misconfigured> {
        let app = options.model.trim_matches('/').to_owned();
        let parts: Vec<_> = app.split('/').collect();
        let named = if NAMESPACES.contains(&parts[0]) { 3 } else { 2 };
        if parts.len() < named || parts.iter().any(|part| part.is_empty()) {
            return Err(Misconfigured::Option("model", "it looks like owner/app"));
        }
        let requests = format!("{}/requests", parts[..named].join("/"));
        let auth = |key: SecretString| format!("Key {}", key.expose_secret()).into();
        let http =
            Http::new(&options.base_url, options.key.map(|key| ("authorization", auth(key))))?;
        let fetcher = Fetcher::new(options.fetch, &http)?;
        let written = Written::new(options.input, options.sizes, options.side_step_px)?;
        Ok(Self::of(options.name, Api { http, fetcher, written, app, requests }))
    }
}

impl Remote for Api {
    fn written(&self) -> &Written {
        &self.written
    }

    fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Its models encode PNG and JPEG alone.
    fn format(&self, call: &Call) -> &'static str {
        match call.input.output_format {
            OutputFormat::Png | OutputFormat::Webp => "png",
            OutputFormat::Jpeg => "jpeg",
        }
    }

    async fn address(&self, picture: &Picture) -> Result<String, Failure> {
        Ok(convert::to_data_url(picture))
    }

    async fn create(&self, input: Map<String, Value>) -> Result<String, Failure> {
        let request = self.http.request(Method::POST, &self.app).header("x-fal-no-retry", "1");
        let answer = self.http.ask(request.json(&input)).await?;
        if !answer.is_success() {
            return Err(match (self.refusal(&answer), answer.status) {
                (failure, 404) => {
                    Verdict::NoModel.failure().detail(failure.detail).from_provider(failure.origin)
                }
                (failure, _) => failure,
            });
        }
        let submitted = answer.json::<Submitted>();
        let id = submitted.map(|submitted| submitted.request_id);
        id.ok_or_else(|| self.http.nonsense(&answer, "not a submitted request"))
    }

    async fn look(&self, id: &str) -> Result<Look, Failure> {
        let path = format!("{}/{id}/status?logs=1", self.requests);
        let answer = self.http.ask(self.http.request(Method::GET, &path)).await?;
        if answer.status == 404 {
            return Ok(Look::Gone);
        }
        if !answer.is_success() {
            return Err(self.refusal(&answer));
        }
        let Some(status) = answer.json::<Status>() else {
            return Err(self.http.nonsense(&answer, "not a status"));
        };
        if status.status != "COMPLETED" {
            let logs = status.logs.unwrap_or_default();
            return Ok(Look::Pending(percent_of(logs.iter().map(|log| log.message.as_str()))));
        }
        if let Some(kind) = status.error_type {
            let verdict = verdict_of(&ERROR_TYPES, &kind).unwrap_or(Verdict::Nonsense);
            let message = status.error.as_ref().map(words_of).unwrap_or_default();
            let told =
                Told { code: Some(kind), message, request_id: Some(id.into()), ..Told::default() };
            return Ok(Look::Failed(self.http.failure(verdict, told)));
        }
        self.result(id).await
    }

    async fn cancel(&self, id: &str) -> Result<(), Failure> {
        let path = format!("{}/{id}/cancel", self.requests);
        let answer = self.http.ask(self.http.request(Method::PUT, &path)).await?;
        // It may have been completed, or be unknown.
        match answer.status {
            200..300 | 400 | 404 => Ok(()),
            _ => Err(self.refusal(&answer)),
        }
    }
}

impl Api {
    /// Fetches what a completed request has given; its failure is told here at the latest.
    async fn result(&self, id: &str) -> Result<Look, Failure> {
        let path = format!("{}/{id}", self.requests);
        let answer = self.http.ask(self.http.request(Method::GET, &path)).await?;
        if !answer.is_success() {
            let failure = self.refusal(&answer);
            // Without fal's own word for it, it is the way there that failed.
            return if failure.origin.code.is_some() {
                Ok(Look::Failed(failure))
            } else {
                Err(failure)
            };
        }
        let told = |message: &str| Told {
            message: message.into(),
            request_id: Some(id.into()),
            ..answer.told()
        };
        let fail = |verdict, message| Ok(Look::Failed(self.http.failure(verdict, told(message))));
        let Some(drawn) = answer.json::<Drawn>() else {
            return fail(Verdict::Nonsense, "not a result");
        };
        if drawn.has_nsfw_concepts.unwrap_or_default().first() == Some(&true) {
            // What comes with it is a black picture.
            return fail(Verdict::Policy, "has_nsfw_concepts");
        }
        match drawn.images.into_iter().chain(drawn.image).next() {
            Some(image) => {
                let units = answer.header("x-fal-billable-units");
                let billable_units = units.and_then(|units| units.parse().ok());
                let usage = Usage { billable_units, ..Usage::default() };
                Ok(Look::Done { address: image.url, seed: drawn.seed, usage })
            }
            None => fail(Verdict::Nonsense, "a result without a picture"),
        }
    }

    /// Reads both shapes of fal's errors: the platform's and the models'.
    fn refusal(&self, answer: &Answer) -> Failure {
        let mut told = answer.told();
        told.request_id = answer.header("x-fal-request-id").map(str::to_owned);
        if let Some(fault) = answer.json::<Fault>() {
            let first = fault.detail.get(0).and_then(|first| first.get("type")?.as_str());
            told.code = fault.error_type.or(first.map(str::to_owned));
            told.message = words_of(&fault.detail);
        }
        if let Some(kind) = answer.header("x-fal-error-type") {
            told.code = Some(kind.to_owned());
        }
        told.retry_after = told.retry_after.or_else(|| wait_in_words(&told.message));
        let known = told.code.as_deref().and_then(|code| verdict_of(&ERROR_TYPES, code));
        let mut verdict = match known {
            Some(verdict) => verdict,
            None if answer.status == 403 && told.message.contains("balance") => Verdict::Unpaid,
            None => Verdict::of_status(answer.status),
        };
        let retryable = answer.header("x-fal-retryable");
        if retryable == Some("true") && matches!(verdict, Verdict::Refused | Verdict::Nonsense) {
            verdict = Verdict::Down;
        }
        let failure = self.http.failure(verdict, told);
        if retryable == Some("false") { failure.resend(Resend::Never) } else { failure }
    }
}

/// What fal's error types mean. Those of a model's input are read from the HTTP status.
const ERROR_TYPES: [(&str, Verdict); 20] = [
    ("request_timeout", Verdict::Slow),
    ("generation_timeout", Verdict::Slow),
    ("startup_timeout", Verdict::NeverRan),
    ("runner_scheduling_failure", Verdict::Down),
    ("runner_connection_timeout", Verdict::Down),
    ("runner_disconnected", Verdict::Down),
    ("runner_connection_refused", Verdict::Down),
    ("runner_connection_error", Verdict::Down),
    ("runner_incomplete_response", Verdict::Down),
    ("runner_server_error", Verdict::Down),
    ("internal_error", Verdict::Down),
    ("internal_server_error", Verdict::Down),
    ("downstream_service_unavailable", Verdict::Down),
    ("downstream_service_error", Verdict::Refused),
    ("content_policy_violation", Verdict::Policy),
    ("no_media_generated", Verdict::Nonsense),
    ("bad_request", Verdict::Refused),
    ("feature_not_supported", Verdict::Refused),
    ("client_disconnected", Verdict::Nonsense),
    ("client_cancelled", Verdict::Nonsense),
];

#[derive(Deserialize)]
struct Submitted {
    request_id: String,
}

#[derive(Deserialize)]
struct Status {
    status: String,
    logs: Option<Vec<Log>>,
    error: Option<Value>,
    error_type: Option<String>,
}

#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Drawn {
    #[serde(default)]
    images: Vec<Image>,
    image: Option<Image>,
    seed: Option<u64>,
    has_nsfw_concepts: Option<Vec<bool>>,
}

#[derive(Deserialize)]
struct Image {
    url: String,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    detail: Value,
    error_type: Option<String>,
}
