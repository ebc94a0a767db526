//! The servers themselves: whether they may be trusted with jobs, and whether they will be tomorrow.

use super::super::operate::{Durability, Facts, VERSION_MIN};
use super::super::{Store, StoreError, keys};
use super::{Finding, Report, key};
use crate::domain::Cell;

/// Share of its memory limit from which submits will soon be refused, in percent.
const NEARLY_FULL: u64 = 90;
/// Share that is worth knowing.
const FILLING: u64 = 75;

impl Store {
    /// Looks at the node that holds a cell; `name` tells it from others, where there are any.
    pub(super) async fn examine_server(
        &self,
        cell: Cell,
        name: &str,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let facts = self.facts(cell).await?;
        let appendfsync = self.setting(cell, "appendfsync").await?;
        let mut wrong = Vec::new();
        check_policy(&facts, &mut wrong);
        check_aof(&facts, &mut wrong);
        if let Some(finding) = check_memory(&facts) {
            wrong.push(finding);
        }
        if self.shared.redis.durability == Durability::Strict
            && let Err(unfit) = self.check_durability(cell, &facts).await
        {
            wrong.push(Finding::wrong("durability", unfit.to_string()));
        }
        report.add(Finding::ok(
            "server",
            format!(
                "redis {}{name}, {}, {}, {} used, {}",
                facts.text("redis_version"),
                facts.text("maxmemory_policy"),
                match (facts.text("aof_enabled"), appendfsync) {
                    ("1", Some(how)) => format!("AOF {how}"),
                    ("1", None) => "AOF".into(),
                    _ => "no AOF".into(),
                },
                facts.text("used_memory_human"),
                match facts.number("maxmemory") {
                    0 => "no limit".into(),
                    _ => format!("limit {}", facts.text("maxmemory_human")),
                },
            ),
        ));
        for mut finding in wrong {
            finding.what.push_str(name);
            report.add(finding);
        }
        Ok(())
    }

    /// Compares the number of cells that was recorded with ours.
    pub(super) async fn examine_cells(&self, report: &mut Report) -> Result<(), StoreError> {
        let mut recorded = redis::cmd("HGET");
        recorded.arg(keys::config(Cell::FIRST)).arg("cells");
        let recorded: Option<String> = self.command(Cell::FIRST, &recorded).await?;
        let ours = self.shared.cells.to_string();
        if let Some(recorded) = recorded.filter(|recorded| *recorded != ours) {
            let what = format!(
                "{} says {recorded} cells, redis.cells is {ours} here",
                key(Cell::FIRST, "config")
            );
            report.add(
                Finding::wrong("cells", what)
                    .means("a part of the keys is looked at by nobody who is set up like this")
                    .advise(format!("set redis.cells = {recorded}")),
            );
        }
        Ok(())
    }
}

fn check_policy(facts: &Facts, wrong: &mut Vec<Finding>) {
    let policy = facts.text("maxmemory_policy");
    if policy != "noeviction" {
        let what = format!("maxmemory-policy is {policy}");
        wrong.push(
            Finding::wrong("policy", what)
                .means("when its memory ends, Redis deletes jobs and leases without a word")
                .mend("CONFIG SET maxmemory-policy noeviction"),
        );
    }
    if facts.version() < VERSION_MIN {
        let what = format!("Redis {} is too old", facts.text("redis_version"));
        wrong.push(Finding::wrong("version", what).advise("install 7.0 or newer"));
    }
    if facts.text("role") == "slave" {
        wrong.push(
            Finding::wrong("replica", "this Redis is a replica")
                .means("it refuses every write")
                .advise(format!(
                    "name its master: redis://{}:{}",
                    facts.text("master_host"),
                    facts.text("master_port")
                )),
        );
    }
}

fn check_aof(facts: &Facts, wrong: &mut Vec<Finding>) {
    if facts.text("aof_enabled") != "1" {
        wrong.push(
            Finding::wrong("aof", "there is no append-only file")
                .means("a restart of Redis loses every job since the last snapshot")
                .mend("CONFIG SET appendonly yes"),
        );
    }
    for (fact, what) in [
        ("aof_last_write_status", "write to the append-only file"),
        ("aof_last_bgrewrite_status", "rewrite of the append-only file"),
    ] {
        let status = facts.text(fact);
        if !matches!(status, "ok" | "") {
            wrong.push(
                Finding::wrong("aof write", format!("the last {what} failed ({status})"))
                    .means("Redis refuses writes, or its file grows without end")
                    .advise("look at the free space of its disk, and at its log"),
            );
        }
    }
}

fn check_memory(facts: &Facts) -> Option<Finding> {
    let (used, limit) = (facts.number("used_memory"), facts.number("maxmemory"));
    // Without a limit the machine is the limit.
    let limit = match limit {
        0 => facts.number("total_system_memory"),
        limit => limit,
    };
    let percent = (used * 100).checked_div(limit)?;
    let what = format!("{percent} % of the memory that Redis may use is used");
    let advice = "give it more with CONFIG SET maxmemory, or lower queue.retention_s";
    if percent >= NEARLY_FULL {
        let finding = Finding::wrong("memory", what).advise(advice);
        return Some(finding.means("when it is full, every submit is refused"));
    }
    (percent >= FILLING).then(|| Finding::note("memory", what).advise(advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(info: &str) -> Vec<String> {
        let facts = Facts::parse(info);
        let mut wrong = Vec::new();
        check_policy(&facts, &mut wrong);
        check_aof(&facts, &mut wrong);
        wrong.extend(check_memory(&facts));
        wrong.into_iter().map(|finding| finding.what).collect()
    }

    const SOUND: &str = "redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\nrole:master\r\n\
        aof_enabled:1\r\naof_last_write_status:ok\r\nused_memory:10\r\nmaxmemory:100\r\n";

    #[test]
    fn a_sound_server_gives_no_finding_and_each_fault_gives_its_own() {
        assert_eq!(told(SOUND), Vec::<String>::new());
        for (from, to, words) in [
            ("7.0.15", "6.0.16", "too old"),
            ("noeviction", "allkeys-lru", "allkeys-lru"),
            ("role:master", "role:slave", "replica"),
            ("aof_enabled:1", "aof_enabled:0", "no append-only file"),
            ("status:ok", "status:err", "write to the append-only file failed"),
            ("used_memory:10", "used_memory:95", "95 %"),
        ] {
            let told = told(&SOUND.replace(from, to));
            assert!(matches!(&told[..], [one] if one.contains(words)), "{told:?}");
        }
    }
}
