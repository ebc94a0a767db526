//! How long to wait before a child that died is started again.
//!
//! Pure. One death is met at once: `kill -9` of a worker should cost its job a lease, not a pause.
//! Deaths in quick succession are met ever later, so that a broken child doesn't spin the machine.

use std::time::Duration;

/// A child that lived this long was in order.
const SOUND_AFTER: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// The deaths in quick succession so far.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    quick_deaths: u32,
}

impl Backoff {
    /// Tells how long to wait after a child that lived this long.
    pub(crate) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= SOUND_AFTER {
            self.quick_deaths = 0;
        }
        let wait = match self.quick_deaths {
            0 => Duration::ZERO,
            deaths => FIRST.saturating_mul(1 << (deaths - 1).min(16)).min(LONGEST),
        };
        self.quick_deaths += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_death_is_met_at_once_and_quick_ones_ever_later() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> =
            (0..9).map(|_| backoff.after(Duration::from_millis(50)).as_millis()).collect();
        assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn a_sound_life_forgives_what_was_before() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after(Duration::ZERO);
        }
        assert_eq!(backoff.after(SOUND_AFTER), Duration::ZERO);
        assert_eq!(backoff.after(Duration::ZERO), FIRST);
    }
}
