//! Who draws for each pool, in order, and the leave to ask them.
//!
//! A pool has one provider or several; the first that grants a permit draws the next job, so a
//! provider that is closed off is passed over. Models of a pool share its providers: leave is had
//! before it is known which model comes, and each has an adapter of its own. Comes in: a poller with a free slot. Goes out:
//! [`Passes`], one per provider that granted, before anything is popped; pools without one are not
//! among the windows popped, so no job is taken that may not run. A provider without a guard (the
//! built-in one) always grants, and costs no call to Redis.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewire_shared::domain::guard::tally::outcome_word;
use framewire_shared::domain::guard::{Purpose, Reason, Refused};
use framewire_shared::domain::{Failure, GuardOptions, Pool, Usage};
use framewire_shared::store::{Store, StoreError};
use tokio::sync::Notify;

use crate::guard::{Guard, Permit};
use crate::metrics::Metrics;
use crate::provider::Provider;

/// Longest pause before a closed provider is asked again: another worker's probe may have closed its
/// breaker sooner than it was expected.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Shortest, so that a wait that is nearly over is not asked for in a spin.
const LOOK_MIN: Duration = Duration::from_millis(50);
/// Pause where only others' calls stand against ours. Up to half as much is added to any pause.
const LOOK_BUSY: Duration = Duration::from_millis(150);
/// Pause after a pop that found nothing under the last permit; as much is added, drawn. Longer than
/// [`LOOK_BUSY`], so that pollers which share a scarce permit have it in turn.
const REST: Duration = Duration::from_millis(250);

/// Adapters of one provider, by the model that users name.
type Adapters = HashMap<String, Arc<dyn Provider>>;

/// A provider and its guard.
#[derive(Clone)]
struct Route {
    /// Its first adapter, which also probes.
    provider: Arc<dyn Provider>,
    /// Who draws which model; the first draws any where there are none.
    models: Arc<Adapters>,
    guard: Option<Arc<Guard>>,
}

/// Who draws for each pool.
#[derive(Default)]
pub struct Routes {
    pools: HashMap<Pool, Vec<Route>>,
    guards: HashMap<String, Arc<Guard>>,
    freed: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// How many jobs of a pool may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// As many as its open providers take; any number when `None`.
    Open(Option<u32>),
    /// None for this long, if nothing happens before.
    Closed(Duration),
}

impl Routes {
    /// Makes one without any, whose permits and calls are counted here.
    pub fn measured(metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Gives what this process has counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Adds a provider to a pool, behind those that it has; it draws every model.
    ///
    /// A provider's guard is one, under its name: the first options of that name count. They must
    /// have passed [`GuardOptions::check`].
    pub fn add(
        &mut self,
        store: &Store,
        pool: Pool,
        provider: Arc<dyn Provider>,
        guard: Option<GuardOptions>,
    ) {
        self.add_adapters(store, pool, provider, Adapters::new(), guard);
    }

    /// Adds a provider's adapter for one model, behind the providers that the pool has; where the
    /// provider is one of them, beside its other models. See [`Self::add`] for the guard.
    pub fn add_model(
        &mut self,
        store: &Store,
        pool: Pool,
        model: String,
        provider: Arc<dyn Provider>,
        guard: Option<GuardOptions>,
    ) {
        let mut known = self.pools.get_mut(&pool).into_iter().flatten();
        match known.find(|route| route.provider.name() == provider.name()) {
            Some(route) => {
                Arc::make_mut(&mut route.models).insert(model, provider);
            }
            None => {
                let models = Adapters::from([(model, provider.clone())]);
                self.add_adapters(store, pool, provider, models, guard);
            }
        }
    }

    fn add_adapters(
        &mut self,
        store: &Store,
        pool: Pool,
        provider: Arc<dyn Provider>,
        models: Adapters,
        guard: Option<GuardOptions>,
    ) {
        let guard = guard.map(|options| {
            let name = provider.name().to_owned();
            let new = || Guard::new(store.clone(), name.clone(), options, self.freed.clone());
            self.guards.entry(name.clone()).or_insert_with(new).clone()
        });
        self.pools.entry(pool).or_default().push(Route {
            provider,
            models: Arc::new(models),
            guard,
        });
    }

    /// Lists the pools that somebody draws for.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.keys()
    }

    /// Lists each guarded provider once.
    pub fn guarded(&self) -> Vec<(Arc<dyn Provider>, Arc<Guard>)> {
        let routes = self.pools.values().flatten();
        let mut guarded: HashMap<&str, (Arc<dyn Provider>, Arc<Guard>)> = HashMap::new();
        for Route { provider, guard, .. } in routes {
            if let Some(guard) = guard {
                guarded.entry(provider.name()).or_insert((provider.clone(), guard.clone()));
            }
        }
        guarded.into_values().collect()
    }

    /// Asks for leave to draw one job of any of these pools; each provider is asked at most once.
    ///
    /// Errors: Redis is away; nothing is held.
    pub async fn passes(&self, pools: &[Pool]) -> Result<Passes, StoreError> {
        let mut passes = Passes {
            open: HashMap::new(),
            permits: HashMap::new(),
            look_again: LOOK_MAX,
            freed: self.freed.clone(),
            metrics: self.metrics.clone(),
        };
        for pool in pools {
            for route in self.pools.get(pool).into_iter().flatten() {
                if passes.ask(route).await? {
                    passes.open.insert(pool.clone(), route.clone());
                    break;
                }
            }
        }
        Ok(passes)
    }

    /// Tells how many jobs of a pool may run.
    pub async fn outlook(&self, pool: &Pool) -> Result<Outlook, StoreError> {
        let (mut places, mut wait) = (0, None::<Duration>);
        for Route { guard, .. } in self.pools.get(pool).into_iter().flatten() {
            let Some(guard) = guard else {
                return Ok(Outlook::Open(None));
            };
            match guard.closed().await? {
                None => places += guard.options().concurrency,
                Some(refused) => {
                    wait = Some(wait.map_or(refused.wait, |wait| wait.min(refused.wait)));
                }
            }
        }
        Ok(match wait {
            Some(wait) if places == 0 => Outlook::Closed(wait),
            _ => Outlook::Open(Some(places)),
        })
    }

    /// Waits until every permit is back or has been left to lapse.
    pub async fn returned(&self) {
        futures::future::join_all(self.guards.values().map(|guard| guard.returned())).await;
    }
}

/// Leaves to draw, held before a pop. Those that are not taken go back when it is dropped.
pub struct Passes {
    /// Who would draw the next job of a pool.
    open: HashMap<Pool, Route>,
    /// Guarded providers that were asked, and what they granted. One permit serves all pools of its
    /// provider: one job is popped.
    permits: HashMap<String, Option<Permit>>,
    look_again: Duration,
    freed: Arc<Notify>,
    metrics: Arc<Metrics>,
}

impl Passes {
    /// Asks a provider that was not asked yet; tells whether it may be called.
    async fn ask(&mut self, route: &Route) -> Result<bool, StoreError> {
        let Some(guard) = &route.guard else {
            return Ok(true);
        };
        let name = route.provider.name();
        if let Some(permit) = self.permits.get(name) {
            return Ok(permit.is_some());
        }
        let permit = match guard.acquire(Purpose::Job).await? {
            Ok(permit) => Some(permit),
            Err(refused) => {
                self.metrics.permit_refused(name, refused.reason);
                self.look_again = self.look_again.min(look_again(refused));
                None
            }
        };
        let granted = permit.is_some();
        self.permits.insert(name.to_owned(), permit);
        Ok(granted)
    }

    /// Tells whether nothing may be popped.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Tells whether jobs of a pool may be popped.
    pub fn opens(&self, pool: &Pool) -> bool {
        self.open.contains_key(pool)
    }

    /// Takes the leave to draw a job that was popped from this pool; the others go back.
    pub fn take(mut self, pool: &Pool) -> Option<Pass> {
        let Route { provider, models, .. } = self.open.remove(pool)?;
        let permit = self.permits.remove(provider.name()).flatten();
        let metrics = self.metrics.clone();
        Some(Pass { provider, models, permit, call: None, metrics })
    }

    /// Waits, where nothing was granted, until asking again may help.
    pub async fn wait(self) {
        let freed = self.freed.clone();
        drop(tokio::time::timeout(self.look_again, freed.notified()).await);
    }

    /// Gives back what was not needed; where it was the last, leaves others a moment to have it.
    pub async fn rest(self) {
        if self.permits.values().flatten().any(Permit::is_last) {
            drop(self);
            tokio::time::sleep(REST.mul_f64(1.0 + rand::random::<f64>())).await;
        }
    }
}

/// Gives the pause after a refusal.
fn look_again(refused: Refused) -> Duration {
    let pause = match refused.reason {
        Reason::Busy => LOOK_BUSY,
        _ => refused.wait.clamp(LOOK_MIN, LOOK_MAX),
    };
    // So that those who were refused together do not come back together.
    pause + LOOK_BUSY.mul_f64(rand::random::<f64>() / 2.0)
}

/// Leave to draw one job with one provider; tells what comes of it.
pub struct Pass {
    /// Who draws.
    pub provider: Arc<dyn Provider>,
    models: Arc<Adapters>,
    permit: Option<Permit>,
    call: Option<Begun>,
    metrics: Arc<Metrics>,
}

/// A call that was made.
struct Begun {
    id: String,
    at: Instant,
    timeout: Duration,
}

impl<P: Provider> From<Arc<P>> for Pass {
    /// Makes a pass to a provider without a guard.
    fn from(provider: Arc<P>) -> Self {
        let (models, metrics) = <_>::default();
        Self { provider, models, permit: None, call: None, metrics }
    }
}

impl Pass {
    /// Makes a pass of a permit. Its call is counted nowhere: a probe's is no job's.
    pub fn new(provider: Arc<dyn Provider>, permit: Permit) -> Self {
        let (models, metrics) = <_>::default();
        Self { provider, models, permit: Some(permit), call: None, metrics }
    }

    /// Takes the provider's adapter for a model; tells whether there is one in this process.
    pub fn take_model(&mut self, model: &str) -> bool {
        match self.models.get(model) {
            Some(adapter) => {
                self.provider = adapter.clone();
                true
            }
            None => self.models.is_empty(),
        }
    }

    /// Says that the call `id` is made now; gives how long it may take, `unguarded` without a guard.
    pub fn begin(&mut self, id: &str, unguarded: Duration) -> Duration {
        let permit = self.permit.as_mut();
        let (timeout, budget_before) = permit.map_or((unguarded, None), |permit| {
            permit.begin();
            (permit.timeout(), permit.budget_before())
        });
        let timeout_ms = timeout.as_millis() as u64;
        tracing::info!(
            provider = self.provider.name(),
            id,
            timeoutMs = timeout_ms,
            budgetBefore = budget_before,
            "gen.request"
        );
        self.call = Some(Begun { id: id.to_owned(), at: Instant::now(), timeout });
        timeout
    }

    /// Tells how long the call might take, if one was made.
    pub fn timeout(&self) -> Option<Duration> {
        self.call.as_ref().map(|call| call.timeout)
    }

    /// Notes that the call made what was asked, and what the provider says that it used.
    pub async fn succeeded(self, usage: &Usage) {
        if let Some(Begun { id, at, .. }) = &self.call {
            let latency_ms = at.elapsed().as_millis() as u64;
            let provider = self.provider.name();
            self.metrics.called(provider, outcome_word(None), at.elapsed());
            let &Usage { input_tokens, output_tokens, predict_s, billable_units } = usage;
            tracing::info!(
                provider,
                id,
                latencyMs = latency_ms,
                inputTokens = input_tokens,
                outputTokens = output_tokens,
                predictS = predict_s,
                billableUnits = billable_units,
                "gen.success"
            );
        }
        if let Some(permit) = self.permit {
            permit.succeeded().await;
        }
    }

    /// Notes why the call, if one was made, failed.
    pub async fn failed(self, failure: &Failure) {
        let provider = self.provider.name();
        self.metrics.failed(provider, failure);
        let Some(Begun { id, at, .. }) = &self.call else {
            return;
        };
        let kind = failure.kind.as_str();
        tracing::info!(provider, id, kind, "gen.fail");
        self.metrics.called(provider, outcome_word(Some(failure.kind)), at.elapsed());
        if let Some(permit) = self.permit {
            permit.failed(failure.clone()).await;
        }
    }
}
