//! Replicate: predictions of models that anybody publishes.
//!
//! Comes in: a call. Goes out: one prediction per frame, looked at until it is done. What a
//! model takes differs from model to model, so the settings write the input out.
//!
//! A prediction's name is the checkpoint: an attempt that follows a lost worker goes on looking at
//! the same one. Outputs live for an hour, so they are fetched at once.
//!
//! Source: Replicate's HTTP API reference, its rate limits and its prediction errors.

use framewire_shared::domain::{Failure, OutputFormat, Usage};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fetch::{FetchOptions, Fetcher};
use super::http::{Answer, Http, Misconfigured};
use super::remote::{Look, Remote, Service, percent_of};
use super::verdict::{Told, Verdict, wait_in_words, words_of};
use super::written::{SizeFields, Written};
use super::{Call, Picture, convert};

/// Largest picture that goes into a prediction's input itself; larger ones are uploaded.
const DATA_URL_BYTES_MAX: usize = 256 * 1024;
/// Length of a version's name, in hex digits.
const VERSION_CHARS: usize = 64;

/// How Replicate is used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicateOptions {
    /// Names the provider in events and logs.
    pub name: String,
    /// Where the API is, with its version.
    #[serde(default = "base_url_default")]
    pub base_url: String,
    /// The API token.
    #[serde(default)]
    pub key: Option<SecretString>,
    /// What draws: `owner/name` of an official model, `owner/name:version` or a version of any, or
    /// `deployments/owner/name`.
    pub model: String,
    /// The input of a prediction, with places like `"$prompt"` in it: prompt, negative_prompt,
    /// width, height, steps, seed, format, image, mask, strength.
    pub input: Map<String, Value>,
    /// The sizes that the model draws, like `1024x768`, and further input for each; any when empty.
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
    "https://api.replicate.com/v1".into()
}

/// Of FLUX; models that know a smaller one know this too.
fn side_step_px_default() -> u32 {
    16
}

/// Asks Replicate.
pub type Replicate = Service<Api>;

/// Replicate's API.
#[derive(Debug)]
pub struct Api {
    http: Http,
    fetcher: Fetcher,
    written: Written,
    /// Where predictions are created, and the version where the path does not say it.
    path: String,
    version: Option<String>,
}

impl Service<Api> {
    /// Makes the provider; nothing is sent.
    pub fn new(options: ReplicateOptions) -> Result<Self, Misconfigured> {
        let (path, version) = read_model(&options.model)
            .ok_or(Misconfigured::Option("model", "it is no model, version or deployment"))?;
        let bearer = |key: SecretString| format!("Bearer {}", key.expose_secret()).into();
        let http =
            Http::new(&options.base_url, options.key.map(|key| ("authorization", bearer(key))))?;
        let fetcher = Fetcher::new(options.fetch, &http)?;
        let written = Written::new(options.input, options.sizes, options.side_step_px)?;
        Ok(Self::of(options.name, Api { http, fetcher, written, path, version }))
    }
}

impl Remote for Api {
    fn written(&self) -> &Written {
        &self.written
    }

    fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    fn format(&self, call: &Call) -> &'static str {
        match call.input.output_format {
            OutputFormat::Png => "png",
            OutputFormat::Webp => "webp",
            OutputFormat::Jpeg => "jpg",
        }
    }

    async fn address(&self, picture: &Picture) -> Result<String, Failure> {
        let data_url = convert::to_data_url(picture);
        if data_url.len() <= DATA_URL_BYTES_MAX {
            return Ok(data_url);
        }
        let length = picture.bytes.len() as u64;
        let part = Part::stream_with_length(picture.bytes.clone(), length)
            .file_name(format!("picture.{}", picture.media_type.extension()))
            .mime_str(picture.media_type.as_str())
            .map_err(|error| Verdict::Refused.failure().detail(error.to_string()))?;
        let request = self.http.request(Method::POST, "files");
        let answer = self.http.ask(request.multipart(Form::new().part("content", part))).await?;
        if !answer.is_success() {
            return Err(self.refusal(&answer));
        }
        let file = answer.json::<File>();
        file.map(|file| file.urls.get).ok_or_else(|| self.http.nonsense(&answer, "not a file"))
    }

    async fn create(&self, input: Map<String, Value>) -> Result<String, Failure> {
        let mut body = json!({ "input": input });
        if let Some(version) = &self.version {
            body["version"] = json!(version);
        }
        let answer = self.http.ask(self.http.request(Method::POST, &self.path).json(&body)).await?;
        if !answer.is_success() {
            return Err(match answer.status {
                404 => self.http.failure(Verdict::NoModel, self.told(&answer)),
                _ => self.refusal(&answer),
            });
        }
        let prediction = answer.json::<Prediction>();
        let id = prediction.map(|prediction| prediction.id).filter(|id| !id.is_empty());
        id.ok_or_else(|| self.http.nonsense(&answer, "not a prediction"))
    }

    async fn look(&self, id: &str) -> Result<Look, Failure> {
        let path = format!("predictions/{id}");
        let answer = self.http.ask(self.http.request(Method::GET, &path)).await?;
        if answer.status == 404 {
            return Ok(Look::Gone);
        }
        if !answer.is_success() {
            return Err(self.refusal(&answer));
        }
        let Some(prediction) = answer.json::<Prediction>() else {
            return Err(self.http.nonsense(&answer, "not a prediction"));
        };
        let told = |message: &str| Told {
            message: message.into(),
            request_id: Some(id.into()),
            ..Told::default()
        };
        let fail = |verdict, told| Ok(Look::Failed(self.http.failure(verdict, told)));
        match prediction.status.as_str() {
            "succeeded" if prediction.data_removed => Ok(Look::Gone),
            "succeeded" => match address_in(&prediction.output) {
                Some(address) => {
                    let address = address.into();
                    let predict_s = prediction.metrics.unwrap_or_default().predict_time;
                    let usage = Usage { predict_s, ..Usage::default() };
                    Ok(Look::Done { address, seed: None, usage })
                }
                None => fail(Verdict::Nonsense, told("a success without an output")),
            },
            "failed" => {
                let error = prediction.error.as_ref().map(words_of).unwrap_or_default();
                let (code, verdict) = read_error(&error);
                fail(verdict, Told { code: code.map(str::to_owned), ..told(&error) })
            }
            // Its own deadline passed before it began.
            "aborted" => fail(Verdict::NeverRan, told("aborted before it began")),
            "canceled" => fail(Verdict::Down, told("somebody else cancelled it")),
            _ => Ok(Look::Pending(percent_of(prediction.logs.iter().map(String::as_str)))),
        }
    }

    async fn cancel(&self, id: &str) -> Result<(), Failure> {
        let path = format!("predictions/{id}/cancel");
        let answer = self.http.ask(self.http.request(Method::POST, &path)).await?;
        if answer.is_success() || answer.status == 404 {
            Ok(())
        } else {
            Err(self.refusal(&answer))
        }
    }
}

impl Api {
    fn refusal(&self, answer: &Answer) -> Failure {
        self.http.failure(Verdict::of_status(answer.status), self.told(answer))
    }

    /// Reads a problem document (RFC 9457).
    fn told(&self, answer: &Answer) -> Told {
        let mut told = answer.told();
        if let Some(problem) = answer.json::<Problem>() {
            told.message =
                [problem.title, problem.detail].map(Option::unwrap_or_default).join(": ");
        }
        told.retry_after = told.retry_after.or_else(|| wait_in_words(&told.message));
        told
    }
}

/// What a failed prediction's prose means, by words in it.
const ERRORS: [(&str, Verdict); 8] = [
    ("NSFW", Verdict::Policy),
    ("flagged as sensitive", Verdict::Policy),
    ("E005", Verdict::Policy),
    ("E1001", Verdict::Memory),
    ("out of memory", Verdict::Memory),
    ("E1000", Verdict::Down),
    ("E6716", Verdict::Down),
    ("director: unexpected error", Verdict::Down),
];

fn read_error(error: &str) -> (Option<&'static str>, Verdict) {
    match ERRORS.into_iter().find(|(words, _)| error.contains(words)) {
        Some((words, verdict)) => (Some(words), verdict),
        // The model's own check of its input.
        None if error.starts_with("ValueError") => (Some("ValueError"), Verdict::Refused),
        None => (None, Verdict::Nonsense),
    }
}

/// Reads which model is meant: the path that creates its predictions, and a version.
fn read_model(model: &str) -> Option<(String, Option<String>)> {
    let is_version =
        |text: &str| text.len() == VERSION_CHARS && text.chars().all(|c| c.is_ascii_hexdigit());
    let any = || "predictions".to_owned();
    if is_version(model) {
        return Some((any(), Some(model.to_owned())));
    }
    if let Some((_, version)) = model.split_once(':') {
        return is_version(version).then(|| (any(), Some(version.to_owned())));
    }
    match model.split('/').collect::<Vec<_>>()[..] {
        ["deployments", owner, name] => {
            Some((format!("deployments/{owner}/{name}/predictions"), None))
        }
        [owner, name] if !owner.is_empty() && !name.is_empty() => {
            Some((format!("models/{owner}/{name}/predictions"), None))
        }
        _ => None,
    }
}

/// Finds the first address in an output: a text, a list, or an object of them.
fn address_in(output: &Value) -> Option<&str> {
    match output {
        Value::String(text) if text.starts_with("http") || text.starts_with("data:") => Some(text),
        Value::Array(items) => items.iter().find_map(address_in),
        Value::Object(fields) => fields.values().find_map(address_in),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Prediction {
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    output: Value,
    error: Option<Value>,
    logs: Option<String>,
    #[serde(default)]
    data_removed: bool,
    metrics: Option<Metrics>,
}

/// What a prediction is billed by, for most models.
#[derive(Default, Deserialize)]
struct Metrics {
    predict_time: Option<f64>,
}

#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct File {
    urls: FileUrls,
}

#[derive(Deserialize)]
struct FileUrls {
    get: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_model_a_version_or_a_deployment() {
        let version = "5c7d5dc6".repeat(8);
        let any = Some(("predictions".to_owned(), Some(version.clone())));
        assert_eq!(read_model(&version), any);
        assert_eq!(read_model(&format!("stability-ai/sdxl:{version}")), any);
        let official = read_model("black-forest-labs/flux-schnell").unwrap().0;
        assert_eq!(official, "models/black-forest-labs/flux-schnell/predictions");
        assert_eq!(read_model("deployments/me/mine").unwrap().0, "deployments/me/mine/predictions");
        for bad in ["", "flux", "a/b/c", "a/b:latest", "/b"] {
            assert_eq!(read_model(bad), None, "{bad}");
        }
    }
}
