//! How many files the process may have open, which bounds its connections.
//!
//! The soft limit is raised to the hard one, because it is low for the sake of programs that use
//! select(2), which this one does not. Streams get three quarters of what there is: a newcomer can
//! then always be accepted and told `bye`, instead of waiting unheard for a connection.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is taken for the limit where there is none, or the system does not say.
const FILES_MAX: u64 = 1_000_000;
/// Files that are neither streams nor requests: connections to Redis, frames being read, the log.
const RESERVE: u64 = 256;

/// Raises the limit as far as the process may.
pub fn raise() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(FILES_MAX);
        if soft < wanted { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "could not raise the limit of open files");
    }
}

/// Tells how many files may be open.
fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(FILES_MAX, |(soft, _)| soft.min(FILES_MAX))
}

/// Tells how many streams the process can have.
pub fn streams_max() -> usize {
    streams_of(limit())
}

/// Tells how many connections the process can have.
pub fn connections_max() -> usize {
    connections_of(limit())
}

fn streams_of(files: u64) -> usize {
    usize::try_from((files * 3 / 4).min(files.saturating_sub(RESERVE)).max(1)).unwrap_or(usize::MAX)
}

fn connections_of(files: u64) -> usize {
    usize::try_from(files.saturating_sub(RESERVE).max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_connection_left_for_who_has_to_be_refused() {
        assert_eq!((streams_of(20_000), connections_of(20_000)), (15_000, 19_744));
        assert_eq!(streams_of(1_024), 768);
        for files in [0, 10, 256, 300, 1_024, 4_096, FILES_MAX] {
            assert!(streams_of(files) <= connections_of(files), "{files}");
        }
    }
}
