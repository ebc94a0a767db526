//! The picture to show where a job has no frame yet, or never will.
//!
//! The chain: the last frame of the same session and model while it can be fetched, else the newest
//! of the model where its settings publish those, else the one that ships. The scripts go through it (`fallback_of` in the prelude), in the step that refuses,
//! ends or reads a job; here is what they answer, and the end of the chain for those who can't ask.
//! Invariant: what a fallback refers to can be fetched, now and for a quarter of an hour.

use serde::{Deserialize, Serialize};

use super::artifact::ARTIFACTS_PATH;
use super::catalogue::CATALOGUE_PATH;

/// Path under which the gateway serves the picture that ships; the prelude has it too.
///
/// Browsers keep it for good: another picture gets another name.
pub const SHIPPED_PATH: &str = "/v1/fallback.webp";

/// Where in the chain a fallback was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FallbackKind {
    /// The last frame of the same session and model.
    Session,
    /// The newest frame of the same model, of whichever session.
    Catalogue,
    /// The picture that ships.
    Static,
}

impl FallbackKind {
    /// All kinds, in the order of the chain.
    pub const ALL: [Self; 3] = [Self::Session, Self::Catalogue, Self::Static];
}

/// A picture to show in place of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fallback {
    /// Where the gateway serves it.
    pub url: String,
    /// Where in the chain it was found.
    pub kind: FallbackKind,
}

impl Fallback {
    /// Gives the end of the chain, which is always there.
    pub fn shipped() -> Self {
        Self { url: SHIPPED_PATH.to_owned(), kind: FallbackKind::Static }
    }

    /// Reads what a script answered; `None` unless it is a kind with an address of that kind.
    pub fn from_words(kind: &str, url: &str) -> Option<Self> {
        let kind = match kind {
            "session" if url.starts_with(ARTIFACTS_PATH) => FallbackKind::Session,
            "catalogue" if url.starts_with(CATALOGUE_PATH) => FallbackKind::Catalogue,
            "static" if url == SHIPPED_PATH => FallbackKind::Static,
            _ => return None,
        };
        Some(Self { url: url.to_owned(), kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_believed_only_with_an_address_of_its_own() {
        assert_eq!(Fallback::from_words("static", SHIPPED_PATH), Some(Fallback::shipped()));
        let session = Fallback::from_words("session", "/v1/artifacts/x.png").unwrap();
        assert_eq!(session.kind, FallbackKind::Session);
        let published = Fallback::from_words("catalogue", "/v1/catalogue/x.png").unwrap();
        assert_eq!(published.kind, FallbackKind::Catalogue);
        for (kind, url) in [
            ("session", SHIPPED_PATH),
            ("static", "/v1/artifacts/x"),
            ("catalogue", "/v1/artifacts/x"),
            ("session", "/v1/catalogue/x"),
            ("", ""),
            ("session", ""),
        ] {
            assert_eq!(Fallback::from_words(kind, url), None, "{kind} {url}");
        }
    }
}
