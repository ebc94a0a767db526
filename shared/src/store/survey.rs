//! How a cell's pools stand: what waits, what runs, what may run; for metrics and operators.
//!
//! One read-only script per cell reads all of it at once, so that a scrape costs Redis as much as one
//! submit and the numbers fit together. Nothing is decided by it; whoever asks often keeps the answer
//! for a while. What is *wrong* is the doctor's question ([`super::doctor`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::{Reply, maybe, number};
use super::{Store, StoreError};
use crate::domain::{Cell, Priority};

/// How the pools of a cell stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Dead letters kept.
    pub dead: u64,
    /// The pools that ever had a worker or a cap, by name.
    pub pools: BTreeMap<String, PoolSurvey>,
}

/// How a pool stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolSurvey {
    /// Slots of its living workers whose providers may be asked.
    pub capacity: u64,
    /// Jobs that may run in it, the operator's word or the settings'; any number when `None`.
    pub cap: Option<u64>,
    /// Jobs that run.
    pub running: u64,
    /// Jobs admitted and not yet claimed.
    pub admitted: u64,
    /// Failed attempts that wait for their next.
    pub delayed: u64,
    /// Time for which all of its providers are closed off; zero if one may be asked.
    pub closed_for: Duration,
    /// What waits, in the order of [`Priority::ALL`].
    pub lines: [LineSurvey; 3],
}

/// How a class of a pool stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineSurvey {
    /// Jobs that nobody has claimed, those in the window included.
    pub queued: u64,
    /// Jobs in the window.
    pub window: u64,
    /// Age of the oldest that nobody has claimed.
    pub oldest: Option<Duration>,
}

impl Survey {
    fn parse(reply: Reply) -> Result<Self, StoreError> {
        let mut parts = reply.list()?.into_iter();
        let dead = parts.next().ok_or_else(|| StoreError::Garbled("an empty survey".into()))?;
        let pools = parts.map(|pool| PoolSurvey::parse(&pool.into_words()?));
        Ok(Self { dead: number(&dead.text()?)?, pools: pools.collect::<Result<_, _>>()? })
    }

    /// Adds another cell's: numbers add up, of ages the highest counts.
    pub fn add(&mut self, other: &Self) {
        self.dead += other.dead;
        for (name, its) in &other.pools {
            match self.pools.get_mut(name) {
                Some(pool) => pool.add(its),
                None => drop(self.pools.insert(name.clone(), its.clone())),
            }
        }
    }
}

impl PoolSurvey {
    fn parse(words: &[String]) -> Result<(String, Self), StoreError> {
        let garbled = || StoreError::Garbled(format!("{words:?}"));
        let [name, capacity, cap, running, admitted, delayed, closed_ms, lines @ ..] = words else {
            return Err(garbled());
        };
        let [a, b, c, d, e, f, g, h, i] = lines else {
            return Err(garbled());
        };
        let line = |[queued, window, oldest]: [&String; 3]| {
            Ok::<_, StoreError>(LineSurvey {
                queued: number(queued)?,
                window: number(window)?,
                oldest: maybe(oldest)?.map(Duration::from_millis),
            })
        };
        let survey = Self {
            capacity: number(capacity)?,
            cap: maybe(cap)?,
            running: number(running)?,
            admitted: number(admitted)?,
            delayed: number(delayed)?,
            closed_for: Duration::from_millis(number(closed_ms)?),
            lines: [line([a, b, c])?, line([d, e, f])?, line([g, h, i])?],
        };
        Ok((name.clone(), survey))
    }

    /// Adds another cell's part of the same pool. Every worker serves all cells with all of its slots,
    /// so its capacity is no sum; a cap is divided over the cells, so it is one.
    fn add(&mut self, other: &Self) {
        self.capacity = self.capacity.max(other.capacity);
        self.cap = self.cap.zip(other.cap).map(|(ours, theirs)| ours + theirs);
        self.running += other.running;
        self.admitted += other.admitted;
        self.delayed += other.delayed;
        self.closed_for = self.closed_for.max(other.closed_for);
        for (ours, theirs) in self.lines.iter_mut().zip(&other.lines) {
            ours.queued += theirs.queued;
            ours.window += theirs.window;
            ours.oldest = ours.oldest.max(theirs.oldest);
        }
    }

    /// Lists the classes with what waits in each.
    pub fn classes(&self) -> impl Iterator<Item = (Priority, LineSurvey)> {
        Priority::ALL.into_iter().zip(self.lines)
    }

    /// Counts the jobs that nobody has claimed.
    pub fn queued(&self) -> u64 {
        self.lines.iter().map(|line| line.queued).sum()
    }

    /// Gives the age of the oldest of them.
    pub fn oldest(&self) -> Option<Duration> {
        self.lines.iter().filter_map(|line| line.oldest).max()
    }
}

impl Store {
    /// Reads how a cell's pools stand.
    pub async fn survey(&self, cell: Cell) -> Result<Survey, StoreError> {
        Survey::parse(self.run(&self.shared.scripts.survey, cell, &[]).await?)
    }
}
