//! Which faults come when. Pure: the seed and the length of the storm decide all of it.
//!
//! Each kind of fault has a mean time between two of them; the first comes somewhere within the
//! first, so a short storm has most kinds too. Now and then there is a rolling restart, which asks
//! everybody to leave, one after the other. Pauses reach from shorter than a lease to longer than
//! two.

use super::dice::Dice;
use super::proxy::Side;

/// How long a claim holds in this run, in milliseconds.
pub(super) const LEASE_MS: u64 = 1_500;
/// When the first fault may come: everybody has started by then.
const CALM_MS: u64 = 600;
/// Mean time between two rolling restarts, and between two of those who are restarted in one.
const ROLLING_MS: u64 = 30_000;
const ROLLING_STEP_MS: u64 = 700;

/// One fault. Numbers of workers, gateways and links count from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of a worker.
    KillWorker(usize),
    /// SIGSTOP of a worker, and SIGCONT after so many milliseconds.
    StopWorker(usize, u64),
    /// SIGSTOP of a worker at a slow job, and SIGCONT when another has taken the job over.
    HauntWorker(usize),
    /// SIGTERM of a worker, which drains and comes back.
    DrainWorker(usize),
    /// SIGKILL of a gateway.
    KillGateway(usize),
    /// SIGTERM of a gateway, which drains and comes back.
    DrainGateway(usize),
    /// SIGSTOP and SIGCONT of a gateway.
    StopGateway(usize, u64),
    /// SIGKILL of Redis, and a start on its append-only file after so many milliseconds.
    KillRedis(u64),
    /// SIGSTOP and SIGCONT of Redis.
    StopRedis(u64),
    /// All connections of a link break; new ones are refused for so many milliseconds.
    Cut(usize, u64),
    /// The next answer on a link breaks off in its middle.
    Tear(usize),
    /// The next answer on a link is lost with its connection.
    Lose(usize),
    /// All connections of a link stay open and carry nothing any more, that way or both.
    Swallow(usize, Side),
    /// Everything on a link takes so many milliseconds longer, for so many.
    Delay(usize, u64, u64),
}

impl Fault {
    /// Names its kind, for the report.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::KillWorker(_) => "worker killed",
            Self::DrainWorker(_) => "worker drained",
            Self::StopWorker(..) => "worker paused",
            Self::KillGateway(_) => "gateway killed",
            Self::DrainGateway(_) => "gateway drained",
            Self::HauntWorker(_) => "worker back as a zombie",
            Self::StopGateway(..) => "gateway paused",
            Self::KillRedis(_) => "redis killed",
            Self::StopRedis(_) => "redis paused",
            Self::Cut(..) => "connections cut",
            Self::Tear(_) => "answer torn",
            Self::Lose(_) => "answer lost",
            Self::Swallow(..) => "connections half-open",
            Self::Delay(..) => "network slow",
        }
    }

    /// Gives the number of whom it hits.
    pub(super) fn target(&self) -> usize {
        match *self {
            Self::KillWorker(number)
            | Self::HauntWorker(number)
            | Self::DrainWorker(number)
            | Self::StopWorker(number, _)
            | Self::KillGateway(number)
            | Self::DrainGateway(number)
            | Self::StopGateway(number, _)
            | Self::Cut(number, _)
            | Self::Tear(number)
            | Self::Lose(number)
            | Self::Swallow(number, _)
            | Self::Delay(number, ..) => number,
            Self::KillRedis(_) | Self::StopRedis(_) => 0,
        }
    }
}

/// A kind of fault: its mean period in milliseconds, and how one is drawn.
type Kind = (u64, fn(&mut Dice, &Cast) -> Fault);

/// Who can be hit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cast {
    pub(super) workers: usize,
    pub(super) gateways: usize,
}

impl Cast {
    fn link(self, dice: &mut Dice) -> usize {
        dice.below(self.workers + self.gateways)
    }
}

const KINDS: [Kind; 13] = [
    (3_000, |dice, cast| Fault::KillWorker(dice.below(cast.workers))),
    (3_500, |dice, cast| {
        Fault::StopWorker(dice.below(cast.workers), dice.between(200, LEASE_MS * 2))
    }),
    (4_000, |dice, cast| Fault::HauntWorker(dice.below(cast.workers))),
    (5_000, |dice, cast| Fault::DrainWorker(dice.below(cast.workers))),
    (6_000, |dice, cast| Fault::KillGateway(dice.below(cast.gateways))),
    (9_000, |dice, cast| Fault::DrainGateway(dice.below(cast.gateways))),
    (8_000, |dice, cast| {
        Fault::StopGateway(dice.below(cast.gateways), dice.between(200, LEASE_MS * 2))
    }),
    (10_000, |dice, _| Fault::KillRedis(dice.between(0, 1_200))),
    (15_000, |dice, _| Fault::StopRedis(dice.between(100, 2_000))),
    (1_500, |dice, cast| Fault::Cut(cast.link(dice), dice.between(0, 400))),
    (800, |dice, cast| Fault::Tear(cast.link(dice))),
    (2_000, |dice, cast| {
        let side = [Side::Requests, Side::Answers, Side::Both][dice.below(3)];
        Fault::Swallow(cast.link(dice), side)
    }),
    (3_000, |dice, cast| {
        Fault::Delay(cast.link(dice), dice.between(2, 60), dice.between(300, 2_500))
    }),
];

/// Draws the faults of a storm of this length: when, in milliseconds from its start, and what.
pub(super) fn draw(dice: &mut Dice, cast: Cast, storm_ms: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    for (period, make) in KINDS {
        let mut dice = dice.fork();
        let first = period.min(storm_ms.saturating_sub(CALM_MS).max(1));
        let mut at = CALM_MS + dice.between(0, first);
        while at < storm_ms {
            faults.push((at, make(&mut dice, &cast)));
            at += dice.between(period / 2, period * 3 / 2);
        }
    }
    let everybody = (0..cast.workers).map(Fault::DrainWorker);
    let everybody = everybody.chain((0..cast.gateways).map(Fault::DrainGateway));
    let mut at = dice.between(ROLLING_MS / 2, ROLLING_MS);
    while at < storm_ms {
        let moments = (at..storm_ms).step_by(ROLLING_STEP_MS as usize);
        faults.extend(moments.zip(everybody.clone()));
        at += dice.between(ROLLING_MS / 2, ROLLING_MS * 3 / 2);
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAST: Cast = Cast { workers: 3, gateways: 2 };

    #[test]
    fn a_seed_fixes_the_storm_and_another_makes_another() {
        let storm = |seed| draw(&mut Dice::new(seed), CAST, 30_000);
        assert_eq!(storm(1), storm(1));
        assert_ne!(storm(1), storm(2));
    }

    #[test]
    fn half_a_minute_has_every_kind_and_all_of_it_in_time() {
        let storm = draw(&mut Dice::new(3), CAST, 30_000);
        let kinds: std::collections::HashSet<_> =
            storm.iter().map(|(_, fault)| fault.kind()).collect();
        assert_eq!(kinds.len(), KINDS.len());
        assert!(storm.iter().all(|(at, _)| (CALM_MS..30_000).contains(at)));
        assert!(storm.is_sorted_by_key(|(at, _)| *at));
    }
}
