//! Adapters as the settings want them.
//!
//! Comes in: a provider's settings, complete, and its name of one model. Goes out: the adapter,
//! or a refusal that names no secret. One adapter is made for each model of a provider; they
//! share the provider's name, and so its guard.

use std::sync::Arc;

use anyhow::Context;
use framewire_shared::service::providers::{Adapter, FetchSettings, ProviderSettings};
use framewire_shared::service::settings::BuiltinSettings;
use serde_json::{Value, json};
use url::Url;

use super::Provider;
use super::automatic1111::{Automatic1111, Automatic1111Options};
use super::builtin::{Builtin, BuiltinOptions};
use super::comfyui::{ComfyUi, ComfyUiOptions};
use super::fal::{Fal, FalOptions};
use super::openai::{OpenAi, OpenAiOptions};
use super::replicate::{Replicate, ReplicateOptions};

/// Makes the adapter of one model of a provider; nothing is sent.
///
/// Errors: an address, a header or an option can't be used.
pub fn adapter(
    name: &str,
    settings: &ProviderSettings,
    model: Option<&str>,
    builtin: &BuiltinSettings,
) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(match settings.adapter() {
        Adapter::Builtin => Arc::new(Builtin::new(BuiltinOptions {
            faults: builtin.faults,
            step_ms_default: builtin.step.as_millis() as u64,
        })),
        Adapter::ComfyUi => {
            let url = settings.url.as_deref().unwrap_or_default();
            let url = Url::parse(url).context("use the base address: it is no URL")?;
            let headers = settings.headers.clone().into_iter().collect();
            let template = settings.template.clone().context("use a workflow: there is none")?;
            let options = ComfyUiOptions::new(url, template);
            Arc::new(ComfyUi::new(ComfyUiOptions { name: name.into(), headers, ..options })?)
        }
        Adapter::OpenAi => {
            let mut options: OpenAiOptions = options(name, settings, model)?;
            options.key = settings.api_key.clone();
            options.headers = settings.headers.clone();
            options.extra = settings.extra.clone();
            options.organization = settings.organization.clone();
            options.project = settings.project.clone();
            options.partial_images = settings.partial_images;
            options.fetch = fetch(settings.fetch);
            Arc::new(OpenAi::new(options)?)
        }
        Adapter::Automatic1111 => {
            let mut options: Automatic1111Options = options(name, settings, model)?;
            options.key = settings.api_key.clone();
            options.extra = settings.extra.clone();
            Arc::new(Automatic1111::new(options)?)
        }
        Adapter::Replicate => {
            let mut options: ReplicateOptions = options(name, settings, model)?;
            options.key = settings.api_key.clone();
            options.sizes = settings.sizes.clone();
            options.fetch = fetch(settings.fetch);
            Arc::new(Replicate::new(options)?)
        }
        Adapter::Fal => {
            let mut options: FalOptions = options(name, settings, model)?;
            options.key = settings.api_key.clone();
            options.sizes = settings.sizes.clone();
            options.fetch = fetch(settings.fetch);
            Arc::new(Fal::new(options)?)
        }
    })
}

fn fetch(settings: FetchSettings) -> super::fetch::FetchOptions {
    let FetchSettings { allow_http, allow_private } = settings;
    super::fetch::FetchOptions { allow_http, allow_private }
}

/// Makes an adapter's options of what is set, and leaves the rest to its own defaults. No secret
/// goes through here: what fails to be read might be repeated in the error.
fn options<T: serde::de::DeserializeOwned>(
    name: &str,
    settings: &ProviderSettings,
    model: Option<&str>,
) -> anyhow::Result<T> {
    let said = [
        ("name", Some(json!(name))),
        ("base_url", settings.url.as_ref().map(|url| json!(url))),
        ("model", model.map(|model| json!(model))),
        ("input", settings.input.clone().map(Value::Object)),
        ("side_step_px", settings.side_step_px.map(|side| json!(side))),
    ];
    let said = said.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?)));
    serde_json::from_value(said.collect()).context("read its options")
}
