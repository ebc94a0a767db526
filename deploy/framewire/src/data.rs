//! The data directory: whose it is, and what lies where.
//!
//! ```text
//! .framewire/lock        locked while a launcher runs on it; holds its process id
//!            redis.conf  the settings of the private Redis, written anew at each start
//!            redis.sock  its socket, where the path is short enough for one
//!            redis/      its append-only file: sessions, jobs, streams
//!            artifacts/  the frames
//!            run/        one file per living child
//! ```
//! Invariant: one launcher per directory. Two would start two Redis on one append-only file.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest path of a unix socket: the kernel's `sun_path` without its closing zero.
#[cfg(not(target_os = "macos"))]
const SOCKET_PATH_BYTES_MAX: usize = 107;
#[cfg(target_os = "macos")]
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("use the data directory {}", .path.display())]
    Unusable { path: PathBuf, source: std::io::Error },
    #[error(
        "use the data directory {}: `framewire up` runs on it already (process {holder})",
        .path.display()
    )]
    Taken { path: PathBuf, holder: String },
    #[error(
        "find a place for Redis' socket: {} is longer than the {SOCKET_PATH_BYTES_MAX} bytes that \
         a socket's path may have, and no private folder can be made in any of {tried:?}",
        .path.display()
    )]
    NoSocket { path: PathBuf, tried: Vec<PathBuf> },
}

impl DataError {
    /// Says what to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unusable { .. } => "name another with: framewire up --data DIR".into(),
            Self::Taken { holder, .. } => format!(
                "stop that one with: kill {holder}\n\
                 or run this one beside it: framewire up --data OTHER_DIR --listen 127.0.0.1:0"
            ),
            Self::NoSocket { .. } => "name a shorter one with: framewire up --data DIR".into(),
        })
    }
}

/// A directory that is ours while this value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    // Closed on exec, so no child holds it: it ends with the launcher.
    lock: File,
}

impl DataDir {
    /// Makes the directory, if need be, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self, DataError> {
        let unusable = |source| DataError::Unusable { path: path.to_owned(), source };
        private_folder(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(path.join("lock")).map_err(unusable)?;
                let holder = holder.trim().to_owned();
                return Err(DataError::Taken { path, holder });
            }
        }
        let data = Self { path, lock };
        data.lay_out().map_err(unusable)?;
        Ok(data)
    }

    fn lay_out(&self) -> std::io::Result<()> {
        self.lock.set_len(0)?;
        writeln!(&self.lock, "{}", std::process::id())?;
        for folder in [self.redis(), self.run()] {
            private_folder(&folder)?;
        }
        Ok(())
    }

    /// Gives the whole directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder of the append-only file.
    pub(crate) fn redis(&self) -> PathBuf {
        self.path.join("redis")
    }

    /// Gives where the private Redis' settings are written.
    pub(crate) fn redis_conf(&self) -> PathBuf {
        self.path.join("redis.conf")
    }

    /// Gives the frames' folder, for gateways and workers that were not told another.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// Gives the folder of the living children's files.
    pub(crate) fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Finds a place for the socket: in the directory, or, where that makes too long a path for a
    /// socket, in a private folder of one of `elsewhere` that is named after the directory.
    pub(crate) fn socket(&self, elsewhere: &[PathBuf]) -> Result<PathBuf, DataError> {
        let here = self.path.join("redis.sock");
        if fits(&here) {
            return Ok(here);
        }
        let name = folder_name(&self.path);
        let found = elsewhere
            .iter()
            .map(|folder| folder.join(&name))
            .find(|folder| fits(&folder.join("redis.sock")) && self.is_private(folder));
        match found {
            Some(folder) => Ok(folder.join("redis.sock")),
            None => Err(DataError::NoSocket { path: here, tried: elsewhere.to_vec() }),
        }
    }

    /// Removes a socket's own folder, if it has one; Redis has removed the socket.
    pub(crate) fn forget(&self, socket: &Path) {
        if let Some(folder) = socket.parent().filter(|folder| *folder != self.path) {
            // Where it can't be removed it is used again.
            drop(std::fs::remove_dir(folder));
        }
    }

    /// Makes a folder in a place that others may write to, or makes sure that it is not theirs.
    fn is_private(&self, folder: &Path) -> bool {
        let ours = || -> std::io::Result<bool> {
            private_folder(folder)?;
            let found = folder.symlink_metadata()?;
            let owner = self.lock.metadata()?.uid();
            Ok(found.is_dir() && found.uid() == owner && found.permissions().mode() & 0o077 == 0)
        };
        ours().unwrap_or(false)
    }
}

/// Finds the socket of a launcher that runs, or ran, on a directory; takes and makes nothing.
pub(crate) fn find_socket(path: &Path, elsewhere: &[PathBuf]) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let folder = folder_name(&path);
    let others = elsewhere.iter().map(|root| root.join(&folder));
    std::iter::once(path)
        .chain(others)
        .map(|folder| folder.join("redis.sock"))
        .find(|socket| fits(socket) && socket.exists())
}

/// Names the private folder of a directory whose own path is too long for a socket.
fn folder_name(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("framewire-{:016x}", hasher.finish())
}

fn fits(socket: &Path) -> bool {
    socket.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX
}

/// Makes a folder that only this user may enter: it holds prompts and sessions.
fn private_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_its_socket_in_a_private_folder_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let short = DataDir::take(&root.path().join("data")).unwrap();
        assert_eq!(short.socket(&[]).unwrap(), short.path().join("redis.sock"));

        let long = DataDir::take(&root.path().join("x".repeat(100))).unwrap();
        let elsewhere = [root.path().to_owned()];
        let socket = long.socket(&elsewhere).unwrap();
        assert!(fits(&socket), "{socket:?}");
        assert_eq!(socket, long.socket(&elsewhere).unwrap(), "found again");
        assert_eq!(find_socket(long.path(), &elsewhere), None, "none is there");
        std::fs::write(&socket, "").unwrap();
        assert_eq!(find_socket(long.path(), &elsewhere), Some(socket.clone()));
        let folder = socket.parent().unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);

        // A folder that others may write to is not used.
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(matches!(long.socket(&elsewhere), Err(DataError::NoSocket { .. })));
    }

    #[test]
    fn a_directory_is_taken_once_and_free_again_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDir::take(root.path()).unwrap();
        let Err(DataError::Taken { holder, .. }) = DataDir::take(root.path()) else {
            panic!("taken twice");
        };
        assert_eq!(holder, std::process::id().to_string());
        drop(first);
        assert!(DataDir::take(root.path()).is_ok());
    }
}
