//! Words for what a provider's failure comes down to.
//!
//! Comes in: an HTTP status, a provider's own code, its prose. Goes out: a [`Verdict`], which knows
//! the code, the breaker's kind, whether a second request could cost twice, and what a user may
//! read; so an adapter's mapping is a table from the provider's words to verdicts. Here is also
//! where providers say how long to wait: in headers, or in a sentence.
//!
//! Sources: RFC 9110 for statuses and Retry-After; the adapters name those of their codes.

use std::time::{Duration, SystemTime};

use framewire_shared::domain::{ErrorCode, Failure, Resend};
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Longest wait that a provider may ask for; a longer one is cut to it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);

/// What a provider said about a failure, before we take our words for it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

/// What a failure of a provider comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is broken or overloaded.
    Down,
    /// The answer broke off; it may have been made and paid for.
    Cut,
    /// It ran out of memory, which may be chance.
    Memory,
    /// It took too long, and may still be drawing.
    Slow,
    /// Our turn never came; nothing was drawn.
    NeverRan,
    /// It wants a slower pace.
    Throttled,
    /// Somebody must pay its bill.
    Unpaid,
    /// Our credentials are not good.
    Credentials,
    /// It can't or won't do what the request says.
    Refused,
    /// Its content policy is against the request or the picture.
    Policy,
    /// It does not know the model.
    NoModel,
    /// Nobody foresaw this answer.
    Nonsense,
}

impl Verdict {
    /// Reads a bare HTTP status.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Credentials,
            402 => Self::Unpaid,
            408 | 504 | 522 | 524 => Self::Slow,
            409 | 425 => Self::Down,
            429 => Self::Throttled,
            499 => Self::Nonsense,
            400..=498 => Self::Refused,
            500..=599 => Self::Down,
            // Redirects too: a POST is never sent elsewhere.
            _ => Self::Nonsense,
        }
    }

    /// Gives the failure, in the words that a user may read.
    pub(super) fn failure(self) -> Failure {
        let say = Failure::new;
        match self {
            Self::Down => say(ErrorCode::Temporary, "the provider is not available at the moment"),
            Self::Cut => {
                say(ErrorCode::Temporary, "the provider's answer broke off").resend(Resend::Once)
            }
            Self::Memory => {
                say(ErrorCode::Temporary, "the provider ran out of memory").resend(Resend::Once)
            }
            Self::Slow => say(ErrorCode::Timeout, "the provider took too long"),
            Self::NeverRan => say(ErrorCode::Timeout, "the provider did not find time for this")
                .resend(Resend::Freely),
            Self::Throttled => say(ErrorCode::RateLimit, "the provider asks for a slower pace"),
            Self::Unpaid => {
                say(ErrorCode::RateLimit, "the provider's quota is used up").resend(Resend::Never)
            }
            Self::Credentials => {
                say(ErrorCode::AuthError, "the provider does not accept our credentials")
            }
            Self::Refused => say(ErrorCode::Permanent, "the provider refused the request"),
            Self::Policy => {
                say(ErrorCode::Permanent, "the provider's content policy is against this")
            }
            Self::NoModel => {
                say(ErrorCode::Permanent, "the provider does not have the model any more")
            }
            Self::Nonsense => say(ErrorCode::Unknown, "the provider's answer makes no sense"),
        }
    }
}

/// Looks a provider's own code up in its adapter's table.
pub(super) fn verdict_of(table: &[(&str, Verdict)], code: &str) -> Option<Verdict> {
    table.iter().find(|(known, _)| *known == code).map(|(_, verdict)| *verdict)
}

/// Reads FastAPI's `detail`: a text, or a list of fields with their faults. The rejected values
/// beside them are left out.
pub(super) fn words_of(detail: &Value) -> String {
    let one = |fault: &Value| {
        let text = |name| fault.get(name).and_then(Value::as_str).unwrap_or_default();
        let place = fault.get("loc").map(Value::to_string).unwrap_or_default();
        format!("{place} {}", text("msg"))
    };
    match detail {
        Value::String(text) => text.clone(),
        Value::Array(faults) => faults.iter().map(one).collect::<Vec<_>>().join("; "),
        _ => String::new(),
    }
}

/// Reads the wait that an answer's headers ask for: milliseconds, seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name| text(name)?.parse::<f64>().ok();
    let wait = if let Some(ms) = number("retry-after-ms") {
        Duration::try_from_secs_f64(ms / 1_000.0).ok()
    } else if let Some(seconds) = number("retry-after") {
        Duration::try_from_secs_f64(seconds).ok()
    } else {
        httpdate::parse_http_date(text("retry-after")?).ok()?.duration_since(now).ok()
    };
    wait.map(|wait| wait.min(RETRY_AFTER_MAX))
}

/// Reads the wait that a sentence asks for, like "try again in 1m2.5s" or "resets in ~30s".
pub(super) fn wait_in_words(message: &str) -> Option<Duration> {
    let wait = message.split(" in ").skip(1).find_map(|rest| {
        let mut rest = rest.trim_start_matches('~');
        let mut wait = None;
        loop {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let Ok(number) = rest[..digits].parse::<f64>() else { break };
            let unit = rest[digits..].trim_start();
            let (seconds, unit) = match unit.as_bytes() {
                [b'm', b's', ..] => (number / 1_000.0, &unit[2..]),
                [b's', ..] => (number, &unit[1..]),
                [b'm', ..] => (number * 60.0, &unit[1..]),
                [b'h', ..] => (number * 3_600.0, &unit[1..]),
                _ => break,
            };
            let part = Duration::try_from_secs_f64(seconds).ok()?;
            wait = Some(wait.unwrap_or(Duration::ZERO).saturating_add(part));
            rest = unit;
        }
        wait
    });
    wait.map(|wait| wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_all_its_forms_and_never_past_the_cap() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let date = |later| httpdate::fmt_http_date(now + Duration::from_secs(later));
        for (name, value, expected) in [
            ("retry-after", "2", Some(2_000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after-ms", "1500", Some(1_500)),
            ("retry-after", &date(90), Some(90_000)),
            ("retry-after", "999999", Some(900_000)),
            ("retry-after", "-1", None),
            ("retry-after", "NaN", None),
            ("retry-after", "soon", None),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn a_wait_is_read_from_a_sentence_as_a_last_resort() {
        for (said, expected) in [
            ("Please try again in 51.84s. Visit", Some(51_840)),
            ("Your rate limit resets in ~30s.", Some(30_000)),
            ("try again in 6m0s", Some(360_000)),
            ("Limit 5 in all. Please retry in 20ms.", Some(20)),
            ("try again in 12 seconds", Some(12_000)),
            ("try again in a while", None),
            ("try again later", None),
        ] {
            assert_eq!(wait_in_words(said), expected.map(Duration::from_millis), "{said}");
        }
    }
}
