//! `[providers.<name>]`: outside services that make images, and how each is guarded.
//!
//! Comes in: the file and the environment, through serde. Goes out: settings of which everything
//! that an adapter needs is there: a key that is missing, a file that can't be read and a field
//! that the adapter has no use for are refused in words that name the key and the variable. Files
//! are read here, once, so that all processes agree about what a model can do. Invariant: no
//! message and no `Debug` shows a secret. What the fields mean to a service is its adapter's
//! business.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::settings::ENV_PREFIX;
use crate::domain::guard::options::BudgetOptions;
use crate::domain::workflow::{Marks, Template, TemplateError};
use crate::domain::{Abilities, GuardOptions};

/// The provider that is always there.
pub const BUILTIN: &str = "builtin";
/// What `[openai]` draws with where it does not say.
const OPENAI_MODEL: &str = "gpt-image-1.5";
/// What `[fal]` draws with where it does not say.
const FAL_MODEL: &str = "fal-ai/flux/dev";
/// Sides of FLUX are multiples of this; models that know a smaller step know this too.
const SIDE_STEP_PX: u32 = 16;
/// What the adapter of fal has a place for where the settings write no request out.
const FAL_REQUEST: &str = r#"["$steps", "$seed"]"#;

/// The adapters there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// Draws real pictures; no network, no key.
    Builtin,
    /// The OpenAI images API, and everything that speaks it.
    OpenAi,
    /// A ComfyUI server with one workflow.
    ComfyUi,
    /// AUTOMATIC1111 and its relatives.
    Automatic1111,
    /// Replicate.
    Replicate,
    /// fal.
    Fal,
}

impl Adapter {
    /// Every adapter that one section of its name sets up, like `[openai]`.
    pub const OUTSIDE: [Self; 5] =
        [Self::OpenAi, Self::ComfyUi, Self::Automatic1111, Self::Replicate, Self::Fal];

    /// Gives its word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => BUILTIN,
            Self::OpenAi => "openai",
            Self::ComfyUi => "comfyui",
            Self::Automatic1111 => "automatic1111",
            Self::Replicate => "replicate",
            Self::Fal => "fal",
        }
    }

    /// Lists the fields that mean something to it.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Builtin => &[],
            Self::OpenAi => &[
                "url",
                "api_key",
                "model",
                "headers",
                "extra",
                "organization",
                "project",
                "partial_images",
                "fetch",
                "guard",
            ],
            Self::ComfyUi => &["url", "headers", "workflow", "slots", "output", "guard"],
            Self::Automatic1111 => &["url", "api_key", "model", "extra", "guard"],
            Self::Replicate | Self::Fal => {
                &["url", "api_key", "model", "input", "sizes", "side_step_px", "fetch", "guard"]
            }
        }
    }

    /// Tells whether its own base address wants a key.
    fn is_hosted(self) -> bool {
        matches!(self, Self::OpenAi | Self::Replicate | Self::Fal)
    }
}

/// `[providers.<name>]`, and `[openai]` and the like; `Adapter::fields` tells whose field is which.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSettings {
    /// Who speaks to it.
    pub adapter: Option<Adapter>,
    /// Where it is; the adapter's default when absent.
    #[serde(alias = "base_url")]
    pub url: Option<String>,
    /// The key; `user:password` for AUTOMATIC1111.
    #[serde(alias = "key", alias = "api_token")]
    pub api_key: Option<SecretString>,
    /// A file with the key in it, instead.
    pub api_key_file: Option<PathBuf>,
    /// What draws where a route does not say.
    pub model: Option<String>,
    /// Further headers.
    pub headers: BTreeMap<String, SecretString>,
    /// Further fields of every request.
    pub extra: Map<String, Value>,
    /// Whose account is billed.
    pub organization: Option<String>,
    /// Which project of the account is billed.
    pub project: Option<String>,
    /// Looks at an unfinished frame, 0 to 3.
    pub partial_images: Option<u8>,
    /// What outputs may be fetched.
    pub fetch: FetchSettings,
    /// The request, with places like `"$prompt"`.
    pub input: Option<Map<String, Value>>,
    /// Sizes that the model draws, and further input for each.
    pub sizes: BTreeMap<String, Map<String, Value>>,
    /// Sides are multiples of this.
    pub side_step_px: Option<u32>,
    /// The workflow's file, as exported with "Export (API)".
    pub workflow: Option<PathBuf>,
    /// Slot to input, like `steps = "3.steps"`.
    pub slots: BTreeMap<String, String>,
    /// Node whose picture is the frame.
    pub output: Option<String>,
    /// Numbers of its guard that differ from the defaults.
    pub guard: GuardSettings,
    /// What `workflow` has in it.
    #[serde(skip)]
    pub template: Option<Template>,
}

/// `[providers.<name>.fetch]`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSettings {
    /// Whether an output may be fetched without TLS.
    pub allow_http: bool,
    /// Whether an output may be fetched from private, loopback and link-local addresses.
    pub allow_private: bool,
}

/// Where a provider's settings stand, to name them in a refusal.
#[derive(Debug, Clone)]
pub(super) struct Section(pub(super) String);

impl Section {
    /// Names a key and the variable that sets it.
    fn key(&self, key: &str) -> String {
        let variable = format!("{}_{key}", self.0.replace('.', "_")).to_ascii_uppercase();
        format!("{}.{key} ({ENV_PREFIX}{variable})", self.0)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ProviderSettings {
    /// Makes the settings of one without any.
    pub fn of(adapter: Adapter) -> Self {
        Self { adapter: Some(adapter), ..Self::default() }
    }

    /// Gives the adapter; the built-in one until `complete` has seen that there is one.
    pub fn adapter(&self) -> Adapter {
        self.adapter.unwrap_or(Adapter::Builtin)
    }

    /// Reads the files that it names, and refuses what its adapter can't work with.
    pub(super) fn complete(&mut self, section: &Section) -> Result<(), String> {
        let Some(adapter) = self.adapter else {
            let known = Adapter::OUTSIDE.map(Adapter::as_str).join(", ");
            return Err(format!("{section}.adapter is missing; it is one of {known}"));
        };
        if let Some(field) = self.foreign(adapter) {
            let adapter = adapter.as_str();
            return Err(format!("{section}.{field} means nothing to the adapter {adapter}"));
        }
        self.read_key(adapter, section)?;
        if adapter == Adapter::ComfyUi {
            let Some(file) = &self.workflow else {
                let key = section.key("workflow");
                return Err(format!("{key} is missing: a workflow that was exported as API"));
            };
            let key = section.key("workflow");
            let text = read(file).map_err(|why| format!("{key}: {why}"))?;
            let marks = Marks { slots: self.slots.clone(), output: self.output.clone() };
            let template = Template::parse(&text, &marks);
            self.template = Some(template.map_err(|why| unfit(&key, file, &why))?);
            if self.url.is_none() {
                return Err(format!("{} is missing", section.key("url")));
            }
        }
        if adapter == Adapter::Replicate && self.input.is_none() {
            return Err(format!(
                "{section}.input is missing: the input of a prediction, like \
                 {{ prompt = \"$prompt\", seed = \"$seed\" }}"
            ));
        }
        if adapter == Adapter::Replicate && self.model.is_none() {
            return Err(format!("{} is missing, like owner/name", section.key("model")));
        }
        let default = match adapter {
            Adapter::OpenAi => Some(OPENAI_MODEL.to_owned()),
            Adapter::Fal => Some(FAL_MODEL.to_owned()),
            _ => None,
        };
        self.model = self.model.take().or(default);
        match self.guard(true) {
            Some(guard) => guard.check().map_err(|why| format!("{section}.guard: {why}")),
            None => Ok(()),
        }
    }

    /// Finds a field that is set and that the adapter does not know.
    fn foreign(&self, adapter: Adapter) -> Option<&'static str> {
        let set = [
            ("url", self.url.is_some()),
            ("api_key", self.api_key.is_some() || self.api_key_file.is_some()),
            ("model", self.model.is_some()),
            ("headers", !self.headers.is_empty()),
            ("extra", !self.extra.is_empty()),
            ("organization", self.organization.is_some()),
            ("project", self.project.is_some()),
            ("partial_images", self.partial_images.is_some()),
            ("fetch", self.fetch != FetchSettings::default()),
            ("input", self.input.is_some()),
            ("sizes", !self.sizes.is_empty()),
            ("side_step_px", self.side_step_px.is_some()),
            ("workflow", self.workflow.is_some()),
            ("slots", !self.slots.is_empty()),
            ("output", self.output.is_some()),
            ("guard", self.guard != GuardSettings::default()),
        ];
        let mut set = set.into_iter().filter(|(_, set)| *set).map(|(field, _)| field);
        set.find(|field| !adapter.fields().contains(field))
    }

    /// Reads the key's file, and refuses a service that can't be used without one.
    fn read_key(&mut self, adapter: Adapter, section: &Section) -> Result<(), String> {
        let key = section.key("api_key");
        if let Some(file) = &self.api_key_file {
            if self.api_key.is_some() {
                return Err(format!("{key} and {section}.api_key_file are both set"));
            }
            let text = read(file).map_err(|why| format!("{section}.api_key_file: {why}"))?;
            self.api_key = Some(text.trim().into());
        }
        match &self.api_key {
            Some(secret) if secret.expose_secret().trim().is_empty() => {
                Err(format!("{key} is empty"))
            }
            // A server of one's own may need none.
            None if adapter.is_hosted() && self.url.is_none() && self.headers.is_empty() => {
                Err(format!("{key} is missing, and {section}.api_key_file too"))
            }
            _ => Ok(()),
        }
    }

    /// Tells what a model of it can do.
    pub(super) fn abilities(&self, model: &str) -> Result<Abilities, String> {
        Ok(match self.adapter() {
            Adapter::Builtin => Abilities::default(),
            Adapter::OpenAi => Abilities::openai(model),
            Adapter::Automatic1111 => Abilities::automatic1111(),
            Adapter::ComfyUi => {
                self.template.as_ref().map(Abilities::of_workflow).unwrap_or_default()
            }
            Adapter::Replicate | Adapter::Fal => {
                let written = self.input.as_ref().map(|input| {
                    serde_json::to_string(input).unwrap_or_else(|error| unreachable!("{error}"))
                });
                let request = written.as_deref().unwrap_or(FAL_REQUEST);
                let sizes: Option<_> = self.sizes.keys().map(|size| side_by_side(size)).collect();
                let sizes = sizes.ok_or("sizes are written like 1024x768")?;
                let step_px = self.side_step_px.unwrap_or(SIDE_STEP_PX);
                if step_px == 0 {
                    return Err("side_step_px must not be 0".into());
                }
                Abilities::of_request(request, sizes, step_px)
            }
        })
    }

    /// Gives the numbers of its guard; none for what can neither hang nor cost.
    pub fn guard(&self, breaker_enabled: bool) -> Option<GuardOptions> {
        let mut options = match self.adapter() {
            Adapter::Builtin => return None,
            Adapter::ComfyUi | Adapter::Automatic1111 => GuardOptions::local(),
            Adapter::OpenAi | Adapter::Replicate | Adapter::Fal => GuardOptions::paid(),
        };
        self.guard.apply(&mut options);
        options.breaker.enabled = breaker_enabled;
        Some(options)
    }
}

/// Says what is wrong with a workflow, with its causes: where the JSON breaks off, or each node.
fn unfit(key: &str, file: &Path, error: &TemplateError) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{key}: failed to {error}{cause} (in {})", file.display())
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))
}

/// Reads `1024x768`.
fn side_by_side(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// `[providers.<name>.guard]`: what differs from the defaults of [`GuardOptions`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each stands for the number of that name in GuardOptions")]
pub struct GuardSettings {
    pub timeout_floor_ms: Option<u64>,
    pub timeout_ceiling_ms: Option<u64>,
    pub timeout_margin_ms: Option<u64>,
    pub window: Option<usize>,
    pub rate: Option<f64>,
    pub attempts_min: Option<u32>,
    pub timeouts_in_row: Option<u32>,
    pub rest_ms: Option<u64>,
    pub rest_unpaid_ms: Option<u64>,
    pub probe_every_ms: Option<u64>,
    pub successes: Option<u32>,
    pub weight_timeout: Option<f64>,
    pub weight_server: Option<f64>,
    pub weight_unknown: Option<f64>,
    pub weight_quota: Option<f64>,
    pub weight_client: Option<f64>,
    /// 0 is no budget.
    pub budget_capacity: Option<u32>,
    pub budget_every_ms: Option<u64>,
    pub concurrency: Option<u32>,
    pub throttle_base_ms: Option<u64>,
    pub throttle_max_ms: Option<u64>,
}

impl GuardSettings {
    fn apply(&self, options: &mut GuardOptions) {
        let GuardOptions { timeout, breaker, budget, concurrency, throttle } = options;
        let weights = &mut breaker.weights;
        set_ms(&mut timeout.floor, self.timeout_floor_ms);
        set_ms(&mut timeout.ceiling, self.timeout_ceiling_ms);
        set_ms(&mut timeout.margin, self.timeout_margin_ms);
        set(&mut breaker.window, self.window);
        set(&mut breaker.rate, self.rate);
        set(&mut breaker.attempts_min, self.attempts_min);
        set(&mut breaker.timeouts_in_row, self.timeouts_in_row);
        set_ms(&mut breaker.rest, self.rest_ms);
        set_ms(&mut breaker.rest_unpaid, self.rest_unpaid_ms);
        set_ms(&mut breaker.probe_every, self.probe_every_ms);
        set(&mut breaker.successes, self.successes);
        set(&mut weights.timeout, self.weight_timeout);
        set(&mut weights.server, self.weight_server);
        set(&mut weights.unknown, self.weight_unknown);
        set(&mut weights.quota, self.weight_quota);
        set(&mut weights.client, self.weight_client);
        set(concurrency, self.concurrency);
        set_ms(&mut throttle.base, self.throttle_base_ms);
        set_ms(&mut throttle.max, self.throttle_max_ms);
        if self.budget_capacity.is_some() || self.budget_every_ms.is_some() {
            let said = budget.get_or_insert_with(BudgetOptions::default);
            set(&mut said.capacity, self.budget_capacity);
            set_ms(&mut said.every, self.budget_every_ms);
        }
        if self.budget_capacity == Some(0) {
            *budget = None;
        }
    }
}

fn set<T>(place: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *place = said;
    }
}

fn set_ms(place: &mut Duration, said: Option<u64>) {
    set(place, said.map(Duration::from_millis));
}
