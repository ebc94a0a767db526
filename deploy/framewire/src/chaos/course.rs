//! The course: orders and faults in which every protection is needed. Nothing of it is drawn.
//!
//! A storm meets most protections by chance, which is no proof that it would miss one. Here each
//! has its scene, and a run in which it is missing must break the promise that it keeps. The same
//! course with all protections breaks none. Scenes have times of their own, so that none spoils
//! another; those that wait for something (an heir, a worker with a job) hold the end up.
//!
//! Workers have one slot: who is frozen at a job has none free, so Redis pops nothing for it.

use std::time::Duration;

use super::orders::{Order, SESSIONS, Trouble};
use super::schedule::{Cast, Fault};

/// Its length, without what is waited for.
pub(super) const LENGTH: Duration = Duration::from_millis(12_000);
/// Slots of each worker.
pub(super) const SLOTS: u8 = 1;
/// Unfinished jobs of one session: few, so that a frozen crowd is soon above them.
pub(super) const SESSION_MAX: u32 = 20;

/// When every worker is frozen, and how long it would stay so. Nothing admitted is claimed then, and
/// nothing ends: load, caps and bounds are as high as they let them be. Long before it is over, when
/// nobody lies in wait for them any longer, the sleepers are killed, each with a job that it popped.
const CROWD_MS: (u64, u64) = (700, 3_000);
/// Jobs of the first session in it, above the bound; and of each other one, above its cap.
const CROWD: (u64, u64) = (26, 4);
/// When two slow jobs begin, behind which others miss their deadline, and one of which gets an
/// heir while its first worker is frozen.
const SLOW_MS: u64 = 2_400;
/// When jobs come that are sent twice, cancelled, tried again or fail.
const MIXED_MS: u64 = 2_600;
/// When a job comes that kills its workers.
const DEADLY_MS: u64 = 2_150;
/// When single jobs come without a key, and time between two of them.
const TRICKLE_MS: (u64, u64) = (4_500, 30);
/// Time between two answers that each gateway loses, while they come.
const LOSE_MS: u64 = 130;

/// When the last of them comes.
const TRICKLE_END_MS: u64 = 7_000;
/// When every worker is frozen again, with jobs to pop, and killed. A pop that Redis has answered
/// with nothing just before takes none, so one time is not enough to be sure of it.
const AMBUSHES_MS: [u64; 2] = [7_700, 9_900];

/// Gives what is ordered, in order of time.
pub(super) fn orders() -> Vec<Order> {
    let mut orders = Vec::new();
    for number in 0..CROWD.0 {
        orders.push(plain(CROWD_MS.0 + 50 + number * 4, 0));
    }
    for session in 1..SESSIONS {
        orders.extend((0..CROWD.1).map(|_| plain(CROWD_MS.0 + 50, session)));
    }
    orders.push(Order {
        trouble: Trouble::Deadly,
        priority: "high",
        steps: 10,
        step_ms: 400,
        ..plain(DEADLY_MS, 1)
    });
    for _ in 0..2 {
        orders.push(Order {
            is_slow: true,
            priority: "high",
            steps: 8,
            step_ms: 400,
            ..plain(SLOW_MS, 4)
        });
    }
    for number in 0..3 {
        orders.push(Order { start_within_s: Some(1), ..plain(SLOW_MS + 200 + number, 4) });
    }
    for number in 0..3 {
        let at = plain(MIXED_MS + number * 300, 2);
        let key = |name: &str| Some(format!("{name}-{number}"));
        orders.extend([
            Order { key: key("twice"), twice: true, ..at.clone() },
            Order { key: key("again"), again: true, ..at.clone() },
            Order { cancel_ms: Some(900), ..at.clone() },
            Order { cancel_ms: Some(400), steps: 4, step_ms: 300, ..plain(MIXED_MS, 3) },
            Order { trouble: Trouble::Temporary(1), ..at.clone() },
            Order { trouble: Trouble::Refused, returns: true, steps: 4, step_ms: 100, ..at },
        ]);
    }
    let trickle = (TRICKLE_MS.0..TRICKLE_END_MS).step_by(TRICKLE_MS.1 as usize);
    orders.extend(trickle.zip((0..SESSIONS).cycle()).map(|(at_ms, session)| plain(at_ms, session)));
    for at in AMBUSHES_MS {
        orders.extend((0..SESSIONS).map(|session| plain(at + 40, session)));
    }
    orders.sort_by_key(|order| order.at_ms);
    for (order, number) in orders.iter_mut().zip(1..) {
        order.seed = number;
    }
    orders
}

/// Gives what goes wrong, in order of time.
pub(super) fn faults(cast: Cast) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    for at in std::iter::once(CROWD_MS.0).chain(AMBUSHES_MS) {
        for number in 0..cast.workers {
            faults.push((at, Fault::StopWorker(number, CROWD_MS.1)));
            // Redis has popped a job for it, which it will never claim.
            faults.push((at, Fault::KillWorker(number)));
        }
    }
    faults.push((SLOW_MS, Fault::HauntWorker(0)));
    for at in (TRICKLE_MS.0..TRICKLE_END_MS).step_by(LOSE_MS as usize) {
        let gateways = cast.workers..cast.workers + cast.gateways;
        faults.extend(gateways.map(|number| (at, Fault::Lose(number))));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Makes an order with nothing special.
fn plain(at_ms: u64, session: usize) -> Order {
    Order {
        at_ms,
        session,
        priority: "normal",
        steps: 1,
        step_ms: 10,
        is_slow: false,
        seed: 0,
        trouble: Trouble::None,
        key: None,
        twice: false,
        again: false,
        cancel_ms: None,
        start_within_s: None,
        returns: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_is_in_order_of_time_and_its_crowd_is_above_the_bound() {
        let faults = faults(Cast { workers: 3, gateways: 2 });
        assert!(faults.is_sorted_by_key(|(at, _)| *at));
        assert!(orders().is_sorted_by_key(|order| order.at_ms));
        assert!(orders().last().is_some_and(|order| order.at_ms < LENGTH.as_millis() as u64));
        assert!(CROWD.0 > SESSION_MAX.into());
    }

    #[test]
    fn keys_of_the_course_are_each_used_by_one_order() {
        let orders = orders();
        let keys: Vec<_> = orders.iter().filter_map(|order| order.key.as_ref()).collect();
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert!(!keys.is_empty() && different.len() == keys.len());
    }
}
