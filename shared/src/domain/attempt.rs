//! How often and when a job is tried again.
//!
//! An attempt is one lease's worth of work. A provider's temporary failure uses one up; a worker
//! that died does not (that is a *loss*, counted apart, see `lua/sweep.lua`), and a drain's
//! hand-back does not either.

use std::time::Duration;

use super::failure::{Failure, Resend};

/// Attempts that a submit or a user's retry buys: the first and two retries.
pub const ATTEMPTS_DEFAULT: u32 = 3;

/// Decides whether and when a failed attempt is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts that a submit or a user's retry buys.
    pub attempts: u32,
    /// Bound of the first delay; each later bound is twice the one before.
    pub base: Duration,
    /// Longest delay, whatever the provider or the doubling asks for.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
        Self { attempts: ATTEMPTS_DEFAULT, base, cap }
    }
}

impl RetryPolicy {
    /// Gives the delay before the next attempt, or `None` when there shall be none.
    ///
    /// `attempt` is the ordinal of the attempt that failed (1 for the first), `attempt_limit` the
    /// last allowed. `jitter` in 0..1 picks a point of the full range (full jitter), so that jobs
    /// which failed together do not come back together. A provider's own wait is a lower bound.
    pub fn next_delay(
        &self,
        failure: &Failure,
        attempt: u32,
        attempt_limit: u32,
        jitter: f64,
    ) -> Option<Duration> {
        let left = attempt_limit.saturating_sub(attempt);
        let allowed = match failure.resend {
            Resend::Freely => left > 0,
            // Only from the first attempt of those bought, so that it can't happen twice.
            Resend::Once => left > 0 && left + 1 >= self.attempts,
            Resend::Never => false,
        };
        if !allowed {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(16);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let drawn = bound.mul_f64(jitter.clamp(0.0, 1.0));
        Some(drawn.max(failure.retry_after.unwrap_or_default()).min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::ErrorCode;
    use super::*;

    fn failure(code: ErrorCode) -> Failure {
        Failure::new(code, "x")
    }

    #[test]
    fn delays_double_under_full_jitter_and_stop_at_the_cap() {
        let (base, cap) = (Duration::from_secs(2), Duration::from_secs(5));
        let policy = RetryPolicy { attempts: 9, base, cap };
        let delay = |attempt, jitter| {
            policy.next_delay(&failure(ErrorCode::Temporary), attempt, 9, jitter).unwrap()
        };
        assert_eq!(delay(1, 1.0), Duration::from_secs(2));
        assert_eq!(delay(1, 0.5), Duration::from_secs(1));
        assert_eq!(delay(2, 1.0), Duration::from_secs(4));
        assert_eq!(delay(3, 1.0), Duration::from_secs(5));
        assert_eq!(delay(8, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_last_attempt_and_terminal_errors_are_not_retried() {
        let policy = RetryPolicy::default();
        assert!(policy.next_delay(&failure(ErrorCode::Temporary), 2, 3, 1.0).is_some());
        assert!(policy.next_delay(&failure(ErrorCode::Temporary), 3, 3, 1.0).is_none());
        assert!(policy.next_delay(&failure(ErrorCode::Permanent), 1, 3, 1.0).is_none());
        assert!(policy.next_delay(&failure(ErrorCode::AuthError), 1, 3, 1.0).is_none());
    }

    #[test]
    fn what_may_have_been_paid_for_is_asked_again_once_in_all() {
        let policy = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
        let again = |attempt, limit| {
            policy.next_delay(&failure(ErrorCode::Timeout), attempt, limit, 1.0).is_some()
        };
        assert_eq!([again(1, 4), again(2, 4), again(3, 4)], [true, false, false]);
        // A user's retry after two attempts buys four more.
        assert_eq!([again(3, 6), again(4, 6)], [true, false]);
        let settled = failure(ErrorCode::RateLimit).resend(Resend::Never);
        assert!(policy.next_delay(&settled, 1, 4, 1.0).is_none());
    }

    #[test]
    fn a_providers_own_wait_is_a_lower_bound_under_the_cap() {
        let policy = RetryPolicy::default();
        let told = |seconds| {
            let failure = failure(ErrorCode::RateLimit).after(Duration::from_secs(seconds));
            policy.next_delay(&failure, 1, 3, 0.0).unwrap()
        };
        assert_eq!(told(7), Duration::from_secs(7));
        assert_eq!(told(9_999), policy.cap);
    }
}
