//! What start-up checks and what an operator asks.

use std::collections::HashMap;

use super::{Store, StoreError, keys};
use crate::domain::Cell;

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
    #[error("Redis {version} is too old; version 6.2 or newer is needed")]
    TooOld {
        /// The version found.
        version: String,
    },
    /// It could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Asks Redis for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.command(&redis::cmd("PING")).await
    }

    /// Checks that this Redis can be trusted with jobs.
    ///
    /// A managed Redis that refuses CONFIG is trusted: INFO tells the policy too.
    pub async fn check_fitness(&self) -> Result<(), Unfit> {
        let info: String = self.command(&redis::cmd("INFO")).await?;
        let facts: HashMap<&str, &str> = info
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .collect();
        let policy = facts
            .get("maxmemory_policy")
            .copied()
            .unwrap_or("noeviction");
        if policy != "noeviction" {
            return Err(Unfit::Evicts {
                policy: policy.to_owned(),
            });
        }
        let version = facts.get("redis_version").copied().unwrap_or("0");
        let mut parts = version
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        if (parts.next(), parts.next()) < (Some(6), Some(2)) {
            return Err(Unfit::TooOld {
                version: version.to_owned(),
            });
        }
        Ok(())
    }

    /// Sets the number of jobs that one session may have running; an operator may change it live.
    pub async fn configure_session_cap(&self, cap: u32) -> Result<(), StoreError> {
        for cell in self.cells() {
            let key = keys::config(cell);
            let mut command = redis::cmd("HSET");
            let _: i64 = self
                .command(command.arg(key).arg("session_cap").arg(cap))
                .await?;
        }
        Ok(())
    }

    /// Lists the newest dead letters' job ids of a cell.
    pub async fn dead_letters(&self, cell: Cell, limit: u32) -> Result<Vec<String>, StoreError> {
        let key = keys::root(cell) + "dead";
        self.command(
            redis::cmd("ZREVRANGE")
                .arg(key)
                .arg(0)
                .arg(i64::from(limit) - 1),
        )
        .await
    }
}
