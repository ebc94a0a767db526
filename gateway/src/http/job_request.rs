//! The body of `POST /v1/jobs`: its members, their bounds, and what is told about each.
//!
//! Comes in: bytes, through `extract::parse`, which asks this type what would be right where
//! something is wrong. Goes out: a request of which every member can be stored and drawn.

use actix_web::HttpRequest;
use actix_web::web::{BytesMut, Payload};
use framewire_shared::domain::input::SIDE_DEFAULT_PX;
use framewire_shared::domain::picture::DATA_URI_BYTES_MAX;
use framewire_shared::domain::{FrameInput, InputFault, InputPicture, Place, Priority};
use framewire_shared::service::models::{ModelSettings, Route};
use framewire_shared::service::settings::Settings;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::extract::{self, Body};
use super::intake::{Held, Intake};
use super::openapi::mirror;
use super::problem::Problem;

/// Longest wait for a start that can be asked for, in seconds.
const START_WITHIN_S: std::ops::RangeInclusive<u64> = 1..=86_400;
/// Members of `metadata`.
const METADATA_MEMBERS_MAX: usize = 16;
/// Size of `metadata` as JSON.
const METADATA_BYTES_MAX: usize = 4 * 1024;
/// Members of an input that say all of themselves. With any other a request shares with nobody: what
/// stands behind an address may change, and another session's picture is its own.
const SHARED_MEMBERS: [&str; 11] = [
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "steps",
    "seed",
    "n",
    "output_format",
    "step_ms",
    "fault",
    "fault_attempts",
];

/// A job that is asked for
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"model": "builtin", "input": {"prompt": "a red fox in snow",
    "width": 512, "height": 512, "steps": 20}, "priority": "normal"}))]
pub struct JobRequest {
    /// Who shall draw it, of `GET /v1/models`; the default one when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is to be drawn
    #[schema(value_type = mirror::Input)]
    pub input: FrameInput,
    /// Its class
    #[serde(default)]
    #[schema(value_type = mirror::Priority, default = "normal")]
    pub priority: Priority,
    /// Fails the job if nobody has started it within so many seconds
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub start_within_s: Option<u64>,
    /// Whether the frames may be those of another request for the very same, and may answer others;
    /// what the model's settings say when absent. Only requests with a seed share
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// Your own notes: at most 16 texts, numbers or truths, 4096 bytes together
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Whether a side was named beside an image; the image's own size counts otherwise
    #[serde(skip)]
    #[schema(ignore)]
    pub sized: bool,
}

/// Reads the body: `gateway.body_bytes_max`, and besides as much as data URIs may have. What a body
/// beyond the former holds of this process's memory comes with it.
pub async fn bytes(
    request: &HttpRequest,
    payload: Payload,
    settings: &Settings,
    intake: &Intake,
) -> Result<(BytesMut, Held), Problem> {
    let plain_max = settings.gateway.body_bytes_max;
    let mut held = intake.begin();
    let grow = |length| if length > plain_max { held.grow_to(length) } else { Ok(()) };
    let bytes = extract::bytes(request, payload, plain_max + 2 * DATA_URI_BYTES_MAX, grow).await?;
    if bytes.len() > plain_max + data_uri_bytes(&bytes) {
        return Err(extract::too_large(plain_max));
    }
    extract::refuse_other_types(request)?;
    Ok((bytes, held))
}

/// Tells how many bytes of a body are data URIs in the places that may have one.
fn data_uri_bytes(body: &[u8]) -> usize {
    #[derive(Default, Deserialize)]
    struct Pictures<'a> {
        #[serde(borrow, default)]
        image: Option<&'a RawValue>,
        #[serde(borrow, default)]
        mask: Option<&'a RawValue>,
    }
    #[derive(Default, Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        input: Pictures<'a>,
    }
    let Request { input } = serde_json::from_slice(body).unwrap_or_default();
    let texts = [input.image, input.mask].into_iter().flatten().map(RawValue::get);
    texts.filter(|text| text.starts_with("\"data:")).map(str::len).sum()
}

impl JobRequest {
    /// Finds the model that is asked for, and where it runs.
    pub fn resolve<'a>(&self, settings: &'a Settings) -> Option<(&'a str, &'a ModelSettings)> {
        settings.models.find(self.model.as_deref())
    }

    /// Digests a request as it was understood, so that spaces and order of members don't matter.
    pub fn digest(&self) -> String {
        digest_of(self)
    }

    /// Digests what is to be drawn, and by whom; `None` for a request that shares with nobody.
    ///
    /// To be called before a seed is drawn for it: two requests without one want two pictures.
    pub fn fingerprint(&self, name: &str, model: &ModelSettings) -> Option<String> {
        if !self.cache.unwrap_or(model.cache) || self.input.seed.is_none() {
            return None;
        }
        let Ok(Value::Object(input)) = serde_json::to_value(&self.input) else {
            return None;
        };
        if !input.keys().all(|member| SHARED_MEMBERS.contains(&member.as_str())) {
            return None;
        }
        // Settings change: another provider draws another picture.
        let route = |route: &Route| (route.provider.clone(), route.model.clone());
        let routes: Vec<_> = model.routes.iter().map(route).collect();
        Some(digest_of(&(&model.pool, name, routes, input)))
    }
}

/// Gives the SHA-256 of something as JSON, in hex.
fn digest_of(value: &impl Serialize) -> String {
    use std::fmt::Write;
    let text = serde_json::to_vec(value).unwrap_or_else(|error| unreachable!("{error}"));
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Tells whether a body names a side; one that can't be read has been refused before.
fn names_a_size(body: &[u8]) -> bool {
    #[derive(Default, Deserialize)]
    struct Sides {
        width: Option<IgnoredAny>,
        height: Option<IgnoredAny>,
    }
    #[derive(Default, Deserialize)]
    struct Request {
        input: Sides,
    }
    let Request { input } = serde_json::from_slice(body).unwrap_or_default();
    input.width.is_some() || input.height.is_some()
}

/// Tells which model a body asks for, whatever else is wrong with it.
pub fn model_of_refused<'a>(
    body: &[u8],
    settings: &'a Settings,
) -> Option<(&'a str, &'a ModelSettings)> {
    #[derive(Deserialize)]
    struct Named {
        model: Option<String>,
    }
    let named: Named = serde_json::from_slice(body).ok()?;
    settings.models.find(named.model.as_deref())
}

impl Body for JobRequest {
    const REQUIRED: &'static [&'static str] = &["/input", "/input/prompt"];

    fn expected(pointer: &str) -> Option<&'static str> {
        Some(match pointer {
            "/model" => "the name of a model, as text",
            "/input" => "an object with at least a `prompt`",
            "/input/prompt" => "a text of 1 to 4000 characters",
            "/input/negative_prompt" => "a text of at most 4000 characters",
            "/input/width" | "/input/height" => {
                "a whole number without quotes, a multiple of 8 from 64 to 2048"
            }
            "/input/steps" => "a whole number from 1 to 50",
            "/input/seed" => "a whole number from 0 to 9007199254740991",
            "/input/n" => "a whole number from 1 to 4",
            "/input/image" | "/input/mask" => {
                "a file id of POST /v1/files, the URL of a frame of yours, an https:// URL or a \
                 data:image/…;base64 URI"
            }
            "/input/strength" => "a number over 0, at most 1",
            "/input/output_format" => "png, webp or jpeg",
            "/input/step_ms" => "a whole number from 0 to 5000",
            "/input/fault" => {
                "temporary, permanent, rate_limit, auth, hang, garbage, slow_body or one_frame"
            }
            "/input/fault_attempts" => "a whole number from 0",
            "/priority" => "high, normal or low",
            "/start_within_s" => "a whole number of seconds from 1 to 86400",
            "/cache" => "true or false",
            "/metadata" => "an object",
            _ => return None,
        })
    }

    fn placeholder(pointer: &str) -> Value {
        match pointer {
            "/input" => Value::Object(Map::from_iter([("prompt".to_owned(), "x".into())])),
            _ => "x".into(),
        }
    }

    /// Gives a request without a size the one that its model draws by default, before anything is
    /// stored or compared.
    fn complete(&mut self, body: &[u8], settings: &Settings) {
        if self.input.image.is_some() {
            self.sized = names_a_size(body);
        }
        let size = self.resolve(settings).and_then(|(_, model)| model.abilities.size_default());
        let Some(size) = size.filter(|size| *size != (SIDE_DEFAULT_PX, SIDE_DEFAULT_PX)) else {
            return;
        };
        if !names_a_size(body) {
            (self.input.width, self.input.height) = size;
        }
    }

    fn check(&self, settings: &Settings) -> Vec<InputFault> {
        let mut faults = self.input.check();
        if let Some((_, model)) = self.resolve(settings) {
            // What nobody can do is said once.
            if faults.is_empty() {
                faults = model.abilities.faults(&self.input);
                if self.input.image.is_none() {
                    faults.extend(model.abilities.sourceless_faults());
                }
            }
        } else {
            let names = settings.models.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let fault = if self.model.is_some() { "is not known here" } else { "is missing" };
            faults.push(InputFault::new("#/model", format!("{fault}; the models are: {names}")));
        }
        for place in Place::ALL {
            if let Some(InputPicture::Address(address)) = self.input.picture(place)
                && !address.starts_with("https://")
                && !settings.inputs.allow_http
            {
                faults.push(InputFault::new(place.pointer(), "must begin with https://"));
            }
        }
        if self.input.fault.is_some() && !settings.builtin.faults {
            let detail = "is for tests; it needs builtin.faults = true in the settings";
            faults.push(InputFault::new("#/input/fault", detail));
        }
        if let Some(seconds) = self.start_within_s
            && !START_WITHIN_S.contains(&seconds)
        {
            let (min, max) = (START_WITHIN_S.start(), START_WITHIN_S.end());
            let detail = format!("must be {min} to {max} seconds, but is {seconds}");
            faults.push(InputFault::new("#/start_within_s", detail));
        }
        check_metadata(&mut faults, &self.metadata);
        faults
    }
}

fn check_metadata(faults: &mut Vec<InputFault>, metadata: &Map<String, Value>) {
    if metadata.is_empty() {
        return;
    }
    if metadata.len() > METADATA_MEMBERS_MAX {
        let detail =
            format!("has {} members; at most {METADATA_MEMBERS_MAX} are accepted", metadata.len());
        faults.push(InputFault::new("#/metadata", detail));
    }
    for (key, value) in metadata.iter().take(METADATA_MEMBERS_MAX) {
        if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
            let pointer = format!("#/metadata/{}", extract::escape(key));
            faults.push(InputFault::new(pointer, "must be a text, a number, true or false"));
        }
    }
    let bytes = serde_json::to_vec(metadata).map_or(0, |text| text.len());
    if bytes > METADATA_BYTES_MAX {
        let detail =
            format!("has {bytes} bytes as JSON; at most {METADATA_BYTES_MAX} are accepted");
        faults.push(InputFault::new("#/metadata", detail));
    }
}
