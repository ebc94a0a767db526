//! Why an attempt failed, for the user who waits and for the operator who repairs.
//!
//! `message` may be shown to the user and names no secret, prompt or host; `detail` is for logs
//! and operators. The two never mix, so no later code has to decide what may be shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest message kept; a provider's page of HTML is not a message.
pub const MESSAGE_CHARS_MAX: usize = 500;

/// Longest code or name of a request that is kept of a provider's.
pub const WORD_CHARS_MAX: usize = 100;

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

/// What a failure says about the provider, for those who decide whether to go on asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// It took too long.
    #[serde(rename = "timeout")]
    Timeout,
    /// It asked for a slower pace, or its bill is not paid.
    #[serde(rename = "quota")]
    Quota,
    /// It is broken, overloaded or can't be reached.
    #[serde(rename = "5xx")]
    Server,
    /// It is well and refused the request, or our credentials.
    #[serde(rename = "4xx")]
    Client,
    /// It answered something that nobody foresaw.
    #[serde(rename = "unknown")]
    Unknown,
    /// Nothing: it did its part, and we failed at ours.
    #[serde(rename = "ours")]
    Ours,
}

impl FailureKind {
    /// Gives the word used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Quota => "quota",
            Self::Server => "5xx",
            Self::Client => "4xx",
            Self::Unknown => "unknown",
            Self::Ours => "ours",
        }
    }
}

/// Whether sending the same request again could cost twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resend {
    /// Nothing was made for us: as often as the attempts allow.
    Freely,
    /// Nobody knows whether something was made and paid for: once.
    Once,
    /// It would fail again until somebody acts.
    Never,
}

/// The provider's own words about a failure, for its support desk; named as in a job's `error`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// HTTP status.
    #[serde(rename = "provider_status")]
    pub status: Option<u16>,
    /// The provider's own error code.
    #[serde(rename = "provider_code")]
    pub code: Option<String>,
    /// The provider's name of our request.
    #[serde(rename = "provider_request_id")]
    pub request_id: Option<String>,
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
    /// What it says about the provider.
    pub kind: FailureKind,
    /// Whether the request may be sent again.
    pub resend: Resend,
    /// The provider's own words.
    pub origin: Origin,
}

impl Failure {
    /// Makes a failure with a message for the user; kind and resend are what the code suggests.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let (kind, resend) = match code {
            ErrorCode::Temporary => (FailureKind::Server, Resend::Freely),
            ErrorCode::Permanent | ErrorCode::AuthError => (FailureKind::Client, Resend::Never),
            ErrorCode::RateLimit => (FailureKind::Quota, Resend::Freely),
            ErrorCode::Timeout => (FailureKind::Timeout, Resend::Once),
            ErrorCode::Unknown => (FailureKind::Unknown, Resend::Once),
        };
        Self {
            code,
            message: message.into().chars().take(MESSAGE_CHARS_MAX).collect(),
            detail: String::new(),
            retry_after: None,
            kind,
            resend,
            origin: Origin::default(),
        }
    }

    /// Says otherwise than the code whether the request may be sent again.
    pub fn resend(mut self, resend: Resend) -> Self {
        self.resend = resend;
        self
    }

    /// Says otherwise than the code what it says about the provider.
    pub fn kind(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds the provider's own words.
    pub fn from_provider(mut self, origin: Origin) -> Self {
        let short = |word: String| word.chars().take(WORD_CHARS_MAX).collect();
        let Origin { status, code, request_id } = origin;
        self.origin = Origin { status, code: code.map(short), request_id: request_id.map(short) };
        self
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
