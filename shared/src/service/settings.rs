//! The settings of all processes, parsed once into types that can't be wrong.
//!
//! Sources, later ones win: the defaults here, `--config FILE` (TOML), then the environment, where
//! `FRAMEWIRE_<SECTION>_<KEY>` is `[section] key` (`FRAMEWIRE_WORKER_SLOTS=4`). One file serves the
//! gateway and the workers, each reads its sections. An unknown key, a value of another type and a
//! contradiction refuse to start, and the message names the keys and the values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tracing_subscriber::EnvFilter;

use super::models::Models;
use super::providers::{Adapter, ProviderSettings};
use super::tenants::Tenants;
use crate::domain::lease::RENEWALS_PER_LEASE_MIN;
use crate::domain::{Pool, Tenant};
use crate::store::caps::{CAP_MAX, SESSION_CAP};
use crate::store::operate::Durability;
use crate::store::topology::CELLS_MAX;
use crate::store::{QueueOptions, RedisOptions};

/// Prefix of environment variables that are settings.
pub const ENV_PREFIX: &str = "FRAMEWIRE_";

/// Why a process refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A source can't be read, or a key or value in it is not known.
    #[error("read the settings: {0}")]
    Source(#[from] config::ConfigError),
    /// Two values that can't both hold.
    #[error("accept the settings: {0}")]
    Contradiction(String),
}

/// Everything that can be set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where Redis is.
    pub redis: RedisSettings,
    /// Where the frames are.
    pub artifacts: ArtifactSettings,
    /// Bounds and times of the queue.
    pub queue: QueueSettings,
    /// HTTP.
    pub gateway: GatewaySettings,
    /// The worker.
    pub worker: WorkerSettings,
    /// The built-in provider.
    pub builtin: BuiltinSettings,
    /// Outside services that make images, by name.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// An OpenAI images API, short for a provider, a pool and a model.
    pub openai: Option<Box<ProviderSettings>>,
    /// The same of a ComfyUI server.
    pub comfyui: Option<Box<ProviderSettings>>,
    /// The same of AUTOMATIC1111.
    pub automatic1111: Option<Box<ProviderSettings>>,
    /// The same of Replicate.
    pub replicate: Option<Box<ProviderSettings>>,
    /// The same of fal.
    pub fal: Option<Box<ProviderSettings>>,
    /// Pictures that requests give as addresses.
    pub inputs: InputSettings,
    /// What holds for the breakers of all providers.
    pub breaker: BreakerSettings,
    /// What users may name as `model`, and where it runs.
    pub models: Models,
    /// Bounds of pools, by name.
    pub pools: BTreeMap<Pool, PoolSettings>,
    /// Who may make sessions with a key.
    pub tenants: Tenants,
    /// Logs.
    pub log: LogSettings,
}

/// `[redis]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port[/db]`, `redis+unix:///path`,
    /// `redis+sentinel://[user:password@]host:port,host:port/master[/db]` or
    /// `redis+cluster://[user:password@]host:port,host:port`.
    pub url: String,
    /// Cells that sessions are spread over; 1, or 12 in a cluster, where it is not said.
    pub cells: Option<NonZeroU16>,
    /// Replicas that must have a job before its submit is answered 202.
    pub replicas: u32,
    /// Longest wait for one call; after it a request gets 503.
    #[serde(rename = "call_timeout_ms", deserialize_with = "ms")]
    pub call_timeout: Duration,
    /// Whether start-up demands that a 202 survives a power cut.
    pub durability: Durability,
}

impl Default for RedisSettings {
    fn default() -> Self {
        let RedisOptions { url, replicas, call_timeout, durability, .. } = RedisOptions::default();
        Self { url, cells: None, replicas, call_timeout, durability }
    }
}

/// `[artifacts]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArtifactSettings {
    /// Folder on the local disk, shared by the gateway and the workers.
    pub path: PathBuf,
}

impl Default for ArtifactSettings {
    fn default() -> Self {
        Self { path: ".framewire/artifacts".into() }
    }
}

/// `[queue]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Jobs of one session that may run at the same time, until an operator says otherwise.
    pub session_cap: NonZeroU32,
    /// Jobs that may wait in one pool; beyond it submits get 503.
    pub queue_max: NonZeroU32,
    /// Unfinished jobs of one session; beyond it submits get 429.
    pub session_max: NonZeroU32,
    /// How long a job and its frames stay after its end.
    #[serde(rename = "retention_s", deserialize_with = "seconds")]
    pub retention: Duration,
    /// How long a claim holds without renewal: the time until a dead worker's jobs are taken over.
    #[serde(rename = "lease_ms", deserialize_with = "ms")]
    pub lease: Duration,
    /// How often a worker renews its leases, and hears of cancellations.
    #[serde(rename = "renew_ms", deserialize_with = "ms")]
    pub renew: Duration,
    /// Attempts that a submit or a retry buys.
    pub attempts: NonZeroU32,
    /// Longest call to a provider; after it the attempt fails with TIMEOUT.
    #[serde(rename = "attempt_timeout_s", deserialize_with = "seconds")]
    pub attempt_timeout: Duration,
    /// Workers lost in a row that end a job.
    pub losses_max: NonZeroU32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        let options = QueueOptions::default();
        Self {
            session_cap: some(SESSION_CAP),
            queue_max: some(options.queue_max),
            session_max: some(options.session_max),
            retention: options.retention,
            lease: options.lease,
            renew: Duration::from_secs(1),
            attempts: some(options.attempts),
            attempt_timeout: Duration::from_secs(300),
            losses_max: some(options.losses_max),
        }
    }
}

const fn some(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// `[gateway]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve HTTP.
    pub threads: NonZeroU32,
    /// Largest request body; beyond it 413.
    pub body_bytes_max: usize,
    /// Streams of one session on this gateway; beyond it the stream says `bye limit`.
    pub streams_per_session_max: usize,
    /// Streams on this gateway; beyond it the stream says `bye overloaded`.
    pub streams_max: usize,
    /// How often a stream says `ping`.
    #[serde(rename = "ping_ms", deserialize_with = "ms")]
    pub ping: Duration,
    /// Longest life of a stream; each ends at a random point between 4/6 and 6/6 of it.
    #[serde(rename = "stream_age_max_s", deserialize_with = "seconds")]
    pub stream_age_max: Duration,
    /// Whether the session cookie is only sent over HTTPS.
    pub secure_cookie: bool,
    /// Whether a session can be made without a tenant's key.
    pub anonymous_sessions: bool,
    /// How long after its last stream's reader a session's jobs are cancelled; never if `None`.
    #[serde(rename = "cancel_on_disconnect_s", deserialize_with = "maybe_seconds")]
    pub cancel_on_disconnect: Option<Duration>,
    /// Time over which a drain spreads the ends of its streams.
    #[serde(rename = "drain_ms", deserialize_with = "ms")]
    pub drain: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            threads: some(2),
            body_bytes_max: 64 * 1024,
            streams_per_session_max: 16,
            streams_max: 15_000,
            ping: Duration::from_secs(15),
            stream_age_max: Duration::from_secs(18 * 60),
            secure_cookie: false,
            anonymous_sessions: true,
            cancel_on_disconnect: None,
            drain: Duration::from_secs(2),
        }
    }
}

/// `[worker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// Jobs that run at the same time in one process.
    pub slots: NonZeroU32,
    /// Pools it serves, those of all models when empty; in the environment, separated by commas.
    #[serde(deserialize_with = "pools")]
    pub pools: Vec<Pool>,
    /// How long running jobs may go on after SIGTERM before they are handed back.
    #[serde(rename = "drain_s", deserialize_with = "seconds")]
    pub drain: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { slots: some(2), pools: Vec::new(), drain: Duration::from_secs(20) }
    }
}

/// `[pools.<name>]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSettings {
    /// Jobs that may run in it at the same time, until an operator says otherwise; 0 is a pause.
    pub cap: Option<u32>,
    /// What a submit gets while all of its providers are closed off.
    #[serde(default)]
    pub when_closed: WhenClosed,
}

/// What a submit gets while all providers of its pool are closed off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenClosed {
    /// A place in the queue, and the wait that is expected.
    #[default]
    Wait,
    /// 503, and when to come again.
    Refuse,
}

/// `[inputs]`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSettings {
    /// Whether a picture to start from may be fetched without TLS.
    pub allow_http: bool,
    /// Whether it may be fetched from private, loopback and link-local addresses.
    pub allow_private: bool,
}

/// `[breaker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// Whether breakers refuse; they record in any case.
    pub enabled: bool,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Shortest time after which a session counts as left: a reload or a change of networks is shorter.
const DISCONNECT_MIN: Duration = Duration::from_secs(10);

/// `[builtin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuiltinSettings {
    /// Whether `input.fault` may make it misbehave; for tests and demonstrations.
    pub faults: bool,
    /// Simulated thinking per step where the input does not say.
    #[serde(rename = "step_ms", deserialize_with = "ms")]
    pub step: Duration,
}

impl Default for BuiltinSettings {
    fn default() -> Self {
        Self { faults: false, step: Duration::from_millis(120) }
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// For people or for collectors.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, or directives as of tracing-subscriber's EnvFilter.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,actix_server=warn".into() }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

impl Settings {
    /// Reads the file, if one is given, and the environment, and checks that they agree.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        for (name, value) in environment {
            let Some(path) = env_path(&name) else {
                continue;
            };
            builder = builder.set_override(path, value)?;
        }
        let mut settings: Self = builder.build()?.try_deserialize()?;
        settings.resolve().map_err(SettingsError::Contradiction)?;
        settings.check()?;
        Ok(settings)
    }

    /// Follows names of providers, models and pools to what they stand for.
    fn resolve(&mut self) -> Result<(), String> {
        let sections = [
            (Adapter::OpenAi, &mut self.openai),
            (Adapter::ComfyUi, &mut self.comfyui),
            (Adapter::Automatic1111, &mut self.automatic1111),
            (Adapter::Replicate, &mut self.replicate),
            (Adapter::Fal, &mut self.fal),
        ];
        let sections = sections.into_iter().filter_map(|(name, it)| Some((name, *it.take()?)));
        self.models.resolve(&mut self.providers, sections.collect())?;
        if self.worker.pools.is_empty() {
            self.worker.pools = self.models.pools().into_iter().cloned().collect();
        }
        let pools = self.models.pools();
        match self.worker.pools.iter().find(|pool| !pools.contains(pool)) {
            Some(pool) => {
                Err(format!("worker.pools: no [models] entry waits in the pool {pool:?}"))
            }
            None => Ok(()),
        }
    }

    /// Tells what a submit to a pool gets while all of its providers are closed off.
    pub fn when_closed(&self, pool: &Pool) -> WhenClosed {
        self.pools.get(pool).map(|its| its.when_closed).unwrap_or_default()
    }

    /// Refuses what each value allows and all together do not.
    fn check(&self) -> Result<(), SettingsError> {
        let queue = &self.queue;
        let refuse = |text: String| Err(SettingsError::Contradiction(text));
        if let Some(cells) = self.redis.cells.filter(|cells| cells.get() > CELLS_MAX) {
            return refuse(format!("redis.cells = {cells} is more than {CELLS_MAX}"));
        }
        if queue.renew.is_zero() || queue.lease < queue.renew * RENEWALS_PER_LEASE_MIN {
            return refuse(format!(
                "queue.lease_ms = {} is shorter than {RENEWALS_PER_LEASE_MIN} times \
                 queue.renew_ms = {}; one late renewal would lose a running job",
                queue.lease.as_millis(),
                queue.renew.as_millis(),
            ));
        }
        if queue.session_cap > queue.session_max {
            return refuse(format!(
                "queue.session_cap = {} is more than queue.session_max = {}; \
                 no session could reach its cap",
                queue.session_cap, queue.session_max,
            ));
        }
        if self.gateway.body_bytes_max < 32 * 1024 {
            return refuse(format!(
                "gateway.body_bytes_max = {} is less than 32768, the size of the longest prompt \
                 that is accepted",
                self.gateway.body_bytes_max,
            ));
        }
        if self.gateway.ping < Duration::from_secs(1)
            || self.gateway.ping > self.gateway.stream_age_max
        {
            return refuse(format!(
                "gateway.ping_ms = {} must be at least 1000 and at most gateway.stream_age_max_s = {} s",
                self.gateway.ping.as_millis(),
                self.gateway.stream_age_max.as_secs(),
            ));
        }
        if let Some(after) = self.gateway.cancel_on_disconnect
            && after < DISCONNECT_MIN
        {
            return refuse(format!(
                "gateway.cancel_on_disconnect_s = {} is less than {}; a page that is only reloaded \
                 would lose its jobs",
                after.as_secs(),
                DISCONNECT_MIN.as_secs(),
            ));
        }
        let caps =
            self.pool_caps().into_iter().map(|(pool, cap)| (format!("pools.{pool}.cap"), cap));
        let mut caps = caps.chain([("queue.session_cap".into(), queue.session_cap.get())]);
        if let Some((key, cap)) = caps.find(|(_, cap)| *cap > CAP_MAX) {
            return refuse(format!("{key} = {cap} is more than {CAP_MAX}, the largest cap"));
        }
        if self.tenants.0.contains_key(&Tenant::public()) {
            return refuse(
                "tenants.public has a key; public is the tenant of sessions made without one"
                    .into(),
            );
        }
        if !self.gateway.anonymous_sessions && self.tenants.0.is_empty() {
            return refuse(
                "gateway.anonymous_sessions = false, and there is no tenants.<name>.key_sha256; \
                 nobody could make a session"
                    .into(),
            );
        }
        if let Err(error) = EnvFilter::try_new(&self.log.filter) {
            return refuse(format!("log.filter = {:?} can't be read: {error}", self.log.filter));
        }
        Ok(())
    }

    /// Gives what the store needs to know of Redis.
    pub fn redis_options(&self) -> RedisOptions {
        RedisOptions {
            url: self.redis.url.clone(),
            cells: self.redis.cells.map(NonZeroU16::get),
            replicas: self.redis.replicas,
            call_timeout: self.redis.call_timeout,
            durability: self.redis.durability,
        }
    }

    /// Gives the caps of pools that an operator may overrule.
    pub fn pool_caps(&self) -> BTreeMap<Pool, u32> {
        self.pools.iter().filter_map(|(pool, its)| Some((pool.clone(), its.cap?))).collect()
    }

    /// Gives what the store needs to know of the queue.
    pub fn queue_options(&self) -> QueueOptions {
        let queue = &self.queue;
        QueueOptions {
            queue_max: queue.queue_max.get(),
            session_max: queue.session_max.get(),
            retention: queue.retention,
            lease: queue.lease,
            // Past the call's own deadline there is only storing left.
            attempt_max: queue.attempt_timeout + Duration::from_secs(60),
            attempts: queue.attempts.get(),
            losses_max: queue.losses_max.get(),
            ..QueueOptions::default()
        }
    }
}

/// Turns `FRAMEWIRE_WORKER_SLOTS` into `worker.slots`; `None` for a variable that is not ours. A key
/// of a named provider is the one thing deeper that is better not in a file.
fn env_path(name: &str) -> Option<String> {
    let rest = name.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase();
    let provider = rest.strip_prefix("providers_").and_then(|name| name.strip_suffix("_api_key"));
    if let Some(provider) = provider {
        return Some(format!("providers.{provider}.api_key"));
    }
    let (section, key) = rest.split_once('_')?;
    Some(format!("{section}.{key}"))
}

/// Gives the process's environment, without variables that are not text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// Reads seconds; 0 is never.
fn maybe_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Some(seconds(deserializer)?).filter(|duration| !duration.is_zero()))
}

/// Reads a list, or one text with commas, as the environment gives it.
fn pools<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<Pool>),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::List(list) => Ok(list),
        Either::Text(text) => text
            .split(',')
            .map(|name| name.trim().parse().map_err(serde::de::Error::custom))
            .collect(),
    }
}

/// The options that both processes take.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// Settings in TOML; `FRAMEWIRE_<SECTION>_<KEY>` in the environment wins over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Loads the settings from the named file and the process's environment.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        Settings::load(self.config.as_deref(), environment())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::load(None, variables).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_reaches_every_kind_of_value() {
        let settings = with(&[
            ("FRAMEWIRE_WORKER_SLOTS", "7"),
            ("FRAMEWIRE_WORKER_POOLS", "default, openai"),
            ("FRAMEWIRE_OPENAI_API_KEY", "sk-1"),
            ("FRAMEWIRE_QUEUE_LEASE_MS", "9000"),
            ("FRAMEWIRE_BUILTIN_FAULTS", "true"),
            ("FRAMEWIRE_GATEWAY_LISTEN", "0.0.0.0:9000"),
            ("UNRELATED", "x"),
        ])
        .unwrap();
        assert_eq!(settings.worker.slots.get(), 7);
        assert_eq!(settings.worker.pools.len(), 2);
        assert_eq!(settings.queue.lease, Duration::from_secs(9));
        assert!(settings.builtin.faults);
        assert_eq!(settings.gateway.listen.port(), 9000);
        assert!(settings.models.0.contains_key("builtin"));
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for name in ["FRAMEWIRE_WORKER_SLOT", "FRAMEWIRE_WROKER_SLOTS"] {
            let error = with(&[(name, "1")]).unwrap_err();
            let key = name.rsplit('_').next().unwrap().to_lowercase();
            assert!(error.contains(&key) || error.contains("wroker"), "{error}");
        }
    }

    #[test]
    fn contradictions_name_both_values() {
        let error =
            with(&[("FRAMEWIRE_QUEUE_LEASE_MS", "2500"), ("FRAMEWIRE_QUEUE_RENEW_MS", "1000")])
                .unwrap_err();
        assert!(error.contains("2500") && error.contains("1000"), "{error}");
        let error = with(&[("FRAMEWIRE_QUEUE_SESSION_CAP", "200")]).unwrap_err();
        assert!(error.contains("200") && error.contains("100"), "{error}");
        assert!(with(&[("FRAMEWIRE_WORKER_SLOTS", "0")]).is_err());
        assert!(with(&[("FRAMEWIRE_WORKER_SLOTS", "many")]).is_err());
        let error = with(&[("FRAMEWIRE_GATEWAY_CANCEL_ON_DISCONNECT_S", "3")]).unwrap_err();
        assert!(error.contains("= 3 ") && error.contains("10"), "{error}");
        let error = with(&[("FRAMEWIRE_GATEWAY_ANONYMOUS_SESSIONS", "false")]).unwrap_err();
        assert!(error.contains("nobody could make a session"), "{error}");
        let error = with(&[("FRAMEWIRE_LOG_FILTER", "info,framewire=loud")]).unwrap_err();
        assert!(error.contains("log.filter") && error.contains("loud"), "{error}");
    }

    fn with_file(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("framewire.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(Some(&file), std::iter::empty()).map_err(|error| error.to_string())
    }

    #[test]
    fn tenants_and_pools_are_read_from_the_file_by_name() {
        let digest = "0f".repeat(32);
        let settings = with_file(&format!(
            "[gateway]\nanonymous_sessions = false\ncancel_on_disconnect_s = 30\n\
             [tenants.acme]\nkey_sha256 = \"{digest}\"\n[pools.gpu]\ncap = 0\n"
        ))
        .unwrap();
        assert_eq!(settings.tenants.0.keys().map(Tenant::as_str).collect::<Vec<_>>(), ["acme"]);
        assert_eq!(settings.pool_caps().into_values().collect::<Vec<_>>(), [0]);
        assert_eq!(settings.gateway.cancel_on_disconnect, Some(Duration::from_secs(30)));
        assert_eq!(with(&[]).unwrap().gateway.cancel_on_disconnect, None, "off by default");
        for (bad, word) in [
            (format!("[tenants.public]\nkey_sha256 = \"{digest}\""), "public"),
            ("[tenants.acme]\nkey = \"secret\"".into(), "key"),
            ("[tenants.acme]\nkey_sha256 = \"secret\"".into(), "sha256sum"),
            ("[tenants.\"A b\"]\nkey_sha256 = \"x\"".into(), "tenant name"),
            ("[pools.gpu]\ncap = 100001".into(), "100001"),
            ("[pools.gpu]\ncap = -1".into(), "cap"),
        ] {
            let error = with_file(&bad).unwrap_err();
            assert!(error.contains(word), "{word} is missing in: {error}");
        }
    }
}
