//! How much may run at a time: read, and changed while everything runs.
//!
//! Caps live in Redis, beside what they bound, and `admit()` in the prelude is the only one to keep
//! them: it admits up to the cap and no further, whoever changed it and when. A cap has two hands: the
//! settings' default, which each gateway writes when it reaches Redis, and the operator's value, which
//! wins until it is taken away. For sessions there is a third, that of the session's tenant, which
//! wins over both. A lowered cap ends nothing; what runs goes on, and the next is admitted when there
//! is room again. A raised one admits at once. 0 is a pause: what runs goes on, nothing new begins.
//! A pool's cap is divided over the cells; each has at least one, unless it is 0.
//! Not here: a cap on all of a tenant's jobs together. It would need a second order of turns, between
//! the tenants; give such a tenant's model a pool of its own, and cap that.

use std::collections::{BTreeMap, BTreeSet};

use super::codec::{Reply, number};
use super::{Store, StoreError};
use crate::domain::{Cell, IdError, Pool, Tenant};

/// Largest cap: more than any installation has slots, so a larger one is a slip of the hand.
pub const CAP_MAX: u32 = 100_000;
/// Cap of each session where neither an operator nor the settings have said; as in the prelude.
pub const SESSION_CAP: u32 = 2;
/// Paused sessions looked at in one call when a cap changes.
const PAUSED_STEP: u32 = 200;

/// What a cap bounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capped {
    /// Each session's jobs.
    Session,
    /// The jobs of each session of a tenant.
    SessionOf(Tenant),
    /// A pool's jobs.
    Pool(Pool),
}

/// A cap and what is in use of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cap {
    /// What the operator has set; wins.
    pub operators: Option<u32>,
    /// What the settings say.
    pub default: Option<u32>,
    /// Jobs running or admitted.
    pub jobs: u64,
    /// Sessions that have any of them; 0 for a pool.
    pub sessions: u64,
    /// The most that one session has of them; 0 for a pool.
    pub busiest: u64,
    /// Slots of a pool's living workers; 0 for sessions.
    pub slots: u64,
}

impl Cap {
    /// Gives the cap that holds; `None` where there is none of its own.
    pub fn value(&self) -> Option<u32> {
        self.operators.or(self.default)
    }

    fn count(&mut self, jobs: u64) {
        self.jobs += jobs;
        self.sessions += 1;
        self.busiest = self.busiest.max(jobs);
    }
}

/// Which hand sets a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    Operator,
    Settings,
}

impl Store {
    /// Lists all caps: of sessions, of tenants that have one or have jobs, of pools.
    pub async fn caps(&self) -> Result<BTreeMap<Capped, Cap>, StoreError> {
        let mut caps = BTreeMap::from([(
            Capped::Session,
            Cap { default: Some(SESSION_CAP), ..Cap::default() },
        )]);
        for cell in self.cells() {
            read(self.run(&self.shared.scripts.caps, cell, &[]).await?, &mut caps)?;
        }
        Ok(caps)
    }

    /// Sets the operator's cap, or takes it away; gives the one that was set before.
    ///
    /// Repetition: the same again, but what is given is then the new one. Limits: [`CAP_MAX`].
    pub async fn set_cap(&self, of: &Capped, cap: Option<u32>) -> Result<Option<u32>, StoreError> {
        let mut before = None;
        for cell in self.cells() {
            let was = self.set_in(cell, Hand::Operator, of, cap).await?;
            before = if matches!(of, Capped::Pool(_)) { sum(before, was) } else { was };
        }
        Ok(before)
    }

    /// Sets the settings' caps in a cell, and takes away those of pools that they do not name any more.
    pub async fn set_default_caps(
        &self,
        cell: Cell,
        session: u32,
        pools: &BTreeMap<Pool, u32>,
    ) -> Result<(), StoreError> {
        self.set_in(cell, Hand::Settings, &Capped::Session, Some(session)).await?;
        let mut all: BTreeSet<Pool> = pools.keys().cloned().collect();
        all.extend(self.pools(cell).await?.iter().filter_map(|name| name.parse().ok()));
        for pool in all {
            let cap = pools.get(&pool).copied();
            self.set_in(cell, Hand::Settings, &Capped::Pool(pool), cap).await?;
        }
        Ok(())
    }

    async fn set_in(
        &self,
        cell: Cell,
        hand: Hand,
        of: &Capped,
        cap: Option<u32>,
    ) -> Result<Option<u32>, StoreError> {
        let (pool, field) = match (of, hand) {
            (Capped::Session, Hand::Operator) => ("", "session_cap".to_owned()),
            (Capped::Session, Hand::Settings) => ("", "session_cap_default".to_owned()),
            (Capped::SessionOf(tenant), _) => ("", format!("session_cap:{tenant}")),
            (Capped::Pool(pool), Hand::Operator) => (pool.as_str(), "cap".to_owned()),
            (Capped::Pool(pool), Hand::Settings) => (pool.as_str(), "cap_default".to_owned()),
        };
        let share = |cap| if pool.is_empty() { cap } else { self.share_of(cap, cell) };
        let cap = cap.map(|cap| share(cap).to_string()).unwrap_or_default();
        let (mut before, mut cursor) = (None, "0".to_owned());
        loop {
            let arguments = [pool, &*field, &*cap, &*cursor, &PAUSED_STEP.to_string()];
            let reply = self.run(&self.shared.scripts.set_cap, cell, &arguments).await?;
            let words = reply.into_words()?;
            let [_, was, next] = &words[..] else {
                return Err(StoreError::Garbled(format!("{words:?}")));
            };
            if cursor == "0" {
                before = jobs(was)?;
            }
            if next == "0" {
                return Ok(before);
            }
            cursor.clone_from(next);
        }
    }
}

/// Reads a cap; empty is none.
fn jobs(text: &str) -> Result<Option<u32>, StoreError> {
    (!text.is_empty()).then(|| number(text)).transpose()
}

/// Adds the shares of two cells.
fn sum(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    one.zip(other).map(|(one, other)| one + other).or(one).or(other)
}

fn garbled(error: IdError) -> StoreError {
    StoreError::Garbled(error.to_string())
}

/// Adds what one cell's reply tells.
fn read(reply: Reply, caps: &mut BTreeMap<Capped, Cap>) -> Result<(), StoreError> {
    let [config, pools, sessions] = <[Reply; 3]>::try_from(reply.list()?)
        .map_err(|parts| StoreError::Garbled(format!("{parts:?}")))?;
    let config = config.into_words()?;
    for pair in config.chunks_exact(2) {
        let cap = jobs(&pair[1])?;
        match pair[0].split_once(':') {
            None if pair[0] == "session_cap" => {
                caps.entry(Capped::Session).or_default().operators = cap;
            }
            None if pair[0] == "session_cap_default" => {
                caps.entry(Capped::Session).or_default().default = cap;
            }
            Some(("session_cap", tenant)) => {
                let of = Capped::SessionOf(tenant.parse().map_err(garbled)?);
                caps.entry(of).or_default().operators = cap;
            }
            _ => {}
        }
    }
    for pool in pools.list()? {
        let words = pool.into_words()?;
        let [name, operators, default, slots, running, admitted] = &words[..] else {
            return Err(StoreError::Garbled(format!("{words:?}")));
        };
        let cap = caps.entry(Capped::Pool(name.parse().map_err(garbled)?)).or_default();
        cap.operators = sum(cap.operators, jobs(operators)?);
        cap.default = sum(cap.default, jobs(default)?);
        cap.slots += number::<u64>(slots)?;
        cap.jobs += number::<u64>(running)? + number::<u64>(admitted)?;
    }
    for session in sessions.list()? {
        let words = session.into_words()?;
        let [tenant, live] = &words[..] else {
            return Err(StoreError::Garbled(format!("{words:?}")));
        };
        let live = number(live)?;
        caps.entry(Capped::Session).or_default().count(live);
        let of = Capped::SessionOf(tenant.parse().map_err(garbled)?);
        caps.entry(of).or_default().count(live);
    }
    Ok(())
}
