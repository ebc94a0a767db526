//! Pictures that a frame starts from, as a request names them.
//!
//! Comes in: the text of `input.image` or `input.mask`. Goes out: what it stands for. Invariant: a
//! reference that passed [`InputPicture::check`] fits into a key, a path and a log line. Whose a file
//! or a frame is, and whether it is there, the gateway finds out at submit; an address is asked by
//! the worker alone. A data URI ends at the gateway, which stores it and puts the file's id in its
//! place, so that no job carries a picture in its text.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::artifact::{ARTIFACTS_PATH, ArtifactId, Slot};
use super::id::FileId;
use super::input::InputFault;

/// Path under which the gateway serves uploaded files.
pub const FILES_PATH: &str = "/v1/files/";
/// Longest address of a picture; what servers and proxies commonly take.
pub const ADDRESS_CHARS_MAX: usize = 2_048;
/// Longest data URI: it passes through the memory of every process on the way, so beyond it a
/// picture is uploaded. About 768 KiB of picture.
pub const DATA_URI_BYTES_MAX: usize = 1024 * 1024;

/// Which of the two pictures of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// What to start from.
    Image,
    /// Where to draw anew.
    Mask,
}

impl Place {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Image, Self::Mask];

    /// Gives the member's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Mask => "mask",
        }
    }

    /// Gives the member's JSON pointer in a request.
    pub fn pointer(self) -> String {
        format!("#/input/{}", self.as_str())
    }
}

/// A picture, as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputPicture {
    /// An uploaded file.
    File(FileId),
    /// A frame of one of the session's own jobs.
    Frame(ArtifactId),
    /// An address on the internet, fetched by the worker.
    Address(String),
    /// The picture itself, as a data URI; only on its way to the gateway.
    Data(String),
}

/// Says that a text names no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("names no picture: a file id, a frame's URL, an https:// URL or a data URI")]
pub struct NoPicture;

impl FromStr for InputPicture {
    type Err = NoPicture;
    fn from_str(text: &str) -> Result<Self, NoPicture> {
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Address(text.to_owned()));
        }
        if text.starts_with("data:") {
            return Ok(Self::Data(text.to_owned()));
        }
        if let Ok(file) = text.strip_prefix(FILES_PATH).unwrap_or(text).parse() {
            return Ok(Self::File(file));
        }
        let frame = text.strip_prefix(ARTIFACTS_PATH).unwrap_or(text).parse();
        frame.map(Self::Frame).map_err(|_| NoPicture)
    }
}

impl fmt::Display for InputPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Frame(frame) => f.write_str(&frame.url()),
            Self::Address(text) | Self::Data(text) => f.write_str(text),
        }
    }
}

impl Serialize for InputPicture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InputPicture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl InputPicture {
    /// Tells what of it can't be accepted, whatever it stands for.
    pub fn check(&self, place: Place) -> Option<InputFault> {
        let detail = match self {
            Self::File(_) => None,
            Self::Frame(frame) => match frame.slot {
                Slot::Frame(_) => None,
                Slot::Preview { .. } => Some("is a preview; only a finished frame can be used"),
            },
            Self::Address(address) => check_address(address),
            Self::Data(uri) => check_data_uri(uri),
        };
        detail.map(|detail| InputFault::new(place.pointer(), detail))
    }
}

fn check_address(address: &str) -> Option<&'static str> {
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if address.chars().count() > ADDRESS_CHARS_MAX {
        Some("is longer than the 2048 characters that an address may have")
    } else if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Some("contains a space or a control character; write them as %20 and the like")
    } else if host.is_empty() {
        Some("names no host")
    } else if host.contains('@') {
        // A job shows its input to whoever reads it.
        Some("contains a user name or a password; nothing is fetched with credentials")
    } else {
        None
    }
}

fn check_data_uri(uri: &str) -> Option<&'static str> {
    let head = uri.split_once(',').map_or("", |(head, _)| head);
    if uri.len() > DATA_URI_BYTES_MAX {
        Some(
            "is longer than the 1048576 bytes that a data URI may have; \
             upload the picture with POST /v1/files and send its id",
        )
    } else if !head.ends_with(";base64") {
        Some("must be of the form data:image/png;base64,…")
    } else {
        None
    }
}

/// How much of a start picture may change: more than 0 (nothing) and at most 1 (everything).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Strength(f64);

// JSON has no other numbers than finite ones, and `new` takes no others.
impl Eq for Strength {}

impl Default for Strength {
    fn default() -> Self {
        Self(0.75)
    }
}

impl Strength {
    /// Takes a number; `None` if it is infinite or none at all.
    pub fn new(share: f64) -> Option<Self> {
        share.is_finite().then_some(Self(share))
    }

    /// Gives the number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Tells what is wrong with it.
    pub(super) fn check(self) -> Option<InputFault> {
        let detail = format!("must be more than 0 and at most 1, but is {}", self.0);
        let fits = self.0 > 0.0 && self.0 <= 1.0;
        (!fits).then(|| InputFault::new("#/input/strength", detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Cell;
    use uuid::Uuid;

    #[test]
    fn a_reference_survives_its_text_and_loses_what_it_does_not_need() {
        let file = FileId::new(Cell(3), Uuid::from_u128(9));
        let frame = format!("job_c3_{}-2-0.webp", "0".repeat(32));
        for (text, written) in [
            (file.to_string(), file.to_string()),
            (format!("{FILES_PATH}{file}"), file.to_string()),
            (frame.clone(), format!("{ARTIFACTS_PATH}{frame}")),
            (format!("{ARTIFACTS_PATH}{frame}"), format!("{ARTIFACTS_PATH}{frame}")),
            ("https://cdn.example/a.png?x=1".into(), "https://cdn.example/a.png?x=1".into()),
            ("data:image/png;base64,AAAA".into(), "data:image/png;base64,AAAA".into()),
        ] {
            let picture: InputPicture = text.parse().unwrap();
            assert_eq!(picture.to_string(), written);
            assert_eq!(written.parse::<InputPicture>().unwrap(), picture);
            assert_eq!(picture.check(Place::Image), None, "{text}");
        }
    }

    #[test]
    fn what_names_no_picture_is_no_reference() {
        for bad in
            ["", "x", "file_c0_12", "/etc/passwd", "ftp://a/b.png", "/v1/files/../x", "//a/b"]
        {
            assert!(bad.parse::<InputPicture>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_or_a_data_uri_out_of_bounds_is_refused_with_its_pointer() {
        let long = format!("https://a.example/{}", "x".repeat(ADDRESS_CHARS_MAX));
        let heavy = format!("data:image/png;base64,{}", "A".repeat(DATA_URI_BYTES_MAX));
        let preview = format!("/v1/artifacts/job_c0_{}-1-0p4.jpg", "0".repeat(32));
        for (bad, word) in [
            (&*long, "2048"),
            (&*heavy, "POST /v1/files"),
            (&*preview, "preview"),
            ("https://a.example/x y", "%20"),
            ("https:///x", "no host"),
            ("https://me:secret@a.example/x", "password"),
            ("data:image/png,abc", "base64"),
            ("data:", "base64"),
        ] {
            let fault = bad.parse::<InputPicture>().unwrap().check(Place::Mask).unwrap();
            assert_eq!(fault.pointer, "#/input/mask");
            assert!(fault.detail.contains(word), "{bad}: {}", fault.detail);
        }
    }
}
