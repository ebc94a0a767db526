//! A frame that stands in for those of other sessions, and its name.
//!
//! A model's newest frame is shown to everybody where its settings say so (`models.<name>.catalogue`).
//! Then its bytes get a second name under a path of its own, because the first leads to one session's
//! job and is served to that session alone. The new name is made of the job's digest: whoever has it
//! can't find the job, and whoever deletes the job finds all that was published of it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::artifact::{ArtifactId, MediaType, Slot};
use super::id::{IdError, JobId};
use super::lease::Fence;

/// Path under which the gateway serves such frames, to anybody.
pub const CATALOGUE_PATH: &str = "/v1/catalogue/";
/// Bytes of a job's digest that are kept: as many as nobody guesses.
const DIGEST_BYTES: usize = 16;

/// Names a published frame: `<digest of its job>-<fence>-<index>.<extension>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CatalogueId {
    job_digest: String,
    fence: Fence,
    index: u32,
    /// How it is encoded.
    pub media_type: MediaType,
}

impl CatalogueId {
    /// Names the published form of a frame; a preview has none.
    pub fn of(frame: &ArtifactId) -> Option<Self> {
        let ArtifactId { job, fence, slot: Slot::Frame(index), media_type } = frame else {
            return None;
        };
        let job_digest = Self::digest(job);
        Some(Self { job_digest, fence: *fence, index: *index, media_type: *media_type })
    }

    /// Gives what all names of a job's published frames begin with.
    pub fn digest(job: &JobId) -> String {
        let digest = Sha256::digest(job.as_str());
        digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Gives the digest of its job.
    pub fn job_digest(&self) -> &str {
        &self.job_digest
    }

    /// Gives the path at which the gateway serves it.
    pub fn url(&self) -> String {
        format!("{CATALOGUE_PATH}{self}")
    }
}

impl fmt::Display for CatalogueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job_digest, fence, index, media_type } = self;
        write!(f, "{job_digest}-{fence}-{index}.{}", media_type.extension())
    }
}

impl FromStr for CatalogueId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse(text).filter(|id| id.to_string() == text).ok_or_else(|| IdError::artifact(text))
    }
}

fn parse(text: &str) -> Option<CatalogueId> {
    let (name, extension) = text.split_once('.')?;
    let mut parts = name.split('-');
    let job_digest = parts.next()?.to_owned();
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if job_digest.len() != 2 * DIGEST_BYTES || !job_digest.bytes().all(hex) {
        return None;
    }
    let (fence, index) = (Fence(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?);
    let media_type = MediaType::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    parts.next().is_none().then_some(CatalogueId { job_digest, fence, index, media_type })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Cell;
    use uuid::Uuid;

    #[test]
    fn a_published_name_survives_its_text_and_does_not_tell_the_job() {
        let job = JobId::new(Cell::FIRST, Uuid::from_u128(1));
        let slot = Slot::Frame(2);
        let frame =
            ArtifactId { job: job.clone(), fence: Fence(3), slot, media_type: MediaType::Webp };
        let id = CatalogueId::of(&frame).unwrap();
        assert_eq!(id.to_string().parse::<CatalogueId>().unwrap(), id);
        assert!(id.url().ends_with("-3-2.webp") && !id.url().contains(job.as_str()), "{id}");
        assert!(id.to_string().starts_with(&CatalogueId::digest(&job)));
        let slot = Slot::Preview { index: 2, step: 1 };
        assert_eq!(CatalogueId::of(&ArtifactId { slot, ..frame }), None);
    }

    #[test]
    fn a_name_that_is_not_exactly_ours_is_refused() {
        let digest = CatalogueId::digest(&JobId::new(Cell::FIRST, Uuid::from_u128(1)));
        for bad in ["", "..", "../x-1-0.png", "x-1-0.png"] {
            assert!(bad.parse::<CatalogueId>().is_err(), "{bad}");
        }
        for rest in ["-1-0", "-1-0.gif", "-01-0.png", "-1-0p1.png", "-1-0.png/..", "0-1-0.png"] {
            assert!(format!("{digest}{rest}").parse::<CatalogueId>().is_err(), "{rest}");
        }
    }
}
