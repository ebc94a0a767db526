//! The pair's own programs as children, and sessions made over HTTP.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use framewire_shared::domain::SessionId;
use framewire_shared::testing::RedisServer;
use futures::{StreamExt, TryStreamExt};

use crate::server::cpu_s;

/// Requests for sessions that are under way at the same time.
const REQUESTS_MAX: usize = 32;

/// A child that ends with us.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    pub(crate) fn start(
        name: &str,
        redis: &RedisServer,
        folder: &Path,
        extra: &[(&str, &str)],
    ) -> Result<Self> {
        let child = Command::new(binary(name)?)
            .env("FRAMEWIRE_REDIS_URL", redis.url())
            .env("FRAMEWIRE_ARTIFACTS_PATH", folder)
            .env("FRAMEWIRE_GATEWAY_LISTEN", "127.0.0.1:0")
            .env("FRAMEWIRE_QUEUE_QUEUE_MAX", "100000000")
            .env("FRAMEWIRE_QUEUE_SESSION_MAX", "100000000")
            .envs(extra.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self(child))
    }

    /// Reads the log until a line has `mark`; gives what follows it. The rest is read and dropped.
    pub(crate) fn wait_for(&mut self, mark: &str) -> Result<String> {
        let mut lines = BufReader::new(self.0.stderr.take().context("a log")?).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, rest)) = line.split_once(mark) {
                let rest = rest.trim().to_owned();
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(rest);
            }
        }
        bail!("the log ended without \"{mark}\"")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn cpu_s(&self) -> Result<f64> {
        cpu_s(self.0.id())
    }
}

/// Finds a release binary beside the launcher's.
fn binary(name: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_framewire")).parent().context("a folder")?;
    let binary = folder.join(name);
    if !binary.exists() {
        bail!("{} is not built; run ./deploy/bench", binary.display());
    }
    Ok(binary)
}

/// A session and what opens it.
pub(crate) struct Owned {
    pub(crate) id: SessionId,
    pub(crate) token: String,
}

/// Makes sessions.
pub(crate) async fn sessions(
    client: &reqwest::Client,
    base: &str,
    count: usize,
) -> Result<Vec<Owned>> {
    let make = |_| async {
        let new = client.post(format!("{base}/v1/sessions")).json(&serde_json::json!({}));
        let answer: serde_json::Value = new.send().await?.error_for_status()?.json().await?;
        let word = |name: &str| answer[name].as_str().context("a session").map(str::to_owned);
        anyhow::Ok(Owned { id: word("id")?.parse()?, token: word("token")? })
    };
    futures::stream::iter(0..count).map(make).buffered(REQUESTS_MAX).try_collect().await
}
