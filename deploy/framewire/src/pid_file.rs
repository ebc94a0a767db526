//! Which processes live, provable after a crash of the launcher.
//!
//! Each child has a file `<data>/run/<name>.pid`. The launcher locks it (flock), hands it to the
//! child as its standard input, and lets go: from then on the lock is the child's and ends with it,
//! however it ends. So a file that is locked names a living process that is ours; a file that isn't
//! is a leftover of nothing. A bare process id would not do: ids are used again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A file whose process is about to start.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: File,
}

impl PidFile {
    /// Makes and locks the file of a child.
    ///
    /// A new file each time: a child of the last holder, like the process in which Redis rewrites
    /// its file, may hold the old one a little longer.
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        remove(path)?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.try_lock().map_err(std::io::Error::from)?;
        Ok(Self { file })
    }

    /// Gives the standard input through which the child holds the lock.
    pub(crate) fn stdin(&self) -> std::io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }

    /// Notes the child's id and lets go of the lock, which the child holds now.
    pub(crate) fn hand_over(mut self, pid: u32) -> std::io::Result<()> {
        writeln!(self.file, "{pid}")
    }
}

/// Removes a file, if there is one.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Tells whether the file's process lives.
pub(crate) fn is_held(path: &Path) -> std::io::Result<bool> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
    }
}

/// Reads the id in a file; `None` if its launcher died before it was written.
pub(crate) fn pid(path: &Path) -> std::io::Result<Option<i32>> {
    Ok(std::fs::read_to_string(path)?.trim().parse().ok())
}

/// Lists the files in a folder, by name.
pub(crate) fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pid") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_file_is_held_as_long_as_the_child_lives_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("child.pid");
        let file = PidFile::create(&path).unwrap();
        // `tail -f` on nothing stays until it is killed, and never reads its standard input.
        let mut child = Command::new("tail")
            .args(["-f", "/dev/null"])
            .stdin(file.stdin().unwrap())
            .spawn()
            .unwrap();
        file.hand_over(child.id()).unwrap();
        assert!(is_held(&path).unwrap());
        assert_eq!(pid(&path).unwrap(), i32::try_from(child.id()).ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_held(&path).unwrap());
    }
}
