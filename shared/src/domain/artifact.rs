//! A frame's stored form, and its name.
//!
//! The name carries the job, the fence of the attempt that made it and the index, so two attempts
//! of one job can never write the same blob: a worker that lost its lease can at worst leave a file
//! that nobody references. What a name stands for never changes, which is what lets the gateway
//! serve it as immutable.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::failure::{ErrorCode, Failure};
use super::id::{IdError, JobId};
use super::lease::Fence;

/// Encodings that Framewire stores and serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaType {
    /// `image/png`
    #[serde(rename = "image/png")]
    Png,
    /// `image/webp`
    #[serde(rename = "image/webp")]
    Webp,
    /// `image/jpeg`
    #[serde(rename = "image/jpeg")]
    Jpeg,
}

impl MediaType {
    /// All media types.
    pub const ALL: [Self; 3] = [Self::Png, Self::Webp, Self::Jpeg];

    /// Gives the `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// Gives the file name's ending, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Jpeg => "jpg",
        }
    }
}

/// Which picture of an attempt an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Frame `index`, from 0.
    Frame(u32),
    /// What frame `index` looked like after step `step`.
    Preview {
        /// The frame it will become.
        index: u32,
        /// Steps done.
        step: u32,
    },
}

/// Names an artifact: `<job>-<fence>-<index>[p<step>].<extension>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArtifactId {
    /// The job it belongs to.
    pub job: JobId,
    /// The attempt that made it.
    pub fence: Fence,
    /// Which picture of that attempt.
    pub slot: Slot,
    /// How it is encoded.
    pub media_type: MediaType,
}

/// Path under which the gateway serves artifacts; part of every event that tells of one.
pub const ARTIFACTS_PATH: &str = "/v1/artifacts/";

impl ArtifactId {
    /// Gives the path at which the gateway serves it.
    pub fn url(&self) -> String {
        format!("{ARTIFACTS_PATH}{self}")
    }
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-", self.job, self.fence)?;
        match self.slot {
            Slot::Frame(index) => write!(f, "{index}")?,
            Slot::Preview { index, step } => write!(f, "{index}p{step}")?,
        }
        write!(f, ".{}", self.media_type.extension())
    }
}

impl FromStr for ArtifactId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse(text).filter(|id| id.to_string() == text).ok_or_else(|| IdError::artifact(text))
    }
}

fn parse(text: &str) -> Option<ArtifactId> {
    let (name, extension) = text.split_once('.')?;
    let mut parts = name.split('-');
    let job = parts.next()?.parse().ok()?;
    let fence = Fence(parts.next()?.parse().ok()?);
    let slot = parts.next()?;
    let slot = match slot.split_once('p') {
        None => Slot::Frame(slot.parse().ok()?),
        Some((index, step)) => {
            Slot::Preview { index: index.parse().ok()?, step: step.parse().ok()? }
        }
    };
    let media_type = MediaType::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    parts.next().is_none().then_some(ArtifactId { job, fence, slot, media_type })
}

/// One stored frame, as the job refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Position among the job's frames, from 0.
    pub index: u32,
    /// Where the gateway serves it; see [`ArtifactId::url`].
    pub url: String,
    /// How it is encoded.
    pub content_type: MediaType,
    /// In pixels, as decoded.
    pub width: u32,
    /// In pixels, as decoded.
    pub height: u32,
    /// Size of the stored form.
    pub bytes: u64,
    /// Digest of the stored form, in hex.
    pub sha256: String,
    /// What it was drawn from.
    pub seed: u64,
}

/// A frame that a completed job does without: it failed, and others of the job did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Position that it would have among the job's frames, from 0.
    pub index: u32,
    /// Why it was not made.
    pub error: FrameError,
}

/// Why a single frame was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameError {
    /// What would have to change.
    pub code: ErrorCode,
    /// What the user may read.
    pub message: String,
}

impl Missing {
    /// Names a frame and what its user may know of its failure.
    pub fn new(index: u32, failure: &Failure) -> Self {
        let error = FrameError { code: failure.code, message: failure.message.clone() };
        Self { index, error }
    }
}

/// The newest look at a frame that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// The frame it will become.
    pub index: u32,
    /// Where the gateway serves it; see [`ArtifactId::url`].
    pub url: String,
    /// Steps done.
    pub step: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Cell;
    use uuid::Uuid;

    #[test]
    fn a_name_says_whose_it_is_and_survives_its_text() {
        let job = JobId::new(Cell::FIRST, Uuid::from_u128(1));
        for slot in [Slot::Frame(0), Slot::Preview { index: 3, step: 12 }] {
            let id =
                ArtifactId { job: job.clone(), fence: Fence(2), slot, media_type: MediaType::Webp };
            assert_eq!(id.to_string().parse::<ArtifactId>().unwrap(), id);
        }
        let id = format!("{job}-2-3p12.webp");
        assert_eq!(id.parse::<ArtifactId>().unwrap().to_string(), id);
    }

    #[test]
    fn a_name_that_is_not_exactly_ours_is_refused() {
        let job = JobId::new(Cell::FIRST, Uuid::from_u128(1));
        for bad in ["", "-", "../../etc/passwd", "x-1-0.png"] {
            assert!(bad.parse::<ArtifactId>().is_err(), "{bad}");
        }
        for rest in
            ["-1-0", "-1-0.gif", "-01-0.png", "-1-+0.png", "-1-0-0.png", "-1-0.png/..", "-1-p.png"]
        {
            assert!(format!("{job}{rest}").parse::<ArtifactId>().is_err(), "{rest}");
        }
    }
}
