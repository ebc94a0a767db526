//! What Redis and /proc tell of a server. `redis-cli` asks, so that no connection of ours counts.

use std::process::Command;

use anyhow::{Context, Result, bail};
use framewire_shared::testing::RedisServer;

/// The settings that the launcher gives its redis-server.
pub(crate) const REDIS_CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf");

/// Ticks of /proc/<pid>/stat per second, as on every Linux that Rust supports.
const TICKS_PER_S: f64 = 100.0;

/// Reads the CPU time that a process has used, in seconds.
pub(crate) fn cpu_s(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
    let ticks: f64 = [fields[11], fields[12]].iter().filter_map(|n| n.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_S)
}

/// Reads the memory that a process has in RAM, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kib.context("VmRSS")? * 1024.0)
}

pub(crate) fn redis_cli(redis: &RedisServer, words: &[&str]) -> Result<String> {
    let output = Command::new("redis-cli")
        .args(["-s", &socket(redis)])
        .args(words)
        .output()
        .context("run redis-cli")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.starts_with("ERR") || said.starts_with("(error)") {
        bail!("redis-cli {words:?}: {said}");
    }
    Ok(said)
}

pub(crate) fn socket(redis: &RedisServer) -> String {
    redis.url().replace("redis+unix://", "")
}

pub(crate) fn info(redis: &RedisServer, section: &str, field: &str) -> Result<f64> {
    let info = redis_cli(redis, &["INFO", section])?;
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).with_context(|| format!("{field} in INFO"))
}
