//! Why an attempt failed, for the user who waits and for the operator who repairs.
//!
//! `message` may be shown to the user and names no secret, prompt or host; `detail` is for logs
//! and operators. The two never mix, so no later code has to decide what may be shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest message kept; a provider's page of HTML is not a message.
pub const MESSAGE_CHARS_MAX: usize = 500;

/// Classifies a failure by what would have to change for the request to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// Time: the provider was down or overloaded.
    Temporary,
    /// The request: the provider refuses or can't do it.
    Permanent,
    /// Pace: the provider asked us to slow down.
    RateLimit,
    /// Our credentials at the provider.
    AuthError,
    /// Nobody knows whether it would have succeeded: a deadline passed.
    Timeout,
    /// Nobody foresaw this.
    Unknown,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 6] = [
        Self::Temporary,
        Self::Permanent,
        Self::RateLimit,
        Self::AuthError,
        Self::Timeout,
        Self::Unknown,
    ];

    /// Gives the word used in Redis and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Temporary => "TEMPORARY",
            Self::Permanent => "PERMANENT",
            Self::RateLimit => "RATE_LIMIT",
            Self::AuthError => "AUTH_ERROR",
            Self::Timeout => "TIMEOUT",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Reads the word used in Redis and JSON; an unknown word is [`ErrorCode::Unknown`].
    pub fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str() == word).unwrap_or(Self::Unknown)
    }

    /// Tells whether a user's retry of the same job can succeed without a change by anybody.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Permanent | Self::AuthError)
    }
}

/// One attempt's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What would have to change.
    pub code: ErrorCode,
    /// What the user may read.
    pub message: String,
    /// What the operator needs; empty where the message says it all.
    pub detail: String,
    /// How long the provider asked us to wait, where it did.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Makes a failure with a message for the user.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into().chars().take(MESSAGE_CHARS_MAX).collect();
        Self { code, message, detail: String::new(), retry_after: None }
    }

    /// Adds what the operator needs.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into().chars().take(MESSAGE_CHARS_MAX).collect();
        self
    }

    /// Adds the provider's own wait.
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}
