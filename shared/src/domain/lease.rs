//! The right to work on a job until a moment, and the number that proves which right one holds.
//!
//! Every claim raises the job's fence by one and every write of a running attempt carries it. A
//! worker that was paused, cut off or declared dead still holds the old number, and the script that
//! it calls answers `lost`. No process decides by its own clock that it still owns a job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Proves which lease of a job its holder has; rises with every claim, starting at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease must outlive this many renewals, so that one lost beat is not a lost job.
pub const RENEWALS_PER_LEASE_MIN: u32 = 3;
