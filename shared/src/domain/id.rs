//! Names of things, as newtypes that can't be malformed.
//!
//! Comes in: text from HTTP, Redis and settings, through `FromStr`. Goes out: the same text,
//! through `Display`. Invariant: an id that parsed is safe to stand in a Redis key, a file path, a
//! URL and an SSE field, because its alphabet is `[a-z0-9_-]`. A job's and a session's id carry the
//! **cell** they live in (one Redis Cluster slot), so every key of one job is found from its id
//! alone, and nothing has to look up where a session is.
//! Ids are made here from a given [`Uuid`]; who makes the uuid decides about randomness.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Longest name of a pool, a tenant or a worker; keeps keys short and readable.
pub const NAME_CHARS_MAX: usize = 48;

/// Says that a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {wanted}")]
pub struct IdError {
    text: String,
    wanted: &'static str,
}

impl IdError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), wanted }
    }

    /// Says that a text is not the name of an artifact.
    pub(super) fn artifact(text: &str) -> Self {
        Self::new(text, "an artifact's name like job_c0_<32 hex digits>-1-0.png")
    }
}

/// Names one Redis Cluster slot: `c0`, `c1`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell(pub u16);

impl Cell {
    /// The only cell of a single-node installation.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl FromStr for Cell {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = text.strip_prefix('c').and_then(|digits| digits.parse::<u16>().ok());
        number
            .map(Self)
            .filter(|cell| cell.to_string() == text)
            .ok_or_else(|| IdError::new(text, "a cell like c0"))
    }
}

/// Defines an id of the form `<prefix>_<cell>_<32 hex digits>`.
macro_rules! cell_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            text: String,
            cell: Cell,
        }

        impl $name {
            /// Makes the id of `uuid` in `cell`.
            pub fn new(cell: Cell, uuid: Uuid) -> Self {
                Self { text: format!(concat!($prefix, "_{}_{}"), cell, uuid.simple()), cell }
            }

            /// Tells the cell that holds everything of this id.
            pub fn cell(&self) -> Cell {
                self.cell
            }

            /// Gives the id as text.
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let refuse = || IdError::new(text, $wanted);
                let rest = text.strip_prefix(concat!($prefix, "_")).ok_or_else(refuse)?;
                let (cell, digits) = rest.split_once('_').ok_or_else(refuse)?;
                let cell: Cell = cell.parse().map_err(|_| refuse())?;
                let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
                if digits.len() != 32 || !digits.bytes().all(hex) {
                    return Err(refuse());
                }
                Ok(Self { text: text.to_owned(), cell })
            }
        }

        text_id!($name);
    };
}

/// Gives a text newtype `Display` and its serde forms.
macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

cell_id!(
    /// Names one job. The uuid is version 7, so ids sort by time of submission.
    JobId, "job", "a job id like job_c0_<32 hex digits>"
);
cell_id!(
    /// Names one end user's context. Not a secret: the secret is the session's token.
    SessionId, "ses", "a session id like ses_c0_<32 hex digits>"
);
cell_id!(
    /// Names one uploaded file, in the cell of its session.
    FileId, "file", "a file id like file_c0_<32 hex digits>"
);

impl JobId {
    /// Tells when the id was made, as time since 1970; `None` if it is not of version 7.
    pub fn made_at(&self) -> Option<Duration> {
        let (_, digits) = self.text.rsplit_once('_')?;
        let (seconds, nanos) = Uuid::parse_str(digits).ok()?.get_timestamp()?.to_unix();
        Some(Duration::new(seconds, nanos))
    }
}

/// Tells whether `text` may name a pool, a tenant or a worker.
fn is_name(text: &str) -> bool {
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(ok)
}

/// Defines a plain name of 1 to [`NAME_CHARS_MAX`] characters of `[a-z0-9_-]`.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Gives the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if is_name(text) { Ok(Self(text.to_owned())) } else { Err(IdError::new(text, $wanted)) }
            }
        }

        text_id!($name);
    };
}

name!(
    /// Names a pool: workers and providers that can do the same kind of job.
    Pool, "a pool name of 1 to 48 characters of a-z, 0-9, - and _"
);
name!(
    /// Names one worker process for its lifetime; a restarted worker is another worker.
    WorkerId, "a worker name of 1 to 48 characters of a-z, 0-9, - and _"
);

name!(
    /// Names a tenant: who is billed for a session's jobs and limited in them.
    Tenant, "a tenant name of 1 to 48 characters of a-z, 0-9, - and _"
);

impl Tenant {
    /// Gives the tenant of sessions that nobody's key has made.
    pub fn public() -> Self {
        Self("public".into())
    }
}

impl WorkerId {
    /// Makes a worker's name from its uuid, so that a replica never inherits a dead one's leases.
    pub fn new(uuid: Uuid) -> Self {
        Self(format!("w-{}", uuid.simple()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_keeps_its_cell() {
        let job = JobId::new(Cell(7), Uuid::from_u128(42));
        assert_eq!(job.as_str(), "job_c7_0000000000000000000000000000002a");
        assert_eq!(job.as_str().parse::<JobId>().unwrap(), job);
        assert_eq!(job.as_str().parse::<JobId>().unwrap().cell(), Cell(7));
    }

    #[test]
    fn text_that_could_break_a_key_or_a_path_is_no_id() {
        let hex = "0".repeat(32);
        for bad in [
            String::new(),
            "job_c0_".into(),
            format!("job_c0_{hex}0"),
            format!("job_c00_{hex}"),
            format!("job_c-1_{hex}"),
            format!("job_c99999_{hex}"),
            format!("ses_c0_{hex}"),
            format!("job_c0_{}", "G".repeat(32)),
            format!("job_c0_{}..", "0".repeat(30)),
            format!("job_c0_{}\r\n", "0".repeat(30)),
        ] {
            assert!(bad.parse::<JobId>().is_err(), "{bad:?} was taken for a job id");
        }
        for bad in ["", "a b", "a:b", "ä", "A", &"x".repeat(49)] {
            assert!(bad.parse::<Pool>().is_err(), "{bad:?} was taken for a pool");
        }
    }
}
