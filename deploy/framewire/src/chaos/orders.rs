//! What users will ask for. Pure: the seed decides all of it.
//!
//! The first session is greedy and orders half of all jobs; the others share the rest. Jobs are
//! small, so that hundreds fit into a minute; what makes them hard is when things happen.

use serde_json::{Value, json};

use super::dice::Dice;

/// Sessions; the first is the greedy one.
pub(super) const SESSIONS: usize = 5;

/// How a provider shall misbehave over a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// So many attempts fail, the next succeeds.
    Temporary(u64),
    /// The first attempt fails for good; the user tries again, which succeeds.
    Refused,
}

/// One job that somebody will ask for.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// When, in milliseconds from the start of the storm.
    pub(super) at_ms: u64,
    pub(super) session: usize,
    priority: &'static str,
    steps: u64,
    step_ms: u64,
    seed: u64,
    pub(super) trouble: Trouble,
    /// Its Idempotency-Key; one without is not sent again when nobody knows what became of it.
    pub(super) key: Option<String>,
    /// Whether it is sent twice at the same moment.
    pub(super) twice: bool,
    /// Whether it is sent once more after it was accepted.
    pub(super) again: bool,
    /// When it is cancelled, in milliseconds after it was accepted.
    pub(super) cancel_ms: Option<u64>,
}

impl Order {
    /// Gives the body of its request.
    pub(super) fn body(&self) -> Value {
        let mut input = json!({
            "prompt": format!("job {}", self.seed), "width": 64, "height": 64,
            "steps": self.steps, "step_ms": self.step_ms, "seed": self.seed,
        });
        let fault = match self.trouble {
            Trouble::None => None,
            Trouble::Temporary(attempts) => Some(("temporary", attempts)),
            Trouble::Refused => Some(("permanent", 1)),
        };
        if let Some((fault, attempts)) = fault {
            input["fault"] = fault.into();
            input["fault_attempts"] = attempts.into();
        }
        json!({"model": "builtin", "input": input, "priority": self.priority})
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
        0..8 => Trouble::Temporary(dice.between(1, 2)),
        8..12 => Trouble::Refused,
        _ => Trouble::None,
    };
    let keyed = dice.chance(70);
    Order {
        at_ms: dice.between(0, within_ms),
        session,
        priority: ["high", "normal", "normal", "low"][dice.below(4)],
        steps: dice.between(1, 4),
        step_ms: dice.between(0, 60),
        seed: u64::from(number) + 1,
        trouble,
        key: keyed.then(|| format!("order-{number}")),
        twice: keyed && dice.chance(15),
        again: keyed && dice.chance(25),
        // A job that is to be tried again is not cancelled on the way.
        cancel_ms: (trouble != Trouble::Refused && dice.chance(12)).then(|| dice.between(0, 900)),
    }
}
