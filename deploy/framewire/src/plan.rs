//! What was asked for: flags, settings, and the launcher's own defaults.
//!
//! Later ones win: defaults, `--config FILE`, `FRAMEWIRE_*`, flags. The children read the same file
//! and the same environment, so a flag is passed on as the variable of its name and nothing has two
//! sources. Settings are loaded here too, so that a wrong one is refused before anything starts.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use framewire_shared::service::settings::{ConfigArgs, Settings, SettingsError};

/// Workers that one launcher starts at most: beyond it, what you want is several machines.
const WORKERS_MAX: i64 = 64;

/// What `framewire up` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Where the studio and the API listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Folder of everything that is kept: jobs, sessions, frames
    #[arg(long, value_name = "DIR", default_value = "./.framewire")]
    pub(crate) data: PathBuf,
    /// A Redis of yours (7.0 or newer, noeviction) instead of a private one
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=WORKERS_MAX))]
    pub(crate) workers: u8,
    /// Jobs that run at the same time in each worker [default: 2]
    #[arg(long, value_name = "N")]
    slots: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// Why the request can't be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("find this program's own file")]
    CurrentExe(#[source] std::io::Error),
    #[error("find {name} beside {}", .own.display())]
    Missing { name: &'static str, own: PathBuf },
}

impl PlanError {
    /// Says what to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        matches!(self, Self::Missing { .. }).then(|| {
            "the three programs of Framewire belong into one folder\n\
             build them with: cargo build --release --workspace"
                .into()
        })
    }
}

/// What will be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The settings as the children will see them, but for what the launcher decides later.
    pub(crate) settings: Settings,
    /// Variables that the children get on top of the launcher's own environment.
    pub(crate) overrides: Vec<(String, String)>,
    /// Whether a private Redis is to be started.
    pub(crate) private_redis: bool,
    /// Whether somebody said where the frames are.
    pub(crate) artifacts_named: bool,
    /// The programs.
    pub(crate) programs: Programs,
}

/// The three programs of one build.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) launcher: PathBuf,
    pub(crate) gateway: PathBuf,
    pub(crate) worker: PathBuf,
}

impl Plan {
    /// Reads flags, file and environment.
    pub(crate) fn new(args: &UpArgs, environment: &[(String, String)]) -> Result<Self, PlanError> {
        let flags = [
            ("FRAMEWIRE_GATEWAY_LISTEN", args.listen.map(|at| at.to_string())),
            ("FRAMEWIRE_WORKER_SLOTS", args.slots.map(|slots| slots.to_string())),
            ("FRAMEWIRE_REDIS_URL", args.redis.clone()),
        ];
        let overrides: Vec<(String, String)> =
            flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let all = environment.iter().chain(&overrides);
        let file = args.config.config.as_deref();
        let settings = Settings::load(file, all.clone().cloned())?;
        let named = |variable: &str, key: &str| {
            all.clone().any(|(name, _)| name == variable) || file.is_some_and(|it| sets(it, key))
        };
        Ok(Self {
            private_redis: !named("FRAMEWIRE_REDIS_URL", "redis.url"),
            artifacts_named: named("FRAMEWIRE_ARTIFACTS_PATH", "artifacts.path"),
            programs: Programs::find()?,
            settings,
            overrides,
        })
    }
}

/// Tells whether a file, which has been read before, sets a key.
pub(crate) fn sets(file: &Path, key: &str) -> bool {
    let source = config::File::from(file).format(config::FileFormat::Toml);
    config::Config::builder()
        .add_source(source)
        .build()
        .is_ok_and(|found| found.get::<config::Value>(key).is_ok())
}

impl Programs {
    fn find() -> Result<Self, PlanError> {
        let own = std::env::current_exe().map_err(PlanError::CurrentExe)?;
        let beside = |name| {
            let path = own.with_file_name(name);
            let own = own.clone();
            if path.is_file() { Ok(path) } else { Err(PlanError::Missing { name, own }) }
        };
        Ok(Self {
            gateway: beside("framewire-gateway")?,
            worker: beside("framewire-worker")?,
            launcher: own,
        })
    }
}
