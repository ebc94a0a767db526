//! `[models.<name>]`: what users may name, the pool where it waits, and who draws it, in order.
//!
//! Comes in: the sections of the settings as they were written. Goes out: models whose every
//! route leads to a provider, with what they can do. A section `[openai]` (or `[comfyui]`, …) is
//! one provider, one pool and one model beside the others, so that a single variable serves a
//! model. Invariants: a model can do what all of its routes can, so that a provider's rest never
//! turns an accepted job into a refused one; all models of a pool have the same providers in the
//! same order, because leave to draw is had for a pool, before it is known which model comes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::providers::{Adapter, BUILTIN, ProviderSettings, Section};
use crate::domain::{Abilities, IdError, Pool};

/// Longest name of a provider or a model.
const NAME_CHARS_MAX: usize = 64;

/// `[models]`, by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Models(pub BTreeMap<String, ModelSettings>);

impl Default for Models {
    fn default() -> Self {
        let route = Route { provider: BUILTIN.into(), model: None };
        let builtin =
            ModelSettings { default: true, routes: vec![route], ..ModelSettings::default() };
        Self(BTreeMap::from([(BUILTIN.into(), builtin)]))
    }
}

/// Where a model runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// The pool its jobs wait in.
    pub pool: Pool,
    /// Who draws it: short for one route that says no more.
    pub provider: Option<String>,
    /// Who draws it, in order: the next where one is closed off.
    pub routes: Vec<Route>,
    /// Whether it is meant by requests that name none.
    pub default: bool,
    /// Whether its newest frame may stand in for those of any session: pictures that users made are
    /// published.
    pub catalogue: bool,
    /// Whether requests for the very same share one picture, where they don't say otherwise.
    pub cache: bool,
    /// What all of its routes can do.
    #[serde(skip)]
    pub abilities: Abilities,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            pool: default_pool(),
            provider: None,
            routes: Vec::new(),
            default: false,
            catalogue: false,
            cache: false,
            abilities: Abilities::default(),
        }
    }
}

fn default_pool() -> Pool {
    "default".parse().unwrap_or_else(|error: IdError| unreachable!("{error}"))
}

/// One way to have a model drawn.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Who.
    pub provider: String,
    /// The provider's name of it; what the provider's settings say when absent.
    #[serde(default)]
    pub model: Option<String>,
}

impl Models {
    /// Finds the model that a request means: the named one, the default one, or the only one.
    pub fn find(&self, name: Option<&str>) -> Option<(&str, &ModelSettings)> {
        let (name, model) = match name {
            Some(name) => self.0.get_key_value(name)?,
            None if self.0.len() == 1 => self.0.first_key_value()?,
            None => self.0.iter().find(|(_, model)| model.default)?,
        };
        Some((name, model))
    }

    /// Lists every pool that a model waits in.
    pub fn pools(&self) -> BTreeSet<&Pool> {
        self.0.values().map(|model| &model.pool).collect()
    }

    /// Adds what sections like `[openai]` stand for, follows every route to its provider, and finds
    /// what each model can do.
    pub(super) fn resolve(
        &mut self,
        providers: &mut BTreeMap<String, ProviderSettings>,
        sections: Vec<(Adapter, ProviderSettings)>,
    ) -> Result<(), String> {
        if self.0.is_empty() {
            *self = Self::default();
        }
        for (name, provider) in providers.iter_mut() {
            check_name("providers", name)?;
            provider.complete(&Section(format!("providers.{name}")))?;
        }
        for (adapter, mut provider) in sections {
            let name = adapter.as_str();
            if provider.adapter.is_some_and(|said| said != adapter) {
                return Err(format!("{name}.adapter is another; leave it out"));
            }
            if providers.contains_key(name) {
                return Err(format!("{name} and providers.{name} are both set; keep one"));
            }
            provider.adapter = Some(adapter);
            provider.complete(&Section(name.into()))?;
            let model = provider.model.clone().unwrap_or_else(|| name.to_owned());
            let pool = name.parse().unwrap_or_else(|error: IdError| unreachable!("{error}"));
            let routes = vec![Route { provider: name.into(), model: None }];
            let settings = ModelSettings { pool, routes, ..ModelSettings::default() };
            self.0.entry(model).or_insert(settings);
            providers.insert(name.into(), provider);
        }
        providers.entry(BUILTIN.into()).or_insert(ProviderSettings::of(Adapter::Builtin));
        for (name, model) in &mut self.0 {
            check_name("models", name)?;
            model.resolve(name, providers)?;
        }
        self.check()
    }

    /// Refuses what each model may say and all together may not.
    fn check(&self) -> Result<(), String> {
        let defaults: Vec<&str> =
            self.0.iter().filter(|(_, it)| it.default).map(|(name, _)| name.as_str()).collect();
        if let [first, second, ..] = defaults[..] {
            return Err(format!(
                "models.{first}.default and models.{second}.default are both true"
            ));
        }
        let mut pools: BTreeMap<&Pool, (&str, Vec<&str>)> = BTreeMap::new();
        for (name, model) in &self.0 {
            let providers: Vec<&str> =
                model.routes.iter().map(|route| route.provider.as_str()).collect();
            let known = pools.entry(&model.pool).or_insert((name, providers.clone()));
            if known.1 != providers {
                return Err(format!(
                    "models.{} and models.{name} share the pool {} and must have the same \
                     providers in the same order, but have {} and {}",
                    known.0,
                    model.pool,
                    known.1.join(", "),
                    providers.join(", "),
                ));
            }
        }
        Ok(())
    }
}

impl ModelSettings {
    fn resolve(
        &mut self,
        name: &str,
        providers: &BTreeMap<String, ProviderSettings>,
    ) -> Result<(), String> {
        if let Some(provider) = self.provider.take() {
            if !self.routes.is_empty() {
                return Err(format!("models.{name}.provider and .routes are both set; keep one"));
            }
            self.routes.push(Route { provider, model: None });
        }
        if self.routes.is_empty() {
            return Err(format!("models.{name}.routes is missing: nobody draws it"));
        }
        let mut all: Option<Abilities> = None;
        let mut seen = BTreeSet::new();
        for route in &mut self.routes {
            let of = format!("models.{name}: the provider {:?}", route.provider);
            let Some(provider) = providers.get(&route.provider) else {
                let known = providers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(format!("{of} is not known; the providers are: {known}"));
            };
            if !seen.insert(route.provider.clone()) {
                return Err(format!("{of} stands twice in its routes"));
            }
            route.model = route.model.take().or_else(|| provider.model.clone());
            let model = route.model.as_deref().unwrap_or_default();
            let abilities = provider.abilities(model).map_err(|why| format!("{of}: {why}"))?;
            all = Some(all.map_or(abilities.clone(), |all| all.and(&abilities)));
        }
        self.abilities = all.unwrap_or_default();
        if self.abilities.image_needed && !self.abilities.image {
            let needs = "one of its routes needs a picture to start from, and another takes none";
            return Err(format!("models.{name}: {needs}"));
        }
        match self.abilities.size_default() {
            Some(_) => Ok(()),
            None => Err(format!("models.{name}: its routes have no size in common")),
        }
    }
}

fn check_name(section: &str, name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(fine) {
        return Ok(());
    }
    Err(format!("{section}.{name:?}: a name has 1 to {NAME_CHARS_MAX} letters, digits and -_./:"))
}

#[cfg(test)]
#[path = "models_tests.rs"]
mod tests;
