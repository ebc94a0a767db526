//! The private redis-server: found, set up, and waited for; or somebody's own, checked.
//!
//! It is stopped with SIGTERM, which is SHUTDOWN by another way: it writes and fsyncs what its
//! append-only file still lacks, then ends. What it is set to, and why, is in `redis.conf`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use framewire_shared::domain::Cell;
use framewire_shared::store::operate::Unfit;
use framewire_shared::store::{Store, StoreError};
use nix::sys::signal::Signal;

use crate::child::Program;
use crate::console::Console;
use crate::data::DataDir;

/// The settings, each with its reason.
const CONF: &str = include_str!("../redis.conf");
/// Programs that will do, in the order they are looked for.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];
/// Oldest version that will do: LMOVE, ZRANGE BYSCORE and GETDEL came with it.
const VERSION_MIN: (u32, u32) = (7, 0);
/// How often a starting server is asked for a sign of life.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How often a wait is told of; a long append-only file takes a while to load.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Why there is no Redis to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisError {
    #[error("find redis-server: it is not installed on this machine")]
    Missing,
    #[error("ask {server} for its version")]
    Version { server: &'static str, source: std::io::Error },
    #[error("use redis-server {version}: it is too old, 7.0 or newer is needed")]
    TooOld { version: String },
    #[error("write {}", .path.display())]
    Conf { path: PathBuf, source: std::io::Error },
    #[error("understand the Redis URL {url}")]
    Url { url: String, source: StoreError },
    #[error("use the Redis at {url}")]
    Unfit { url: String, source: Unfit },
}

impl RedisError {
    /// Says what to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        const ELSEWHERE: &str =
            "or use one that runs elsewhere: framewire up --redis redis://HOST:6379";
        Some(match self {
            Self::Missing => format!(
                "Debian, Ubuntu:  sudo apt-get install redis-server\n\
                 macOS:           brew install redis\n\
                 {ELSEWHERE}"
            ),
            Self::TooOld { .. } => format!(
                "install a newer one from https://redis.io/docs/latest/operate/oss_and_stack/install/\n\
                 {ELSEWHERE}"
            ),
            Self::Url { .. } => "it looks like redis://user:password@host:6379/0".into(),
            Self::Unfit { url, source: Unfit::Store(_) } => {
                format!("is it running? try: {} ping", look_in(url))
            }
            Self::Unfit { .. } | Self::Version { .. } | Self::Conf { .. } => return None,
        })
    }
}

/// Finds a program that will do.
pub(crate) fn find() -> Result<&'static str, RedisError> {
    for server in SERVERS {
        let output = match Command::new(server).arg("--version").output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            output => output.map_err(|source| RedisError::Version { server, source })?,
        };
        let said = String::from_utf8_lossy(&output.stdout);
        return match version(&said) {
            Some((text, numbers)) if numbers < VERSION_MIN => {
                Err(RedisError::TooOld { version: text.to_owned() })
            }
            // A build that hides its version is found out when it is asked over its socket.
            _ => Ok(server),
        };
    }
    Err(RedisError::Missing)
}

/// Reads `Redis server v=7.0.15 sha=…`.
fn version(said: &str) -> Option<(&str, (u32, u32))> {
    let text = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    let mut parts = text.split('.').map(str::parse::<u32>);
    Some((text, (parts.next()?.ok()?, parts.next()?.ok()?)))
}

/// Writes the settings and says how the server is to be run.
pub(crate) fn program(server: &str, data: &DataDir, socket: &Path) -> Result<Program, RedisError> {
    let path = data.redis_conf();
    std::fs::write(&path, CONF)
        .map_err(|source| RedisError::Conf { path: path.clone(), source })?;
    let folder = data.redis();
    let arguments: [&std::ffi::OsStr; 5] = [
        path.as_ref(),
        "--dir".as_ref(),
        folder.as_ref(),
        "--unixsocket".as_ref(),
        socket.as_ref(),
    ];
    Ok(Program {
        name: "redis".into(),
        path: server.into(),
        arguments: arguments.map(OsString::from).to_vec(),
        environment: Vec::new(),
        advice: Some(format!(
            "if a file of it is damaged, copy {folder}, then run redis-check-aof --fix on the file",
            folder = folder.display()
        )),
        // Its file should be whole even if the launcher is killed.
        orphan_signal: Signal::SIGTERM,
    })
}

/// Has the server sync its file before each answer: on the command line, where it wins over the
/// settings' file.
pub(crate) fn synced(mut program: Program) -> Program {
    let always = ["--appendfsync", "always"];
    program.arguments.extend(always.map(OsString::from));
    program
}

/// Gives the URL of a socket; a path may hold what a URL may not.
pub(crate) fn url_of(socket: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut url = String::from("redis+unix://");
    for &byte in socket.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// Waits until a server that was just started has loaded its file and answers.
///
/// No deadline: it is watched, and one that ends by itself is told of elsewhere.
pub(crate) async fn answers(store: &Store, console: &Console) {
    let mut asks = tokio::time::interval(ASK_EVERY);
    let mut tells = tokio::time::interval_at(tokio::time::Instant::now() + TELL_EVERY, TELL_EVERY);
    loop {
        tokio::select! {
            _ = asks.tick() => if store.ping(Cell::FIRST).await.is_ok() { return },
            _ = tells.tick() => console.say("redis is not ready yet; it loads its append-only file"),
        }
    }
}

/// Opens a store, and checks that the Redis behind it can be trusted with jobs.
pub(crate) async fn check(store: &Store, url: &str) -> Result<(), RedisError> {
    store
        .check_all()
        .await
        .map_err(|source| RedisError::Unfit { url: without_password(url), source })
}

/// Says how an operator looks into somebody's own Redis; `redis-cli` knows no URL of a socket.
pub(crate) fn look_in(url: &str) -> String {
    let socket = ["redis+unix://", "unix://", "valkey+unix://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))
        .and_then(|rest| rest.split('?').next());
    if let Some(path) = socket {
        return format!("redis-cli -s {path}");
    }
    let url = without_password(url);
    // It knows one host, and follows a cluster's redirections with -c. Which master a sentinel knows
    // has to be asked.
    let first = |url: &str| url.split(',').next().unwrap_or(url).to_owned();
    if let Some(rest) = url.strip_prefix("redis+cluster://") {
        return format!("redis-cli -c -u redis://{}", first(rest));
    }
    if let Some(rest) = url.strip_prefix("redis+sentinel://") {
        let (hosts, master) = rest.split_once('/').unwrap_or((rest, ""));
        let master = master.split(['/', '?']).next().unwrap_or(master);
        let host = first(hosts.rsplit('@').next().unwrap_or(hosts));
        let ask = format!("redis-cli -u redis://{host} SENTINEL get-master-addr-by-name {master}");
        return format!("redis-cli -h $({ask} | head -1)");
    }
    format!("redis-cli -u {url}")
}

/// Gives a URL that may be shown.
pub(crate) fn without_password(url: &str) -> String {
    let hidden = || {
        let (scheme, rest) = url.split_once("://")?;
        let (user, host) = rest.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}"))
    };
    hidden().unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_redis_and_valkey() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(version(redis), Some(("7.0.15", (7, 0))));
        assert!(version("Redis server v=6.0.16 sha=0").unwrap().1 < VERSION_MIN);
        assert!(version("Valkey server v=8.1.1 sha=0").unwrap().1 > VERSION_MIN);
        assert_eq!(version("what?"), None);
    }

    #[test]
    fn a_path_of_any_name_makes_a_url() {
        let url = url_of(Path::new("/tmp/a b#1%/é/redis.sock"));
        assert_eq!(url, "redis+unix:///tmp/a%20b%231%25/%C3%A9/redis.sock");
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("redis://u:p:@w@h:6379/0"), "redis://u:***@h:6379/0");
        assert_eq!(without_password("redis://h:6379"), "redis://h:6379");
        assert_eq!(look_in("redis://u:p@h:1"), "redis-cli -u redis://u:***@h:1");
        assert_eq!(look_in("unix:///run/redis.sock?db=1"), "redis-cli -s /run/redis.sock");
        let cluster = look_in("redis+cluster://u:p@h1:1,h2:2");
        assert_eq!(cluster, "redis-cli -c -u redis://u:***@h1:1");
    }

    #[test]
    fn every_setting_of_the_private_redis_has_its_reason() {
        let mut said = false;
        for line in CONF.lines() {
            match line.strip_prefix('#') {
                Some(reason) => said |= !reason.contains("---"),
                None if line.is_empty() => said = false,
                None => assert!(said, "{line} stands without a reason"),
            }
        }
    }
}
