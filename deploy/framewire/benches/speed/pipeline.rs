//! How fast the pair is, from HTTP to the stream, with real processes.
//!
//! Three measurements, each beside something of the same run, because machines differ and are noisy:
//! 1. submits per second of one gateway under `wrk -t1 -c64`, beside `redis-benchmark` running the
//!    same script unpipelined with 64 connections;
//! 2. what a submit costs: CPU of Redis and of the gateway, bytes in Redis per queued job;
//! 3. from POST to `completed` on the session's stream, at a steady 200 jobs a second.
//!
//! Everything is on loopback and bounded in count and time. Real processes, AOF as the launcher
//! runs it, release binaries.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use framewire_shared::testing::{RedisServer, submit_script};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::INPUT;
use crate::figures::milliseconds;
use crate::process::{Process, sessions};
use crate::server::{cpu_s, info, redis_cli, socket};
use crate::table::{row, table};

/// Connections of wrk and of redis-benchmark.
const CONNECTIONS: u32 = 64;
/// How long wrk runs.
const WRK_S: u32 = 5;
/// Calls of redis-benchmark.
const CALLS: u32 = 100_000;
/// Sessions; each has its own stream in the third measurement.
const SESSIONS: usize = 50;
/// Jobs per second in the third measurement.
const RATE: u32 = 200;
/// How long the third measurement submits.
const STEADY_S: u32 = 10;
/// Makes the sessions; gives their tokens.
async fn tokens(client: &reqwest::Client, base: &str) -> Result<Vec<String>> {
    let all = sessions(client, base, SESSIONS).await?;
    Ok(all.into_iter().map(|session| session.token).collect())
}

pub(crate) async fn run() -> Result<()> {
    table("The pair");
    submits().await?;
    end_to_end().await
}

/// Measurements 1 and 2.
async fn submits() -> Result<()> {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir()?;
    let bare = redis_benchmark(&redis)?;
    redis_cli(&redis, &["FLUSHALL"])?;

    let mut gateway = Process::start("framewire-gateway", &redis, folder.path(), &[])?;
    let base = format!("http://{}", gateway.wait_for("listening on http://")?);
    let tokens = tokens(&reqwest::Client::new(), &base).await?;
    let memory = info(&redis, "memory", "used_memory")?;
    let cpu = (gateway.cpu_s()?, cpu_s(redis.pid())?);
    redis_cli(&redis, &["CONFIG", "RESETSTAT"])?;
    let said = wrk(&base, &tokens, folder.path())?;
    let memory = info(&redis, "memory", "used_memory")? - memory;
    let queued = redis_cli(&redis, &["ZCARD", "fw:{c0}:queue:default:normal"])?;
    let accepted: f64 = queued.trim().parse()?;
    let each = |seconds: f64| format!("{:.0} µs", seconds / accepted * 1e6);
    row("202s per second, one gateway, wrk -t1 -c64", format!("{:.0}/s", said.rate));
    row("  latency p50 / p99", format!("{} / {}", said.p50, said.p99));
    row("  answers that were not 202", said.errors);
    row("redis-benchmark -c 64, the same script", format!("{bare:.0}/s"));
    row("  the gateway reaches of that", format!("{:.2}", said.rate / bare));
    row("CPU per submit: gateway", each(gateway.cpu_s()? - cpu.0));
    row("CPU per submit: Redis, AOF and network included", each(cpu_s(redis.pid())? - cpu.1));
    row("  of it inside the script", script_us(&redis)?);
    row("bytes in Redis per queued job", format!("{:.0}", memory / accepted));
    Ok(())
}

/// Runs the submit script without a gateway; gives calls per second.
fn redis_benchmark(redis: &RedisServer) -> Result<f64> {
    let digest = redis_cli(redis, &["SCRIPT", "LOAD", &submit_script()])?;
    let session = format!("ses_c0_{}", "0".repeat(32));
    let output = Command::new("redis-benchmark")
        .args(["-s", &socket(redis), "-c", &CONNECTIONS.to_string(), "-n", &CALLS.to_string()])
        .args(["-r", "1000000000", "--csv", "EVALSHA", digest.trim(), "1", "fw:{c0}:config"])
        .args(["abcdefgh", "job_c0_00000000000000000000__rand_int__", &session, "default"])
        .args(["builtin", "normal", INPUT, "", "3", "", "", "", "86400000", "100000000"])
        .args(["100000000", "1000", "604800", ""])
        .output()
        .context("run redis-benchmark")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse().ok());
    rate.with_context(|| format!("no rate in {said:?}"))
}

struct Wrk {
    rate: f64,
    p50: String,
    p99: String,
    errors: u64,
}

fn wrk(base: &str, tokens: &[String], folder: &Path) -> Result<Wrk> {
    let script = folder.join("submit.lua");
    let quoted: Vec<String> = tokens.iter().map(|token| format!("'{token}'")).collect();
    write!(
        std::fs::File::create(&script)?,
        "local tokens, turn = {{{}}}, 0\n\
         local body = '{{\"model\":\"builtin\",\"input\":{INPUT}}}'\n\
         request = function()\n\
           turn = turn % #tokens + 1\n\
           return wrk.format('POST', '/v1/jobs', {{['Content-Type'] = 'application/json',\n\
             Authorization = 'Bearer ' .. tokens[turn]}}, body)\n\
         end\n",
        quoted.join(",")
    )?;
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{WRK_S}s"), "--latency", "-s"])
        .arg(&script)
        .arg(base)
        .output()
        .context("run wrk; install it with: apt-get install wrk")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = |mark: &str| {
        said.lines().find_map(|line| Some(line.trim().strip_prefix(mark)?.trim().to_owned()))
    };
    Ok(Wrk {
        rate: after("Requests/sec:").and_then(|n| n.parse().ok()).context("a rate from wrk")?,
        p50: after("50%").unwrap_or_default(),
        p99: after("99%").unwrap_or_default(),
        errors: after("Non-2xx or 3xx responses:").and_then(|n| n.parse().ok()).unwrap_or(0),
    })
}

fn script_us(redis: &RedisServer) -> Result<String> {
    let stats = redis_cli(redis, &["INFO", "commandstats"])?;
    let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
    let us = line.and_then(|line| line.split("usec_per_call=").nth(1)?.split(',').next());
    Ok(format!("{} µs", us.context("statistics of evalsha")?))
}

/// Measurement 3.
async fn end_to_end() -> Result<()> {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir()?;
    let mut gateway = Process::start("framewire-gateway", &redis, folder.path(), &[])?;
    let base = format!("http://{}", gateway.wait_for("listening on http://")?);
    let slots = [("FRAMEWIRE_WORKER_SLOTS", "8")];
    let mut worker = Process::start("framewire-worker", &redis, folder.path(), &slots)?;
    worker.wait_for("worker is ready")?;
    let client = reqwest::Client::new();
    let tokens = Arc::new(tokens(&client, &base).await?);
    let (sender, mut ended) = mpsc::channel(4_096);
    for token in tokens.iter() {
        listen(&client, &base, token, sender.clone()).await?;
    }
    let cpu = (gateway.cpu_s()?, worker.cpu_s()?, cpu_s(redis.pid())?);
    let total = (RATE * STEADY_S) as usize;
    let submitted = tokio::spawn(submit_steadily(client, base, tokens));
    let mut ends = std::collections::HashMap::new();
    while ends.len() < total {
        let next = tokio::time::timeout(Duration::from_secs(20), ended.recv()).await;
        let (job, at) = next.context("a job did not complete within 20 s")?.context("a stream")?;
        ends.insert(job, at);
    }
    let cpu = (gateway.cpu_s()? - cpu.0, worker.cpu_s()? - cpu.1, cpu_s(redis.pid())? - cpu.2);
    let (mut whole, mut acks) = (Vec::new(), Vec::new());
    for (job, posted, acked) in submitted.await?? {
        whole.push(ends[&job] - posted);
        acks.push(acked - posted);
    }
    let title =
        format!("{RATE} jobs/s for {STEADY_S} s, {SESSIONS} streams: POST to 202, p50 / p99");
    row(&title, milliseconds(&mut acks));
    row("  POST to `completed` on the stream, p50 / p99", milliseconds(&mut whole));
    let each = |seconds: f64| format!("{:.0} µs", seconds / total as f64 * 1e6);
    row("  CPU per job: gateway with its streams", each(cpu.0));
    row("  CPU per job: worker with drawing 64×64", each(cpu.1));
    row("  CPU per job: Redis", each(cpu.2));
    Ok(())
}

/// Opens a session's stream and tells of every `completed` it carries.
async fn listen(
    client: &reqwest::Client,
    base: &str,
    token: &str,
    ended: mpsc::Sender<(String, Instant)>,
) -> Result<()> {
    let request = client.get(format!("{base}/v1/events")).bearer_auth(token);
    let mut body = request.send().await?.error_for_status()?.bytes_stream();
    let mut text = String::new();
    // The first frame is `sync`: from here on nothing is missed.
    text.push_str(&String::from_utf8_lossy(&body.next().await.context("a stream")??));
    tokio::spawn(async move {
        while let Some(Ok(bytes)) = body.next().await {
            let at = Instant::now();
            text.push_str(&String::from_utf8_lossy(&bytes));
            while let Some(end) = text.find("\n\n") {
                let frame: String = text.drain(..end + 2).collect();
                let job = frame.split("\"job\":\"").nth(1).and_then(|rest| rest.split('"').next());
                if let (true, Some(job)) = (frame.contains("event: completed"), job)
                    && ended.send((job.to_owned(), at)).await.is_err()
                {
                    return;
                }
            }
        }
    });
    Ok(())
}

/// Posts at a steady rate, whatever the answers take; gives when each was sent and answered.
async fn submit_steadily(
    client: reqwest::Client,
    base: String,
    tokens: Arc<Vec<String>>,
) -> Result<Vec<(String, Instant, Instant)>> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut posts = tokio::task::JoinSet::new();
    let body = format!("{{\"model\":\"builtin\",\"input\":{INPUT}}}");
    for n in 0..(RATE * STEADY_S) as usize {
        ticks.tick().await;
        let request = client
            .post(format!("{base}/v1/jobs"))
            .bearer_auth(&tokens[n % tokens.len()])
            .header("content-type", "application/json")
            .body(body.clone());
        posts.spawn(async move {
            let posted = Instant::now();
            let answer = request.send().await?.error_for_status()?;
            let acked = Instant::now();
            let job: serde_json::Value = answer.json().await?;
            anyhow::Ok((job["id"].as_str().context("an id")?.to_owned(), posted, acked))
        });
    }
    posts.join_all().await.into_iter().collect()
}
