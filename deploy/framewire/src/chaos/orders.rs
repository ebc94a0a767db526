//! What users will ask for. Pure: the seed decides all of it.
//!
//! The first session is greedy and orders half of all jobs; the others share the rest. Jobs are
//! small, so that hundreds fit into a minute; what makes them hard is when things happen. One in a
//! few hundred is deadly: whoever works on it is killed, until the job is given up.

use serde_json::{Value, json};

use super::dice::Dice;

/// Sessions; the first is the greedy one.
pub(super) const SESSIONS: usize = 5;
/// What the prompts of deadly and of slow jobs begin with.
pub(super) const DEADLY: &str = "deadly";
pub(super) const SLOW: &str = "slow";
/// One of so many jobs is deadly, and which: even a small run has one.
const DEADLY_EVERY: (u32, u32) = (250, 3);
/// Of a hundred jobs, so many take seconds.
const SLOW_PERCENT: u64 = 3;

/// What goes wrong with a job by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// So many attempts fail, the next succeeds.
    Temporary(u64),
    /// The first attempt fails for good; the user tries again, which succeeds.
    Refused,
    /// It kills its workers.
    Deadly,
}

/// One job that somebody will ask for.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// When, in milliseconds from the start of the storm.
    pub(super) at_ms: u64,
    pub(super) session: usize,
    pub(super) priority: &'static str,
    pub(super) steps: u64,
    pub(super) step_ms: u64,
    pub(super) is_slow: bool,
    pub(super) seed: u64,
    pub(super) trouble: Trouble,
    /// Its Idempotency-Key; one without is not sent again when nobody knows what became of it.
    pub(super) key: Option<String>,
    /// Whether it is sent twice at the same moment.
    pub(super) twice: bool,
    /// Whether it is sent once more after it was accepted.
    pub(super) again: bool,
    /// When it is cancelled, in milliseconds after it was accepted.
    pub(super) cancel_ms: Option<u64>,
    /// Seconds within which it has to start.
    pub(super) start_within_s: Option<u64>,
    /// Whether its user tries again if it ends otherwise than completed.
    pub(super) returns: bool,
}

impl Order {
    /// Gives the body of its request.
    pub(super) fn body(&self) -> Value {
        let kind = match self.trouble {
            Trouble::Deadly => DEADLY,
            _ if self.is_slow => SLOW,
            _ => "job",
        };
        let mut input = json!({
            "prompt": format!("{kind} {}", self.seed), "width": 64, "height": 64,
            "steps": self.steps, "step_ms": self.step_ms, "seed": self.seed,
        });
        let fault = match self.trouble {
            Trouble::None | Trouble::Deadly => None,
            Trouble::Temporary(attempts) => Some(("temporary", attempts)),
            Trouble::Refused => Some(("permanent", 1)),
        };
        if let Some((fault, attempts)) = fault {
            input["fault"] = fault.into();
            input["fault_attempts"] = attempts.into();
        }
        let mut body = json!({"model": "builtin", "input": input, "priority": self.priority});
        if let Some(seconds) = self.start_within_s {
            body["start_within_s"] = seconds.into();
        }
        body
    }
}

/// Draws the orders of a storm of this length, in order of time.
pub(super) fn draw(dice: &mut Dice, jobs: u32, storm_ms: u64) -> Vec<Order> {
    let mut orders: Vec<Order> =
        (0..jobs).map(|number| order(&mut dice.fork(), number, storm_ms * 9 / 10)).collect();
    orders.sort_by_key(|order| order.at_ms);
    orders
}

fn order(dice: &mut Dice, number: u32, within_ms: u64) -> Order {
    let session = match dice.chance(50) {
        true => 0,
        false => 1 + dice.below(SESSIONS - 1),
    };
    let trouble = match dice.below(100) {
        _ if number % DEADLY_EVERY.0 == DEADLY_EVERY.1 => Trouble::Deadly,
        0..8 => Trouble::Temporary(dice.between(1, 2)),
        8..12 => Trouble::Refused,
        _ => Trouble::None,
    };
    let keyed = dice.chance(60);
    let is_deadly = trouble == Trouble::Deadly;
    // Slow enough that an heir is still at it when the worker comes back from a long pause.
    let is_slow = dice.chance(SLOW_PERCENT);
    let cancels = matches!(trouble, Trouble::None | Trouble::Temporary(_)) && dice.chance(12);
    let hurries = trouble == Trouble::None && !cancels && dice.chance(8);
    Order {
        // A deadly one comes early: it takes a lease to lose a worker, and it takes several.
        at_ms: dice.between(0, if is_deadly { within_ms / 4 } else { within_ms }),
        session,
        priority: match is_deadly {
            true => "high",
            false => ["high", "normal", "normal", "low"][dice.below(4)],
        },
        // A deadly one is long enough for whoever lies in wait for its workers.
        steps: match (is_deadly, is_slow) {
            (true, _) => 10,
            (false, true) => 4,
            (false, false) => dice.between(1, 4),
        },
        step_ms: match (is_deadly, is_slow) {
            (true, _) => 400,
            (false, true) => dice.between(600, 900),
            (false, false) => dice.between(0, 60),
        },
        is_slow,
        seed: u64::from(number) + 1,
        trouble,
        key: keyed.then(|| format!("order-{number}")),
        twice: keyed && dice.chance(15),
        again: keyed && dice.chance(25),
        cancel_ms: cancels.then(|| dice.between(0, 900)),
        start_within_s: hurries.then(|| dice.between(1, 3)),
        returns: trouble == Trouble::Refused || (!is_deadly && dice.chance(50)),
    }
}
