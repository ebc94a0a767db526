//! When a stream pings, checks its position, and ends. Pure, but for the dice.
//!
//! Every period is drawn a little shorter or longer, so that streams opened in the same moment (after
//! a deploy, after an outage) do not act in the same moment for ever.

use std::time::Duration;

use framewire_shared::domain::Cursor;
use tokio::time::Instant;

use super::LiveOptions;
use super::frame::Bye;

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Say that we are here.
    Ping,
    /// Compare our position with Redis.
    Check,
    /// This position, found in Redis a moment ago, must have been heard by now.
    Confirm(Cursor),
    /// End the stream.
    End(Bye),
}

/// The moments of one stream.
#[derive(Debug)]
pub struct Schedule {
    ping: Duration,
    check: Duration,
    recheck: Duration,
    drain: Duration,
    ping_at: Instant,
    check_at: Instant,
    end_at: Instant,
    drain_at: Option<Instant>,
    /// Until the stream has begun.
    join_by: Option<Instant>,
    confirm: Option<(Instant, Cursor)>,
    rejoin_at: Option<Instant>,
}

impl Schedule {
    /// Draws the moments of a stream that is opened now.
    pub fn new(options: &LiveOptions, now: Instant) -> Self {
        Self {
            ping: options.ping,
            check: options.check,
            recheck: options.recheck,
            drain: options.drain,
            ping_at: now + about(options.ping, 0.1),
            check_at: now + about(options.check, 0.2),
            end_at: now + options.stream_age_max.mul_f64(rand::random_range(4.0 / 6.0..=1.0)),
            drain_at: None,
            join_by: Some(now + options.join_timeout),
            confirm: None,
            rejoin_at: None,
        }
    }

    /// Takes what is due, if anything is; if not, [`Schedule::next`] is in the future.
    pub fn take(&mut self, now: Instant) -> Option<Due> {
        self.rejoin_at.take_if(|at| *at <= now);
        if self.join_by.is_some_and(|by| by <= now) {
            return Some(Due::End(Bye::BackendDown));
        }
        if self.drain_at.is_some_and(|at| at <= now) {
            return Some(Due::End(Bye::Drain));
        }
        if self.end_at <= now {
            return Some(Due::End(Bye::MaxAge));
        }
        // Before it has begun, a stream has no position to say or to check.
        if self.join_by.is_some() {
            return None;
        }
        if self.ping_at <= now {
            self.ping_at = now + about(self.ping, 0.1);
            return Some(Due::Ping);
        }
        if let Some((_, cursor)) = self.confirm.take_if(|(at, _)| *at <= now) {
            return Some(Due::Confirm(cursor));
        }
        if self.check_at <= now {
            self.check_at = now + about(self.check, 0.2);
            return Some(Due::Check);
        }
        None
    }

    /// Tells when to look again at the latest.
    pub fn next(&self) -> Instant {
        let until_end = self.drain_at.map_or(self.end_at, |at| at.min(self.end_at));
        let waiting = [self.join_by, self.rejoin_at].into_iter().flatten().min();
        let begun = || {
            let confirm = self.confirm.as_ref().map(|(at, _)| *at);
            let sooner = self.ping_at.min(self.check_at);
            confirm.map_or(sooner, |at| at.min(sooner))
        };
        let next = if self.join_by.is_none() { until_end.min(begun()) } else { until_end };
        waiting.map_or(next, |at| at.min(next))
    }

    /// Wants a position confirmed, unless it is about another already.
    pub fn confirm(&mut self, cursor: Cursor, now: Instant) {
        self.confirm.get_or_insert((now + self.recheck, cursor));
    }

    /// Notes that the position has just been read: the stream has begun, and there is no doubt.
    pub fn joined(&mut self) {
        self.join_by = None;
        self.confirm = None;
        self.rejoin_at = None;
    }

    /// Puts off the next try to join.
    pub fn rejoin_later(&mut self, now: Instant) {
        self.rejoin_at = Some(now + Duration::from_millis(rand::random_range(100..=500)));
    }

    /// Tells whether a try to join must still wait.
    pub fn rejoins_later(&self) -> bool {
        self.rejoin_at.is_some()
    }

    /// Draws the moment at which a drain ends this stream.
    pub fn drain(&mut self, now: Instant) {
        self.drain_at = Some(now + self.drain.mul_f64(rand::random_range(0.0..=1.0)));
    }

    /// Tells whether that moment is drawn.
    pub fn drains(&self) -> bool {
        self.drain_at.is_some()
    }

    /// Gives the time until the stream ends of age.
    pub fn age_left(&self, now: Instant) -> Duration {
        self.end_at.saturating_duration_since(now)
    }
}

/// Draws a duration around this one.
fn about(duration: Duration, spread: f64) -> Duration {
    duration.mul_f64(rand::random_range(1.0 - spread..=1.0 + spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn schedule(now: Instant) -> Schedule {
        Schedule::new(&LiveOptions::default(), now)
    }

    #[test]
    fn a_stream_that_has_not_begun_in_time_gives_up_and_says_nothing_before() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        assert_eq!(schedule.take(now), None);
        assert_eq!(schedule.next(), now + 5_000 * MS);
        assert_eq!(schedule.take(now + 5_000 * MS), Some(Due::End(Bye::BackendDown)));
    }

    #[test]
    fn a_stream_pings_about_every_15_s_and_checks_about_every_25_s() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.joined();
        assert_eq!(schedule.take(now + 13_499 * MS), None);
        assert_eq!(schedule.take(now + 16_501 * MS), Some(Due::Ping));
        assert_eq!(schedule.take(now + 19_999 * MS), None);
        let (mut pings, mut checks) = (0, 0);
        for second in 20..=200 {
            match schedule.take(now + 1_000 * second * MS) {
                Some(Due::Ping) => pings += 1,
                Some(Due::Check) => checks += 1,
                _ => {}
            }
        }
        assert!((10..=14).contains(&pings) && (6..=10).contains(&checks), "{pings} {checks}");
    }

    #[test]
    fn a_stream_ends_between_12_and_18_minutes_of_age_and_a_drain_ends_it_within_its_window() {
        let now = Instant::now();
        let (mut youngest, mut oldest) = (Duration::MAX, Duration::ZERO);
        for _ in 0..200 {
            let mut schedule = schedule(now);
            let age = schedule.age_left(now);
            (youngest, oldest) = (youngest.min(age), oldest.max(age));
            schedule.joined();
            schedule.drain(now);
            assert_eq!(schedule.take(now + 2_000 * MS), Some(Due::End(Bye::Drain)));
        }
        assert!(youngest >= Duration::from_secs(12 * 60) && oldest <= Duration::from_secs(18 * 60));
        assert!(oldest - youngest > Duration::from_secs(60), "all would come back at once");
    }

    #[test]
    fn a_stream_with_nothing_due_has_nothing_to_wake_up_for_yet() {
        let start = Instant::now();
        for seed in 0..50 {
            let mut schedule = schedule(start);
            for second in 0..=1_200 {
                let now = start + 1_000 * second * MS + seed * MS;
                match (second + seed) % 97 {
                    1 => schedule.rejoin_later(now),
                    4 => schedule.joined(),
                    5 => schedule.confirm("3-aaaaaaaa".parse().unwrap(), now),
                    96 if second > 900 => schedule.drain(now),
                    _ => {}
                }
                match schedule.take(now) {
                    None => assert!(schedule.next() > now, "it would spin: {schedule:?}"),
                    Some(Due::End(_)) => break,
                    Some(_) => {}
                }
            }
        }
    }

    #[test]
    fn a_position_is_confirmed_once_after_a_moment_unless_it_was_read_anew() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.joined();
        let cursor: Cursor = "3-aaaaaaaa".parse().unwrap();
        schedule.confirm(cursor.clone(), now);
        assert_eq!(schedule.next(), now + 1_000 * MS);
        assert_eq!(schedule.take(now + 1_000 * MS), Some(Due::Confirm(cursor.clone())));
        assert_eq!(schedule.take(now + 1_001 * MS), None);
        schedule.confirm(cursor, now);
        schedule.joined();
        assert_eq!(schedule.take(now + 1_001 * MS), None);
    }
}
