//! What an earlier launcher left behind when it was killed.
//!
//! On Linux its children die with it (`lifeline`), Redis a moment later than the rest; elsewhere
//! they may still run. A locked file in `run/` proves a process to be one of them. They are stopped
//! in the usual order and within a short grace, so that one Redis is alone on its append-only file
//! and the gateway's port is free.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::console::Console;
use crate::pid_file;
use crate::summary::quoted;

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For a gateway or a worker: nobody waits for what it finishes.
const GRACE: Duration = Duration::from_secs(2);
/// For Redis, which may have a lot to write.
const REDIS_GRACE: Duration = Duration::from_secs(60);

/// Why what was left can't be cleared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeftoverError {
    #[error("look for processes of an earlier run in {}", .folder.display())]
    Look { folder: PathBuf, source: std::io::Error },
    #[error("stop a process of an earlier run, which still holds {}", .file.display())]
    Stubborn { file: PathBuf },
}

impl LeftoverError {
    /// Says what to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Look { .. } => None,
            Self::Stubborn { file } => Some(format!("find it with: lsof {}", quoted(file))),
        }
    }
}

/// Stops what still runs, and removes the files of what doesn't.
pub(crate) async fn clear(folder: &Path, console: &Console) -> Result<(), LeftoverError> {
    let look = |source| LeftoverError::Look { folder: folder.to_owned(), source };
    let mut files = pid_file::list(folder).map_err(look)?;
    // Redis last, as always: the others may still have something to write down.
    files.sort_by_key(|file| is_redis(file));
    for file in files {
        if pid_file::is_held(&file).map_err(look)? {
            stop(&file, console).await.map_err(look)?;
            if pid_file::is_held(&file).map_err(look)? {
                return Err(LeftoverError::Stubborn { file });
            }
        }
        pid_file::remove(&file).map_err(look)?;
    }
    Ok(())
}

fn is_redis(file: &Path) -> bool {
    file.file_stem().is_some_and(|name| name == "redis")
}

async fn stop(file: &Path, console: &Console) -> std::io::Result<()> {
    // The kernel may have told it already; where it does not, there is nothing to wait for.
    if cfg!(target_os = "linux") && freed_within(GRACE, file).await? {
        return Ok(());
    }
    let Some(pid) = pid_file::pid(file)? else {
        return Ok(());
    };
    let name = file.file_stem().unwrap_or_default().display();
    console.say(&format!("stopping {name} (process {pid}), left by a launcher that was killed"));
    let grace = if is_redis(file) { REDIS_GRACE } else { GRACE };
    for (signal, patience) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, GRACE)] {
        // It may end in this very moment; then the look below says so.
        let _ = kill(Pid::from_raw(pid), signal);
        if freed_within(patience, file).await? {
            return Ok(());
        }
    }
    Ok(())
}

async fn freed_within(patience: Duration, file: &Path) -> std::io::Result<bool> {
    let freed = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        while pid_file::is_held(file)? {
            looks.tick().await;
        }
        Ok(())
    };
    match tokio::time::timeout(patience, freed).await {
        Ok(freed) => freed.map(|()| true),
        Err(_) => Ok(false),
    }
}
