//! How the built-in provider misbehaves on request.
//!
//! Comes in: a call, and whether faults are switched on. Goes out: the failure with which a real
//! provider would answer, at the moment at which it would. This is how tests and operators see
//! every path of the worker without a provider that breaks on demand.

use std::time::Duration;

use framewire_shared::domain::{ErrorCode, Failure, Fault};

use super::super::Call;

/// What a rate limit asks for.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long the last bytes of a slow body take.
pub(super) const SLOW_BODY: Duration = Duration::from_secs(30);
/// What comes instead of an image: a proxy's page.
pub(super) const GARBAGE: &[u8] = b"<html><body><h1>502 Bad Gateway</h1></body></html>";

/// Gives the fault of this attempt, if any.
///
/// Errors: a fault is asked for where faults are switched off.
pub(super) fn of(call: &Call, is_on: bool) -> Result<Option<Fault>, Failure> {
    let Some(fault) = call.input.fault else {
        return Ok(None);
    };
    if !is_on {
        let message = "`fault` is switched off here; set `builtin.faults = true` to use it";
        return Err(Failure::new(ErrorCode::Permanent, message));
    }
    let is_over = call.input.fault_attempts.is_some_and(|attempts| call.attempt > attempts);
    Ok((!is_over).then_some(fault))
}

/// Gives the failure with which a request is refused before any work.
pub(super) fn refusal(fault: Fault) -> Option<Failure> {
    let (code, message) = match fault {
        Fault::Permanent => (ErrorCode::Permanent, "the provider refuses this request"),
        Fault::Auth => (ErrorCode::AuthError, "the provider refuses our credentials"),
        Fault::RateLimit => (ErrorCode::RateLimit, "the provider asks us to slow down"),
        _ => return None,
    };
    let failure = Failure::new(code, message).detail("asked for with `fault`");
    Some(if fault == Fault::RateLimit { failure.after(RETRY_AFTER) } else { failure })
}

/// Gives the failure of a single frame.
pub(super) fn one_frame() -> Failure {
    Failure::new(ErrorCode::Permanent, "the provider refuses to show this frame")
        .detail("asked for with `fault`")
}

/// Gives the failure of a provider that breaks down over its work.
pub(super) fn breakdown() -> Failure {
    Failure::new(ErrorCode::Temporary, "the provider is overloaded")
        .detail("asked for with `fault`")
}
