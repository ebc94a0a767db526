//! The body of `POST /v1/frames/next`: as for a job, with how many frames and which were seen.

use framewire_shared::domain::artifact::{ARTIFACTS_PATH, Slot};
use framewire_shared::domain::input::SEED_MAX;
use framewire_shared::domain::{
    ArtifactId, FrameInput, InputFault, InputPicture, JobId, Place, Priority,
};
use framewire_shared::service::models::ModelSettings;
use framewire_shared::service::settings::Settings;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::Body;
use super::job_request::JobRequest;
use super::openapi::mirror;

/// Frames that a caller may have in store; each is a job, and a session has a cap of those.
const COUNT: std::ops::RangeInclusive<u32> = 1..=16;
/// Frames that one request may name as seen: four full answers.
const SEEN_MAX: usize = 64;

/// Frames that are asked for, some ahead of their need
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"input": {"prompt": "a red fox in snow"}, "count": 4}))]
pub struct FramesRequest {
    /// Who shall draw them, of `GET /v1/models`; the default one when absent
    #[serde(default)]
    pub model: Option<String>,
    /// What is to be drawn, as for a job but without `n`; with a `seed`, each further frame has the next
    #[schema(value_type = mirror::Input)]
    pub input: FrameInput,
    /// Frames to have, ready or on their way
    #[schema(minimum = 1, maximum = 16)]
    pub count: u32,
    /// The class of the jobs
    #[serde(default)]
    #[schema(value_type = mirror::Priority, default = "normal")]
    pub priority: Priority,
    /// Frames that you have, by URL or name: they are not handed out again; at most 64
    #[serde(default)]
    #[schema(required = false, max_items = 64)]
    pub seen: Vec<String>,
    /// Whether the body says `input.n`.
    #[serde(skip)]
    pub names_n: bool,
    /// As a job's.
    #[serde(skip)]
    #[schema(ignore)]
    pub sized: bool,
}

impl FramesRequest {
    /// Finds the model that is asked for, and where it runs.
    pub fn resolve<'a>(&self, settings: &'a Settings) -> Option<(&'a str, &'a ModelSettings)> {
        settings.models.find(self.model.as_deref())
    }

    /// Digests what makes two calls ask for the same: the model, however it is named, and the input.
    pub fn digest(&self, model: &str) -> String {
        JobRequest { model: Some(model.to_owned()), ..self.as_job() }.digest()
    }

    /// Gives the job of the frame that comes after so many others.
    pub fn job_after(&self, made: u64) -> JobRequest {
        let mut job = self.as_job();
        job.input.seed = Some(match self.input.seed {
            Some(seed) => (seed + made) % (SEED_MAX + 1),
            None => rand::random::<u32>().into(),
        });
        job
    }

    /// Lists the jobs of the frames that were seen.
    pub fn seen(&self) -> Vec<JobId> {
        self.seen.iter().filter_map(|text| frame(text)).map(|frame| frame.job).collect()
    }

    /// Gives the job that one frame of it would be.
    fn as_job(&self) -> JobRequest {
        JobRequest {
            model: self.model.clone(),
            input: self.input.clone(),
            priority: Priority::default(),
            start_within_s: None,
            metadata: Map::new(),
            sized: self.sized,
            cache: None,
        }
    }
}

/// Reads the name or the URL of a frame.
fn frame(text: &str) -> Option<ArtifactId> {
    let name = text.strip_prefix(ARTIFACTS_PATH).unwrap_or(text);
    let id: ArtifactId = name.parse().ok()?;
    matches!(id.slot, Slot::Frame(_)).then_some(id)
}

/// Tells whether a body says how many frames a job has; one that can't be read has been refused.
fn names_n(body: &[u8]) -> bool {
    #[derive(Default, Deserialize)]
    struct Input {
        n: Option<IgnoredAny>,
    }
    #[derive(Default, Deserialize)]
    struct Request {
        input: Input,
    }
    let Request { input } = serde_json::from_slice(body).unwrap_or_default();
    input.n.is_some()
}

impl Body for FramesRequest {
    const REQUIRED: &'static [&'static str] = &["/input", "/input/prompt", "/count"];

    fn expected(pointer: &str) -> Option<&'static str> {
        match pointer {
            "/count" => Some("a whole number from 1 to 16"),
            "/seen" => Some("a list of at most 64 frames, by URL or name"),
            "/start_within_s" | "/metadata" | "/cache" => None,
            pointer if pointer.starts_with("/seen/") => Some("the URL or the name of a frame"),
            pointer => JobRequest::expected(pointer),
        }
    }

    fn placeholder(pointer: &str) -> Value {
        match pointer {
            "/count" => 1.into(),
            pointer => JobRequest::placeholder(pointer),
        }
    }

    fn complete(&mut self, body: &[u8], settings: &Settings) {
        let mut job = self.as_job();
        job.complete(body, settings);
        (self.input, self.sized) = (job.input, job.sized);
        self.names_n = names_n(body);
    }

    fn check(&self, settings: &Settings) -> Vec<InputFault> {
        let mut faults = self.as_job().check(settings);
        if self.names_n {
            faults.retain(|fault| fault.pointer != "#/input/n");
            let detail = "must be left out: every frame is a job of its own; say `count`";
            faults.push(InputFault::new("#/input/n", detail));
        }
        for place in Place::ALL {
            // Each job would store it as a file of its own.
            if let Some(InputPicture::Data(_)) = self.input.picture(place) {
                let detail = "must be a file, a frame or an address here: POST /v1/files first";
                faults.push(InputFault::new(place.pointer(), detail));
            }
        }
        if !COUNT.contains(&self.count) {
            let (min, max) = (COUNT.start(), COUNT.end());
            let detail = format!("must be {min} to {max} frames, but is {}", self.count);
            faults.push(InputFault::new("#/count", detail));
        }
        if self.seen.len() > SEEN_MAX {
            let detail = format!("names {} frames; at most {SEEN_MAX} are read", self.seen.len());
            faults.push(InputFault::new("#/seen", detail));
        }
        for (index, text) in self.seen.iter().enumerate().take(SEEN_MAX) {
            if frame(text).is_none() {
                let detail = "must be the URL or the name of a frame";
                faults.push(InputFault::new(format!("#/seen/{index}"), detail));
            }
        }
        faults
    }
}
