//! The three classes inside a pool.
//!
//! A class is a share, not a wall: admission takes classes by a repeating weighted pattern
//! (`lua/prelude/admit.lua`), so `low` waits longer but never for ever.

use serde::{Deserialize, Serialize};

/// Ranks a job inside its pool.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Eight of twelve admissions while there is something to admit.
    High,
    /// Three of twelve.
    #[default]
    Normal,
    /// One of twelve.
    Low,
}

impl Priority {
    /// All classes, in the order in which workers pop them.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Gives the word used in keys and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Reads the word used in keys and JSON.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}
