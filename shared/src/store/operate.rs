//! What start-up checks, and what it reads of the server for others.

use std::collections::HashMap;

use super::{Store, StoreError, keys};
use crate::domain::Cell;

/// Oldest Redis that will do: ZMPOP and sharded channels came with it.
pub(super) const VERSION_MIN: (u32, u32) = (7, 0);

/// What a 202 promises about a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// What Redis has; with `appendfsync everysec` a power cut may take the last second.
    #[default]
    Relaxed,
    /// It is on the disk: Redis must sync its append-only file before it answers.
    Strict,
}

/// What INFO tells of a server, by name.
#[derive(Debug)]
pub(super) struct Facts(HashMap<String, String>);

/// Why a Redis can be reached but must not be used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Eviction would delete leases and jobs without a word.
    #[error(
        "Redis may evict keys (maxmemory-policy is {policy}), which would lose jobs; \
         set it with: redis-cli CONFIG SET maxmemory-policy noeviction"
    )]
    Evicts {
        /// The policy found.
        policy: String,
    },
    /// A command that the scripts need is missing.
    #[error("Redis {version} is too old; version 7.0 or newer is needed")]
    TooOld {
        /// The version found.
        version: String,
    },
    /// Other processes spread the keys over another number of cells.
    #[error(
        "redis.cells is {ours} here, and this Redis was set up with {recorded} cells; {}",
        remedy_for_cells(*.ours, *.recorded)
    )]
    Cells {
        /// What the settings say.
        ours: u16,
        /// What all others do.
        recorded: u16,
    },
    /// A power cut could take a job that was answered 202.
    #[error(
        "redis.durability = \"strict\" needs an append-only file that is synced before each answer, \
         and {found}; {remedy}, or set redis.durability = \"relaxed\""
    )]
    NotDurable {
        /// What was found instead.
        found: String,
        /// The command that mends it.
        remedy: &'static str,
    },
    /// It could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn remedy_for_cells(ours: u16, recorded: u16) -> String {
    if ours < recorded {
        return format!(
            "fewer would leave the sessions and jobs of the others behind: set redis.cells = {recorded}"
        );
    }
    format!(
        "set redis.cells = {recorded}; or, to have more cells from now on, stop all gateways and \
         workers, say HSET fw:{{c0}}:config cells {ours} to the node of c0, and start them again"
    )
}

impl Store {
    /// Asks a cell's node for a sign of life.
    pub async fn ping(&self, cell: Cell) -> Result<(), StoreError> {
        self.command(cell, &redis::cmd("PING")).await
    }

    /// Checks that all nodes that hold a cell can be trusted with jobs, one after the other.
    pub async fn check_all(&self) -> Result<(), Unfit> {
        for cell in self.cells() {
            self.check_fitness(cell).await?;
        }
        Ok(())
    }

    /// Checks that a cell's node can be trusted with jobs; at the first cell also that all processes
    /// agree about the number of cells, which the first of them records.
    ///
    /// A managed Redis that refuses CONFIG is trusted: INFO tells the policy too.
    pub async fn check_fitness(&self, cell: Cell) -> Result<(), Unfit> {
        let facts = self.facts(cell).await?;
        let policy = facts.text("maxmemory_policy");
        if !matches!(policy, "noeviction" | "") {
            return Err(Unfit::Evicts { policy: policy.to_owned() });
        }
        if facts.version() < VERSION_MIN {
            return Err(Unfit::TooOld { version: facts.text("redis_version").to_owned() });
        }
        if self.shared.redis.durability == Durability::Strict {
            self.check_durability(cell, &facts).await?;
        }
        if cell == Cell::FIRST {
            self.agree_on_cells().await?;
        }
        Ok(())
    }

    /// Records the number of cells, or compares it with what was recorded.
    async fn agree_on_cells(&self) -> Result<(), Unfit> {
        let (key, ours) = (keys::config(Cell::FIRST), self.shared.cells);
        let mut both = redis::pipe();
        both.cmd("HSETNX").arg(&key).arg("cells").arg(ours).ignore();
        both.cmd("HGET").arg(&key).arg("cells");
        let (recorded,): (u16,) = self.pipeline(Cell::FIRST, &both).await?;
        if recorded != ours {
            return Err(Unfit::Cells { ours, recorded });
        }
        Ok(())
    }

    /// Checks that what Redis has answered is on its disk.
    ///
    /// A Redis that refuses CONFIG is not trusted here: what can't be seen can't be promised.
    pub(super) async fn check_durability(&self, cell: Cell, facts: &Facts) -> Result<(), Unfit> {
        const SYNC: &str = "set it with: redis-cli CONFIG SET appendfsync always";
        let not_durable = |found: &str, remedy| {
            let found = found.to_owned();
            Err(Unfit::NotDurable { found, remedy })
        };
        if facts.text("aof_enabled") != "1" {
            return not_durable(
                "this Redis has none",
                "turn it on with: redis-cli CONFIG SET appendonly yes",
            );
        }
        match self.setting(cell, "appendfsync").await?.as_deref() {
            Some("always") => {}
            Some(how) => return not_durable(&format!("appendfsync is {how}"), SYNC),
            None => return not_durable("this Redis does not let itself be asked (CONFIG)", SYNC),
        }
        if self.setting(cell, "no-appendfsync-on-rewrite").await?.as_deref() == Some("yes") {
            return not_durable(
                "no-appendfsync-on-rewrite is yes",
                "set it with: redis-cli CONFIG SET no-appendfsync-on-rewrite no",
            );
        }
        Ok(())
    }

    /// Reads what the server says of itself.
    pub(super) async fn facts(&self, cell: Cell) -> Result<Facts, StoreError> {
        let info: String = self.command(cell, &redis::cmd("INFO")).await?;
        Ok(Facts::parse(&info))
    }

    /// Reads a setting of the server; `None` where it refuses to tell.
    pub(super) async fn setting(
        &self,
        cell: Cell,
        name: &str,
    ) -> Result<Option<String>, StoreError> {
        let pair: Result<Vec<String>, StoreError> =
            self.command(cell, redis::cmd("CONFIG").arg("GET").arg(name)).await;
        match pair {
            Ok(pair) => Ok(pair.into_iter().nth(1)),
            Err(StoreError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Facts {
    /// Reads the text of INFO.
    pub(super) fn parse(info: &str) -> Self {
        let lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Gives a fact; empty where the server does not say.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Gives a number; 0 where the server does not say.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_default()
    }

    /// Gives major and minor version.
    pub(super) fn version(&self) -> (u32, u32) {
        let mut parts = self.text("redis_version").split('.');
        let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        (next(), next())
    }
}
