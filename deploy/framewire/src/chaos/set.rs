//! Sets the stage: a Redis of its own, workers and gateways with a proxy each.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::life::LOSSES_MAX;
use super::mutant::Mutant;
use super::proxy::{Front, Link};
use super::schedule::LEASE_MS;
use super::stage::{Actor, Stage};
use super::witness::SESSION_CAP;
use super::{ChaosArgs, ChaosError};
use crate::data::DataDir;
use crate::redis;

/// Longest wait until everybody answers.
const OPENING: Duration = Duration::from_secs(30);

/// Where things are.
#[derive(Debug)]
pub(super) struct Places {
    /// Redis itself.
    pub(super) socket: PathBuf,
    /// The gateways, like `http://127.0.0.1:40001`.
    pub(super) gateways: Vec<String>,
}

/// Puts everybody on stage; nobody runs yet.
pub(super) fn up(
    args: &ChaosArgs,
    data: &DataDir,
    mutant: Option<&Mutant>,
) -> Result<(Stage, Places), ChaosError> {
    let socket = data.socket(&[std::env::temp_dir(), "/tmp".into()])?;
    let program = redis::program(redis::find()?, data, &socket)?;
    let mut server = Actor::new("redis".into(), &program.path, data.path());
    server.arguments = program.arguments;
    server.arguments.extend(["--appendfsync", args.appendfsync.word()].map(Into::into));
    let mut workers = Vec::new();
    for number in 1..=args.workers {
        let path = beside("framewire-worker")?;
        let mut worker = Actor::new(format!("worker-{number}"), &path, data.path());
        worker.environment = settings(data, args);
        // Half of them finish what they have when they are asked to leave, half hand it back.
        let drain = ("FRAMEWIRE_WORKER_DRAIN_S".to_owned(), (number % 2).to_string());
        worker.environment.push(drain);
        link(&mut worker, number, &socket, mutant)?;
        workers.push(worker);
    }
    let (mut gateways, mut addresses) = (Vec::new(), Vec::new());
    for number in 1..=args.gateways {
        let path = beside("framewire-gateway")?;
        let mut gateway = Actor::new(format!("gateway-{number}"), &path, data.path());
        gateway.environment = settings(data, args);
        let at = free_address()?;
        let listen = ("FRAMEWIRE_GATEWAY_LISTEN".to_owned(), at.to_string());
        gateway.environment.push(listen);
        link(&mut gateway, number, &socket, mutant)?;
        addresses.push(format!("http://{at}"));
        gateways.push(gateway);
    }
    let stage = Stage { redis: server, workers, gateways, crashes: Vec::new() };
    let places = Places { socket, gateways: addresses };
    Ok((stage, places))
}

/// Gives what all workers and gateways are set to: short leases, so that losses are quick.
fn settings(data: &DataDir, args: &ChaosArgs) -> Vec<(String, String)> {
    let artifacts = data.artifacts().display().to_string();
    let all = [
        ("FRAMEWIRE_ARTIFACTS_PATH", artifacts),
        ("FRAMEWIRE_WORKER_SLOTS", args.slots().to_string()),
        ("FRAMEWIRE_REDIS_CALL_TIMEOUT_MS", "1000".into()),
        ("FRAMEWIRE_QUEUE_LEASE_MS", LEASE_MS.to_string()),
        ("FRAMEWIRE_QUEUE_RENEW_MS", (LEASE_MS / 4).to_string()),
        ("FRAMEWIRE_QUEUE_SESSION_CAP", SESSION_CAP.to_string()),
        ("FRAMEWIRE_QUEUE_SESSION_MAX", args.session_max().to_string()),
        ("FRAMEWIRE_QUEUE_LOSSES_MAX", LOSSES_MAX.to_string()),
        ("FRAMEWIRE_GATEWAY_PING_MS", "1000".into()),
        ("FRAMEWIRE_GATEWAY_DRAIN_MS", "500".into()),
        ("FRAMEWIRE_BUILTIN_FAULTS", "true".into()),
        ("FRAMEWIRE_LOG_FILTER", "info".into()),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Gives an actor its way to Redis: over TCP for every other one, over a socket for the rest.
fn link(actor: &mut Actor, number: u8, back: &Path, mutant: Option<&Mutant>) -> io::Result<()> {
    let (front, url) = if number.is_multiple_of(2) {
        let (front, at) = Front::tcp()?;
        (front, format!("redis://{at}"))
    } else {
        let path = back.with_file_name(format!("{}.sock", actor.name));
        drop(std::fs::remove_file(&path));
        (Front::unix(&path)?, redis::url_of(&path))
    };
    actor.link = Some(Link::open(front, back, mutant.cloned()));
    actor.environment.push(("FRAMEWIRE_REDIS_URL".to_owned(), url));
    Ok(())
}

fn beside(name: &'static str) -> Result<PathBuf, ChaosError> {
    let path = std::env::current_exe()?.with_file_name(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(ChaosError::Missing(name)),
    }
}

/// Finds an address that is free now; a gateway that is killed comes back to it.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Starts everybody and waits until all are ready.
pub(super) async fn open(stage: &mut Stage, places: &Places) -> Result<(), ChaosError> {
    let deadline = Instant::now() + OPENING;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut waiting: Vec<String> = places.gateways.clone();
    loop {
        stage.tend()?;
        if let Some(gateway) = waiting.last() {
            let ready = http.get(format!("{gateway}/readyz")).send().await;
            if ready.is_ok_and(|reply| reply.status().is_success()) {
                waiting.pop();
            }
        }
        if waiting.is_empty() && stage.workers.iter_mut().all(|it| it.title().is_some()) {
            return Ok(());
        }
        if Instant::now() > deadline || !stage.crashes.is_empty() {
            return Err(ChaosError::Opening(stage.crashes.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
