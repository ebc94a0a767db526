//! `framewire up`: start in order, watch, stop in order.
//!
//! Start: Redis, since nobody can do anything without it; the workers; the gateway last, so that
//! the first job it promises has somebody to draw it. Each is told of when it is seen to run.
//! Stop is the same backwards, with the reasons in `crew`. Whatever ends the middle part,
//! Ctrl-C, a refusal or an error, the stop is the same.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use framewire_shared::service::settings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::Store;
use framewire_shared::store::operate::Durability;
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::child::{Heard, Nursery, Program, StartError};
use crate::console::{self, Console};
use crate::crew::{Crew, Role};
use crate::data::{DataDir, DataError};
use crate::leftovers::{self, LeftoverError};
use crate::member::{Bonds, Refusal};
use crate::plan::{Plan, PlanError, UpArgs};
use crate::redis::{self, RedisError};
use crate::summary::{Summary, quoted};

/// How often a gateway that has not said that it listens is called.
const CALL_EVERY: Duration = Duration::from_millis(100);

/// Why `framewire up` ends with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Leftover(#[from] LeftoverError),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("listen on {at}")]
    Port { at: SocketAddr, source: std::io::Error },
}

impl UpError {
    /// Says what to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Leftover(error) => error.hint(),
            Self::Redis(error) => error.hint(),
            Self::Port { .. } => Some(
                "name another address with: framewire up --listen 127.0.0.1:8081\n\
                 or take any free port with: framewire up --listen 127.0.0.1:0"
                    .into(),
            ),
            Self::Refused(refusal) => refusal.hint(),
            Self::Start(_) | Self::Signals(_) => None,
        }
    }
}

/// Runs everything until it is asked to stop.
pub(crate) async fn up(args: UpArgs) -> Result<(), UpError> {
    let environment: Vec<_> = settings::environment().collect();
    let console = Console::new(environment.iter().cloned());
    let plan = Plan::new(&args, &environment)?;
    let shutdown = Shutdown::new();
    let signals = shutdown.on_signals().map_err(UpError::Signals)?;
    let hang_up = on_hang_up(shutdown.drain.clone()).map_err(UpError::Signals)?;
    let data = DataDir::take(&args.data)?;
    leftovers::clear(&data.run(), &console).await?;
    is_free(plan.settings.gateway.listen)?;

    let socket = match plan.private_redis {
        true => Some(data.socket(&socket_folders(&environment))?),
        false => None,
    };
    let nursery = Nursery {
        launcher: plan.programs.launcher.clone(),
        run: data.run(),
        console: console.clone(),
    };
    let (refusals, mut refused) = mpsc::channel(1);
    let bonds =
        Bonds { nursery, ready: CancellationToken::new(), hurry: shutdown.stop.clone(), refusals };
    let mut crew = Crew::new(bonds, &plan.settings);
    let outcome = tokio::select! {
        // Once all run, this branch is done with and the others are waited for.
        Err(error) = start(&mut crew, &args, plan, &data, socket.as_deref()) => Err(error),
        () = shutdown.drain.cancelled() => Ok(()),
        Some(refusal) = refused.recv() => Err(refusal.into()),
    };
    crew.stop().await;
    if let Some(socket) = socket {
        data.forget(&socket);
    }
    signals.abort();
    hang_up.abort();
    outcome
}

/// Starts everything and shows what runs.
async fn start(
    crew: &mut Crew,
    args: &UpArgs,
    mut plan: Plan,
    data: &DataDir,
    socket: Option<&Path>,
) -> Result<(), UpError> {
    let mut summary = Summary::default();
    if let Some(socket) = socket {
        let mut program = redis::program(redis::find()?, data, socket)?;
        if plan.settings.redis.durability == Durability::Strict {
            program = redis::synced(program);
        }
        let pid = crew.start(Role::Redis, program)?.0;
        let url = redis::url_of(socket);
        plan.settings.redis.url = url.clone();
        plan.overrides.push(("FRAMEWIRE_REDIS_URL".into(), url));
        summary.add("redis", &format!("process {pid}, look in: redis-cli -s {}", quoted(socket)));
    } else {
        let look_in = redis::look_in(&plan.settings.redis.url);
        summary.add("redis", &format!("yours, look in: {look_in}"));
    }
    let url = &plan.settings.redis.url;
    let store = Store::open(plan.settings.redis_options(), plan.settings.queue_options())
        .map_err(|source| RedisError::Url { url: redis::without_password(url), source })?;
    if socket.is_some() {
        redis::answers(&store, crew.console()).await;
    }
    redis::check(&store, url).await?;
    if !plan.artifacts_named {
        let path = data.artifacts().display().to_string();
        plan.overrides.push(("FRAMEWIRE_ARTIFACTS_PATH".into(), path));
    }

    let slots = plan.settings.worker.slots;
    for number in 1..=args.workers {
        let name = format!("worker-{number}");
        let mut program = service(&name, &plan.programs.worker, args, &plan);
        // Two workers can't have one address: each has the next port.
        if let Some(mut at) = plan.settings.worker.listen {
            if at.port() != 0 {
                at.set_port(at.port().saturating_add(u16::from(number) - 1));
            }
            program.environment.push(("FRAMEWIRE_WORKER_LISTEN".into(), at.to_string()));
        }
        let (pid, _) = crew.start(Role::Worker, program)?;
        summary.add(
            &name,
            &format!("process {pid}, {slots} {}", if slots.get() == 1 { "slot" } else { "slots" }),
        );
    }
    let program = service("gateway", &plan.programs.gateway, args, &plan);
    let (pid, heard) = crew.start(Role::Gateway, program)?;
    let at = listening(heard, plan.settings.gateway.listen).await;
    let scheme = if plan.settings.gateway.tls_certificate.is_some() { "https" } else { "http" };
    summary.add("gateway", &format!("process {pid}, {scheme}://{at}"));
    summary.add("data", &data.path().display().to_string());
    crew.is_up();
    console::show(&summary.text(scheme, &at));
    Ok(())
}

/// Says how a gateway or a worker is to be run.
fn service(name: &str, path: &Path, args: &UpArgs, plan: &Plan) -> Program {
    let config = args.config.config.iter();
    Program {
        name: name.into(),
        path: path.into(),
        arguments: config.flat_map(|file| ["--config".into(), file.into()]).collect(),
        environment: plan.overrides.clone(),
        advice: None,
        // They are made to survive it, and nobody is left who would wait for more.
        orphan_signal: Signal::SIGKILL,
    }
}

/// Refuses an address that the gateway could not have, before anything is started.
fn is_free(at: SocketAddr) -> Result<(), UpError> {
    TcpListener::bind(at).map(drop).map_err(|source| UpError::Port { at, source })
}

/// Waits until a gateway says that it listens, or, where its log is set to say less, until it
/// answers a call. Gives where.
async fn listening(mut heard: watch::Receiver<Heard>, at: SocketAddr) -> String {
    let mut calls = tokio::time::interval(CALL_EVERY);
    let mut speaks = true;
    loop {
        if let Some(address) = heard.borrow_and_update().address.clone() {
            return address;
        }
        tokio::select! {
            changed = heard.changed(), if speaks => speaks = changed.is_ok(),
            _ = calls.tick() => if at.port() != 0 && TcpStream::connect(at).await.is_ok() {
                return at.to_string();
            },
        }
    }
}

/// Treats a terminal that is closed like Ctrl-C.
fn on_hang_up(drain: CancellationToken) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        hang_up.recv().await;
        drain.cancel();
    }))
}

/// Lists where a socket may lie if the data directory's path is too long for one.
pub(crate) fn socket_folders(environment: &[(String, String)]) -> Vec<PathBuf> {
    let named = environment.iter().filter(|(name, _)| name == "XDG_RUNTIME_DIR");
    let mut folders: Vec<_> = named.map(|(_, folder)| folder.into()).collect();
    folders.extend([std::env::temp_dir(), "/tmp".into()]);
    folders
}
