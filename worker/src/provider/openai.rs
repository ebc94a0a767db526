//! The OpenAI images API, and everything that speaks it: LocalAI, LiteLLM, Azure's `/openai/v1`.
//!
//! Comes in: a call. Goes out: one request for all of its frames, generations from nothing and
//! edits from a picture; where a single frame is asked of a GPT image model it is streamed, and its
//! partial pictures become previews. Frames come as base64 or as addresses.
//!
//! The API has no name for a request of ours and no way back to a lost answer, so there is no
//! checkpoint: what was sent and not answered may have been paid for, and is sent again only once.
//! It knows neither steps nor seeds; a frame tells the seed that was asked for.
//!
//! Source: OpenAI's API reference, "Images", and its error codes guide.

use std::borrow::Cow;
use std::collections::BTreeMap;

use framewire_shared::domain::{Abilities, Failure, FrameInput, Resend, Usage};
use futures::future::BoxFuture;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::duty::{outcome, plain_prompt, refuse_impossible, seed_of, tell, until_stopped};
use super::fetch::{FetchOptions, Fetcher};
use super::http::{Answer, Http, Misconfigured, TEXT_BYTES_MAX};
use super::verdict::{Told, Verdict, verdict_of, wait_in_words};
use super::{Call, Picture, Provider, Source, Update, Updates, convert};

/// Looks at an unfinished frame that are asked of a GPT image model where the settings don't say.
const PARTIAL_IMAGES_DEFAULT: u8 = 2;
/// Most looks that the API gives.
const PARTIAL_IMAGES_MAX: u8 = 3;

/// How an OpenAI images API is used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiOptions {
    /// Names the provider in events and logs.
    pub name: String,
    /// Where the API is, with its version: `images/generations` is put behind it.
    #[serde(default = "base_url_default")]
    pub base_url: String,
    /// The API key; a local server may need none.
    #[serde(default)]
    pub key: Option<SecretString>,
    /// The provider's name of the model.
    pub model: String,
    /// Whose account is billed, where a key serves several.
    #[serde(default)]
    pub organization: Option<String>,
    /// Which project of the account is billed.
    #[serde(default)]
    pub project: Option<String>,
    /// Further headers, like `api-key` of Azure.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// Further fields of every request, like `quality` or `moderation`.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// Looks at an unfinished frame, 0 to 3; each is billed. 2 for GPT image models when absent,
    /// none for others.
    #[serde(default)]
    pub partial_images: Option<u8>,
    /// What outputs may be fetched.
    #[serde(default)]
    pub fetch: FetchOptions,
}

fn base_url_default() -> String {
    "https://api.openai.com/v1".into()
}

/// Asks an OpenAI images API.
#[derive(Debug)]
pub struct OpenAi {
    options: OpenAiOptions,
    abilities: Abilities,
    http: Http,
    fetcher: Fetcher,
}

impl OpenAi {
    /// Makes the provider; nothing is sent.
    pub fn new(options: OpenAiOptions) -> Result<Self, Misconfigured> {
        if options.partial_images.is_some_and(|images| images > PARTIAL_IMAGES_MAX) {
            return Err(Misconfigured::Option("partial_images", "it must be 0 to 3"));
        }
        let bearer = |key: &SecretString| format!("Bearer {}", key.expose_secret()).into();
        let plain = |text: &String| SecretString::from(text.as_str());
        let known = [
            ("authorization", options.key.as_ref().map(bearer)),
            ("openai-organization", options.organization.as_ref().map(plain)),
            ("openai-project", options.project.as_ref().map(plain)),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let more = options.headers.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let http = Http::new(&options.base_url, known.chain(more))?;
        let fetcher = Fetcher::new(options.fetch, &http)?;
        Ok(Self { abilities: Abilities::openai(&options.model), options, http, fetcher })
    }

    async fn draw(&self, call: &Call, updates: &Updates) -> Result<(), Failure> {
        refuse_impossible(&self.abilities, call)?;
        let partial_images = self.partial_images(&call.input);
        let fields = self.fields(&call.input, partial_images);
        let request = match &call.source {
            None => self.http.request(Method::POST, "images/generations").json(&fields),
            Some(source) => self.edit(fields, source).await?,
        };
        let response = self.http.open(request).await?;
        if response.status().is_success() && is_event_stream(&response) {
            return self.follow(response, call, partial_images, updates).await;
        }
        let pictures = call.input.n as usize * convert::BASE64_BYTES_MAX;
        let answer = self.http.read(response, TEXT_BYTES_MAX + pictures).await?;
        self.take(&answer, call, updates).await
    }

    /// Tells how many looks are asked for. A look does not say at which frame of several.
    fn partial_images(&self, input: &FrameInput) -> u8 {
        let default = if self.is_gpt() { PARTIAL_IMAGES_DEFAULT } else { 0 };
        if input.n == 1 { self.options.partial_images.unwrap_or(default) } else { 0 }
    }

    fn is_gpt(&self) -> bool {
        self.options.model.starts_with("gpt-image")
    }

    /// Gives the fields that generations and edits share. Models refuse fields that
    /// they don't know, so each is sent only what its family documents.
    fn fields(&self, input: &FrameInput, partial_images: u8) -> Map<String, Value> {
        let mut fields = self.options.extra.clone();
        let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        set("model", json!(self.options.model));
        set("prompt", json!(plain_prompt(&input.prompt)));
        set("n", json!(input.n));
        set("size", json!(format!("{}x{}", input.width, input.height)));
        if self.is_gpt() {
            set("output_format", json!(input.output_format));
        }
        if self.options.model.starts_with("dall-e") {
            set("response_format", json!("b64_json"));
        }
        if partial_images > 0 {
            set("stream", json!(true));
            set("partial_images", json!(partial_images));
        }
        fields
    }

    /// Makes an edit: the fields as text, the picture and the mask as files.
    async fn edit(
        &self,
        fields: Map<String, Value>,
        source: &Source,
    ) -> Result<RequestBuilder, Failure> {
        let mut form = Form::new().part("image", file("image", source.picture.clone())?);
        if let Some(mask) = source.mask.clone() {
            form = form.part("mask", file("mask", convert::see_through(mask).await?)?);
        }
        for (name, value) in fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            form = form.text(name, text);
        }
        Ok(self.http.request(Method::POST, "images/edits").multipart(form))
    }

    /// Takes the frames of an answer that came as a whole.
    async fn take(&self, answer: &Answer, call: &Call, updates: &Updates) -> Result<(), Failure> {
        // A front may tell of an error behind a 200 that it had begun before.
        if !answer.is_success() || answer.json::<Fault>().is_some() {
            return Err(self.refusal(answer));
        }
        let Some(images) = answer.json::<Images>() else {
            return Err(self.http.nonsense(answer, "not what an answer looks like"));
        };
        tell_usage(images.usage, updates).await;
        // Fewer than were asked for are taken; the runner names those that are missing.
        if images.data.is_empty() || images.data.len() > call.input.n as usize {
            let what = format!("{} pictures instead of {}", images.data.len(), call.input.n);
            return Err(self
                .http
                .failure(Verdict::Nonsense, Told { message: what, ..answer.told() }));
        }
        for (image, index) in images.data.iter().zip(0..) {
            let picture = self.picture(answer, image, call).await;
            let drawn = picture.map(|picture| (seed_of(&call.input, index), picture));
            tell(updates, outcome(&call.input, index, drawn)?).await;
        }
        Ok(())
    }

    /// Takes one frame of an answer.
    async fn picture(
        &self,
        answer: &Answer,
        image: &Image,
        call: &Call,
    ) -> Result<Picture, Failure> {
        let bytes = match (&image.b64_json, &image.url) {
            (Some(text), _) => convert::from_base64(text)?,
            (None, Some(url)) => self.fetcher.bytes(url).await?,
            (None, None) => return Err(self.http.nonsense(answer, "a picture without bytes")),
        };
        convert::frame(bytes, call.input.output_format).await
    }

    /// Follows a stream to its finished frame.
    async fn follow(
        &self,
        response: Response,
        call: &Call,
        partial_images: u8,
        updates: &Updates,
    ) -> Result<(), Failure> {
        let request_id = request_id(&response);
        let pictures = usize::from(partial_images) + 1;
        let bytes_max = TEXT_BYTES_MAX + pictures * convert::BASE64_BYTES_MAX;
        let mut events = Http::events(response, bytes_max);
        let steps = u32::from(partial_images) + 1;
        let mut step = 0;
        while let Some(event) = Http::next_event(&mut events).await? {
            let russe::Event::Message(message) = event else { continue };
            // What is not JSON is a sign of life or the end's mark.
            let Ok(event) = serde_json::from_str::<StreamEvent>(&message.data) else { continue };
            if let Some(fault) = event.error {
                return Err(self.fault_failure(fault, Told { request_id, ..Told::default() }));
            }
            let kind = event.kind.as_deref().or(message.event.as_deref()).unwrap_or_default();
            let Some(text) = event.b64_json else { continue };
            if kind.ends_with(".completed") {
                tell_usage(event.usage, updates).await;
                let bytes = convert::from_base64(&text)?;
                let picture = convert::frame(bytes, call.input.output_format).await?;
                let seed = seed_of(&call.input, 0);
                tell(updates, Update::Frame { index: 0, seed, picture }).await;
                return Ok(());
            }
            if kind.ends_with(".partial_image") && step < u32::from(partial_images) {
                step += 1;
                tell(updates, Update::Progress { step, steps }).await;
                // A look that can't be read is no reason to lose the frame.
                if let Ok(picture) = convert::from_base64(&text).and_then(convert::as_it_is) {
                    tell(updates, Update::Preview { index: 0, step, picture }).await;
                }
            }
        }
        let told = Told { message: "the stream ended early".into(), request_id, ..Told::default() };
        Err(self.http.failure(Verdict::Cut, told))
    }

    /// Makes the failure of an answer that is one.
    fn refusal(&self, answer: &Answer) -> Failure {
        let told = answer.told();
        let mut failure = match answer.json::<Fault>() {
            Some(fault) => self.fault_failure(fault.error, told),
            None => self.http.failure(Verdict::of_status(answer.status), told),
        };
        // The API knows of some failures that a second try is in vain.
        if answer.header("x-should-retry") == Some("false") {
            failure.resend = Resend::Never;
        }
        failure
    }

    fn fault_failure(&self, fault: FaultBody, mut told: Told) -> Failure {
        let (kind, code, message) = match fault {
            FaultBody::Text(message) => (None, None, message),
            FaultBody::Object { kind, code, message } => {
                // Some fronts send the status as the code.
                let code = code.map(|code| code.as_str().map_or(code.to_string(), str::to_owned));
                (kind, code, message.unwrap_or_default())
            }
        };
        let words = [code.as_deref(), kind.as_deref()];
        let by_code = words.into_iter().flatten().find_map(|word| verdict_of(&CODES, word));
        let verdict = match by_code {
            Some(verdict) => verdict,
            None if message.starts_with(REJECTED) => Verdict::Policy,
            None => Verdict::of_status(told.status.unwrap_or(status_of(words))),
        };
        told.retry_after = told.retry_after.or_else(|| wait_in_words(&message));
        told.code = code.or(kind);
        told.message = message;
        self.http.failure(verdict, told)
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn abilities(&self) -> Abilities {
        self.abilities.clone()
    }

    fn generate(&self, call: Call, updates: Updates) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { until_stopped(&call, self.draw(&call, &updates)).await })
    }
}

/// What the API's codes and types mean, whatever the HTTP status; codes are looked up first.
const CODES: [(&str, Verdict); 18] = [
    ("insufficient_quota", Verdict::Unpaid),
    ("credit_balance_exhausted", Verdict::Unpaid),
    ("organization_spend_limit_exceeded", Verdict::Unpaid),
    ("project_spend_limit_exceeded", Verdict::Unpaid),
    ("organization_usage_limit_exceeded", Verdict::Unpaid),
    ("billing_hard_limit_reached", Verdict::Unpaid),
    ("rate_limit_exceeded", Verdict::Throttled),
    ("rate_limit_error", Verdict::Throttled),
    ("slow_down", Verdict::Throttled),
    ("moderation_blocked", Verdict::Policy),
    ("content_policy_violation", Verdict::Policy),
    // Azure's words for the same.
    ("content_filter", Verdict::Policy),
    ("contentFilter", Verdict::Policy),
    ("ResponsibleAIPolicyViolation", Verdict::Policy),
    ("invalid_api_key", Verdict::Credentials),
    ("model_not_found", Verdict::NoModel),
    ("DeploymentNotFound", Verdict::NoModel),
    ("server_is_overloaded", Verdict::Down),
];

/// How an older refusal by the content policy begins; it has no code.
const REJECTED: &str = "Your request was rejected as a result of our safety system";

/// Gives the HTTP status that a stream's error would have had.
fn status_of(words: [Option<&str>; 2]) -> u16 {
    let has = |word| words.contains(&Some(word));
    if has("server_error") || has("service_unavailable_error") {
        503
    } else if has("invalid_request_error") || has("image_generation_user_error") {
        400
    } else {
        0
    }
}

/// A body that tells of an error: OpenAI's object, or the string of stable-diffusion.cpp.
#[derive(Deserialize)]
struct Fault {
    error: FaultBody,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FaultBody {
    Text(String),
    Object {
        #[serde(rename = "type")]
        kind: Option<String>,
        code: Option<Value>,
        message: Option<String>,
    },
}

#[derive(Deserialize)]
struct Images {
    #[serde(default)]
    data: Vec<Image>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Image {
    b64_json: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct StreamEvent<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    b64_json: Option<Cow<'a, str>>,
    usage: Option<Value>,
    error: Option<FaultBody>,
}

/// Tells what a request has used; fronts send none, or what is none, and that is no reason to lose a
/// picture.
async fn tell_usage(usage: Option<Value>, updates: &Updates) {
    let usage = usage.and_then(|usage| serde_json::from_value::<Usage>(usage).ok());
    if let Some(usage) = usage.filter(|usage| !usage.is_empty()) {
        tell(updates, Update::Usage(usage)).await;
    }
}

fn file(name: &'static str, picture: Picture) -> Result<Part, Failure> {
    let length = picture.bytes.len() as u64;
    Part::stream_with_length(picture.bytes, length)
        .file_name(format!("{name}.{}", picture.media_type.extension()))
        .mime_str(picture.media_type.as_str())
        .map_err(|error| Verdict::Refused.failure().detail(error.to_string()))
}

fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

fn request_id(response: &Response) -> Option<String> {
    Some(response.headers().get("x-request-id")?.to_str().ok()?.to_owned())
}
