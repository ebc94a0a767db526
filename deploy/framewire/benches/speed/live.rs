//! What one gateway delivers: real events in Redis, a real gateway, and readers in this process.
//!
//! Every reader has a session of its own, with its history, its cursor and its isolation, unless a row
//! says otherwise. Events are appended and published by the prelude's `emit`, as transitions do it.
//! 1. What an idle reader costs in memory, and how fast they connect;
//! 2. events to one reader each at rising rates, from the moment before the script is called until
//!    the reader has the frame, up to where the 99th percentile passes [`P99_MAX`]; beside it the rate at
//!    which Redis alone takes such events;
//! 3. events of one session to many readers;
//! 4. all readers come back at once, each with a cursor some events old.
//!
//! Gateway, Redis and readers share the machine's cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use framewire_shared::domain::SessionId;
use framewire_shared::store::{QueueOptions, Store};
use framewire_shared::testing::{Emitter, RedisServer};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::figures::{milliseconds, percentile};
use crate::process::{Owned, Process, sessions};
use crate::reader::{Heard, Reader};
use crate::server::{cpu_s, resident_bytes};
use crate::table::{row, table};

/// Readers that only wait; a process here may have 20,000 open files.
const IDLE: usize = 19_500;
/// Readers of the other measurements.
const READERS: usize = 5_000;
/// Connections being opened at the same time.
const OPENING: usize = 256;
/// Rates that are tried, in events per second.
const RATES: [u32; 7] = [1_000, 2_500, 5_000, 7_500, 10_000, 15_000, 20_000];
/// How long each is kept up.
const KEPT: Duration = Duration::from_secs(5);
/// Where a rate counts as too high.
const P99_MAX: Duration = Duration::from_millis(100);
/// Calls of the script under way at the same time.
const CALLS: usize = 256;
/// Events that Redis alone is given.
const ALONE: usize = 50_000;
/// Readers of one session, events per second to all of them, and how many.
const CROWD: usize = 1_000;
const CROWD_RATE: u32 = 50;
/// Events that each reader has missed when it comes back.
const MISSED: usize = 10;
/// Longest wait for an event that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway on a Redis of its own.
struct Stage {
    redis: RedisServer,
    gateway: Process,
    address: SocketAddr,
    emitter: Emitter,
    client: reqwest::Client,
    // Lives as long as the gateway that keeps frames in it.
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set() -> Result<Self> {
        let redis = RedisServer::start();
        let folder = tempfile::tempdir()?;
        let wide = [
            ("FRAMEWIRE_GATEWAY_STREAMS_MAX", "19900"),
            ("FRAMEWIRE_GATEWAY_STREAMS_PER_SESSION_MAX", "2000"),
            ("FRAMEWIRE_GATEWAY_STREAMS_PER_ADDRESS_MAX", "19900"),
        ];
        let mut gateway = Process::start("framewire-gateway", &redis, folder.path(), &wide)?;
        let address = gateway.wait_for("listening on http://")?.parse()?;
        let store = Store::open(redis.options(), QueueOptions::default())?;
        let emitter = Emitter::new(store);
        Ok(Self {
            redis,
            gateway,
            address,
            emitter,
            client: reqwest::Client::new(),
            _folder: folder,
        })
    }

    async fn sessions(&self, count: usize) -> Result<Arc<Vec<Owned>>> {
        let base = format!("http://{}", self.address);
        sessions(&self.client, &base, count).await.map(Arc::new)
    }

    /// Opens a stream for each session; each with what `sync` said.
    async fn open(&self, sessions: &[Owned]) -> Result<Vec<(Reader, Heard)>> {
        let open = |owned: &Owned| {
            let (address, token) = (self.address, owned.token.clone());
            async move { Reader::open(address, &token, None).await }
        };
        futures::stream::iter(sessions.iter().map(open)).buffered(OPENING).try_collect().await
    }

    /// Emits `count` events at a rate, or as fast as Redis takes them; `to` names the session of
    /// the nth. Each carries the moment before its call, in microseconds after `since`.
    async fn emit(
        &self,
        count: usize,
        rate: Option<u32>,
        since: Instant,
        to: impl Fn(usize) -> SessionId,
    ) -> Result<()> {
        let under_way = Arc::new(Semaphore::new(CALLS));
        let mut calls = JoinSet::new();
        let began = Instant::now();
        for n in 0..count {
            if let Some(rate) = rate {
                let due = began + Duration::from_secs_f64(n as f64 / f64::from(rate));
                tokio::time::sleep_until(due.into()).await;
            }
            let turn = under_way.clone().acquire_owned().await?;
            let (emitter, session) = (self.emitter.clone(), to(n));
            calls.spawn(async move {
                let body = format!("{{\"t\":{}}}", since.elapsed().as_micros());
                let told = emitter.emit(&session, "preview", &body).await;
                drop(turn);
                told
            });
            while let Some(told) = calls.try_join_next() {
                told??;
            }
        }
        while let Some(told) = calls.join_next().await {
            told??;
        }
        Ok(())
    }
}

pub(crate) async fn run() -> Result<()> {
    table("Live delivery, one gateway");
    idle().await?;
    let stage = Stage::set()?;
    let sessions = stage.sessions(READERS).await?;
    unicast(&stage, &sessions).await?;
    crowd(&stage).await?;
    storm(&stage, &sessions).await
}

/// Measurement 1.
async fn idle() -> Result<()> {
    let stage = Stage::set()?;
    let sessions = stage.sessions(IDLE).await?;
    let before = resident_bytes(stage.gateway.pid())?;
    let (began, cpu) = (Instant::now(), stage.gateway.cpu_s()?);
    let readers = stage.open(&sessions).await?;
    let took = began.elapsed().as_secs_f64();
    let each = (resident_bytes(stage.gateway.pid())? - before) / readers.len() as f64;
    row(&format!("{IDLE} idle readers: gateway memory for each"), format!("{each:.0} bytes"));
    row("  connects per second", format!("{:.0}/s", IDLE as f64 / took));
    let cpu = (stage.gateway.cpu_s()? - cpu) / IDLE as f64 * 1e6;
    row("  gateway CPU for each connect", format!("{cpu:.0} µs"));
    Ok(())
}

/// Has every reader tell how long each event took, in microseconds.
fn follow(
    readers: Vec<(Reader, Heard)>,
    since: Instant,
) -> (JoinSet<Result<()>>, mpsc::Receiver<u64>) {
    let (sender, delays) = mpsc::channel(65_536);
    let mut tasks = JoinSet::new();
    for (mut reader, _) in readers {
        let sender = sender.clone();
        tasks.spawn(async move {
            loop {
                let heard = reader.next().await?;
                let now = since.elapsed().as_micros() as u64;
                let sent = heard
                    .data
                    .rsplit_once("\"t\":")
                    .and_then(|(_, rest)| rest.trim_end_matches('}').parse::<u64>().ok());
                if let (false, Some(sent)) = (heard.id.is_empty(), sent) {
                    sender.send(now.saturating_sub(sent)).await?;
                }
            }
        });
    }
    (tasks, delays)
}

/// Waits for so many events.
async fn collect(delays: &mut mpsc::Receiver<u64>, count: usize) -> Result<Vec<Duration>> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let next = tokio::time::timeout(PATIENCE, delays.recv()).await;
        let delay = next.with_context(|| format!("{} of {count} events came", all.len()))?;
        all.push(Duration::from_micros(delay.context("readers")?));
    }
    Ok(all)
}

/// Measurement 2.
async fn unicast(stage: &Stage, sessions: &Arc<Vec<Owned>>) -> Result<()> {
    let alone = Instant::now();
    let to = |n: usize| sessions[(n * 7_919) % READERS].id.clone();
    stage.emit(ALONE, None, alone, to).await?;
    let alone = ALONE as f64 / alone.elapsed().as_secs_f64();
    row("events that Redis takes, with nobody reading", format!("{alone:.0}/s"));

    let since = Instant::now();
    let (tasks, mut delays) = follow(stage.open(sessions).await?, since);
    let mut held = 0.0;
    for rate in RATES {
        let count = (f64::from(rate) * KEPT.as_secs_f64()) as usize;
        let (began, cpu) = (Instant::now(), (stage.gateway.cpu_s()?, cpu_s(stage.redis.pid())?));
        let (told, came) =
            tokio::join!(stage.emit(count, Some(rate), since, to), collect(&mut delays, count));
        told?;
        let mut came = came?;
        let really = count as f64 / began.elapsed().as_secs_f64();
        let cpu = (stage.gateway.cpu_s()? - cpu.0, cpu_s(stage.redis.pid())? - cpu.1);
        let title = format!("{READERS} readers, {rate} events/s: delay p50 / p99");
        row(&title, milliseconds(&mut came));
        let per = |s: f64| s / count as f64 * 1e5;
        row(
            "  gateway / Redis CPU per 100,000 events",
            format!("{:.1} / {:.1} s", per(cpu.0), per(cpu.1)),
        );
        came.sort();
        let ms: Vec<f64> = came.iter().map(Duration::as_secs_f64).collect();
        if percentile(&ms, 0.99) > P99_MAX.as_secs_f64() || really < 0.9 * f64::from(rate) {
            row("  that is too much: really delivered", format!("{really:.0}/s"));
            held = f64::max(held, really);
            break;
        }
        held = really;
    }
    row("  the gateway delivers, of what Redis takes", format!("{:.2}", held / alone));
    drop(tasks);
    Ok(())
}

/// Measurement 3.
async fn crowd(stage: &Stage) -> Result<()> {
    let sessions = stage.sessions(1).await?;
    let one = &sessions[0];
    let crowd: Vec<Owned> =
        (0..CROWD).map(|_| Owned { id: one.id.clone(), token: one.token.clone() }).collect();
    let since = Instant::now();
    let (tasks, mut delays) = follow(stage.open(&crowd).await?, since);
    let count = (f64::from(CROWD_RATE) * KEPT.as_secs_f64()) as usize;
    let cpu = stage.gateway.cpu_s()?;
    let (told, came) = tokio::join!(
        stage.emit(count, Some(CROWD_RATE), since, |_| one.id.clone()),
        collect(&mut delays, count * CROWD)
    );
    told?;
    let title = format!("{CROWD} readers of one session, {CROWD_RATE} events/s: delay p50 / p99");
    row(&title, milliseconds(&mut came?));
    let cpu = (stage.gateway.cpu_s()? - cpu) / (count * CROWD) as f64 * 1e5;
    row("  gateway CPU per 100,000 deliveries", format!("{cpu:.1} s"));
    drop(tasks);
    Ok(())
}

/// Measurement 4.
async fn storm(stage: &Stage, sessions: &Arc<Vec<Owned>>) -> Result<()> {
    let cursors: Vec<String> =
        stage.open(sessions).await?.into_iter().map(|(_, sync)| sync.id).collect();
    let to = |n: usize| sessions[n % READERS].id.clone();
    stage.emit(READERS * MISSED, None, Instant::now(), to).await?;
    let (began, cpu) = (Instant::now(), stage.gateway.cpu_s()?);
    let back = sessions.iter().zip(&cursors).map(|(owned, cursor)| async move {
        let (mut reader, sync) = Reader::open(stage.address, &owned.token, Some(cursor)).await?;
        ensure!(sync.data.contains("\"resumed\""), "not resumed: {}", sync.data);
        let mut last = place(cursor)?;
        for _ in 0..MISSED {
            let heard = reader.next().await?;
            let n = place(&heard.id)?;
            ensure!(n == last + 1, "event {n} came after {last}");
            last = n;
        }
        Ok(reader)
    });
    let readers: Vec<Reader> =
        futures::stream::iter(back).buffer_unordered(OPENING).try_collect().await?;
    let took = began.elapsed().as_secs_f64();
    let title = format!("{READERS} readers come back, each {MISSED} events behind");
    row(&title, format!("{:.0}/s", readers.len() as f64 / took));
    let cpu = (stage.gateway.cpu_s()? - cpu) / READERS as f64 * 1e6;
    row("  gateway CPU for each", format!("{cpu:.0} µs"));
    Ok(())
}

/// Reads an event's number from its id.
fn place(id: &str) -> Result<u64> {
    match id.split_once('-').map(|(n, _)| n.parse()) {
        Some(Ok(n)) => Ok(n),
        _ => bail!("{id:?} is no cursor"),
    }
}
