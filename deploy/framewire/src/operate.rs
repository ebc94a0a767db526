//! Which Redis an operator's command speaks to: the one that is named, else that of a `framewire up`.
//!
//! Order: `--redis`, `--data`, then `redis.url` of the settings where somebody set it, then the
//! private Redis of `./.framewire`. A data directory is only looked into and never taken: its
//! launcher may be running, and that is when one asks.

use std::path::{Path, PathBuf};

use framewire_shared::service::settings::{self, ConfigArgs, Settings, SettingsError};
use framewire_shared::store::{Store, StoreError};

use crate::console;
use crate::plan;
use crate::redis;
use crate::summary::quoted;
use crate::up::socket_folders;

/// Where `framewire up` keeps everything unless it is told otherwise.
const DATA_DEFAULT: &str = "./.framewire";

/// The options of all operator's commands.
#[derive(Debug, clap::Args)]
pub(crate) struct WhichRedis {
    /// The Redis to look into
    #[arg(long, value_name = "URL", conflicts_with = "data", global = true)]
    redis: Option<String>,
    /// Data directory of the `framewire up` to look into [default: redis.url, else ./.framewire]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Settings in TOML; `FRAMEWIRE_<SECTION>_<KEY>` in the environment wins over it.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Why there is nothing to look into.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhichError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("find the private Redis of {}", .data.display())]
    NoSocket { data: PathBuf },
    #[error("understand the Redis URL {url}")]
    Url { url: String, source: StoreError },
}

/// The store, and how redis-cli reaches the same Redis.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) redis_cli: String,
}

impl WhichRedis {
    /// Opens the store; whether Redis answers is seen at the first call.
    pub(crate) fn open(&self) -> Result<Opened, WhichError> {
        let environment: Vec<_> = settings::environment().collect();
        let config = ConfigArgs { config: self.config.clone() };
        let file = config.config.as_deref();
        let mut settings = Settings::load(file, environment.iter().cloned())?;
        let is_set = environment.iter().any(|(name, _)| name == "FRAMEWIRE_REDIS_URL")
            || file.is_some_and(|file| plan::sets(file, "redis.url"));
        let mut redis_cli = None;
        match (&self.redis, &self.data) {
            (Some(url), _) => settings.redis.url.clone_from(url),
            (None, None) if is_set => {}
            (None, data) => {
                let data = data.as_deref().unwrap_or(Path::new(DATA_DEFAULT));
                let folders = socket_folders(&environment);
                let socket = crate::data::find_socket(data, &folders).ok_or_else(|| {
                    let data = data.to_owned();
                    WhichError::NoSocket { data }
                })?;
                settings.redis.url = redis::url_of(&socket);
                redis_cli = Some(format!("redis-cli -s {}", quoted(&socket)));
            }
        }
        let url = &settings.redis.url;
        let store = Store::open(settings.redis_options(), settings.queue_options())
            .map_err(|source| WhichError::Url { url: redis::without_password(url), source })?;
        Ok(Opened { store, redis_cli: redis_cli.unwrap_or_else(|| redis::look_in(url)) })
    }
}

/// Shows why a command could not do anything.
pub(crate) fn complain_unopened(error: &WhichError) {
    let hint = matches!(error, WhichError::NoSocket { .. }).then_some(
        "does `framewire up` run there? name another with --data DIR, or a Redis with --redis URL",
    );
    console::complain(error, hint);
}

/// Shows that Redis did not do what was asked.
pub(crate) fn complain_unreached(error: &StoreError, opened: &Opened) {
    let hint = format!("try: {} ping", opened.redis_cli);
    console::complain(error, Some(&hint));
}
