//! `framewire caps`: how much may run at a time, listed and changed while everything runs.
//!
//! What a cap means and how it is kept is `shared::store::caps`; here it becomes lines and words.
//! Whatever is set holds at the next admission and ends nothing that runs.

use std::process::ExitCode;

use framewire_shared::domain::{Pool, Tenant};
use framewire_shared::store::caps::{CAP_MAX, Cap, Capped};
use framewire_shared::store::doctor::count;
use framewire_shared::store::{Store, StoreError};

use crate::console;
use crate::operate::{self, WhichRedis};

/// What `framewire caps` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CapsArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    which: WhichRedis,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists all caps, and what is in use of each; so it does without a word, too.
    List,
    /// Sets a cap; 0 is a pause: what runs goes on, nothing new begins.
    Set {
        #[command(subcommand)]
        cap: Set,
    },
    /// Takes a cap away: what the settings say holds again.
    Unset {
        #[command(subcommand)]
        of: Unset,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Set {
    /// Jobs of each session that may run at a time.
    Session {
        #[arg(value_parser = jobs())]
        jobs: u32,
    },
    /// The same for each session of one tenant, whatever that of all is.
    Tenant {
        tenant: Tenant,
        #[arg(value_parser = jobs())]
        jobs: u32,
    },
    /// Jobs that may run in one pool at a time, however many slots its workers have.
    Pool {
        pool: Pool,
        #[arg(value_parser = jobs())]
        jobs: u32,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Unset {
    /// That of each session.
    Session,
    /// That of each session of one tenant.
    Tenant { tenant: Tenant },
    /// That of one pool.
    Pool { pool: Pool },
}

fn jobs() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=i64::from(CAP_MAX))
}

impl What {
    /// Gives which cap becomes what; `None` where nothing changes.
    fn change(&self) -> Option<(Capped, Option<u32>)> {
        Some(match self {
            Self::List => return None,
            Self::Set { cap } => match cap {
                Set::Session { jobs } => (Capped::Session, Some(*jobs)),
                Set::Tenant { tenant, jobs } => (Capped::SessionOf(tenant.clone()), Some(*jobs)),
                Set::Pool { pool, jobs } => (Capped::Pool(pool.clone()), Some(*jobs)),
            },
            Self::Unset { of } => match of {
                Unset::Session => (Capped::Session, None),
                Unset::Tenant { tenant } => (Capped::SessionOf(tenant.clone()), None),
                Unset::Pool { pool } => (Capped::Pool(pool.clone()), None),
            },
        })
    }
}

/// Does what was asked; fails only if Redis does.
pub(crate) async fn caps(args: &CapsArgs) -> ExitCode {
    let opened = match args.which.open() {
        Ok(opened) => opened,
        Err(error) => {
            operate::complain_unopened(&error);
            return ExitCode::FAILURE;
        }
    };
    let done = match args.what.as_ref().and_then(What::change) {
        None => list(&opened.store).await,
        Some((of, cap)) => set(&opened.store, &of, cap).await,
    };
    match done {
        Ok(text) => {
            console::show(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            operate::complain_unreached(&error, &opened);
            ExitCode::FAILURE
        }
    }
}

async fn set(store: &Store, of: &Capped, cap: Option<u32>) -> Result<String, StoreError> {
    let before = store.set_cap(of, cap).await?;
    let caps = store.caps().await?;
    let its = caps.get(of).cloned().unwrap_or_default();
    Ok(changed(of, before, &its))
}

async fn list(store: &Store) -> Result<String, StoreError> {
    let caps = store.caps().await?;
    let rows: Vec<[String; 4]> = caps.iter().map(|(of, cap)| row(of, cap)).collect();
    const HEAD: [&str; 4] = ["CAP", "JOBS", "SET BY", "IN USE NOW"];
    let head = HEAD.map(str::to_owned);
    let all: Vec<&[String; 4]> = std::iter::once(&head).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; 4] = std::array::from_fn(width);
    let line = |row: &&[String; 4]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    Ok(all.iter().map(line).collect())
}

fn row(of: &Capped, cap: &Cap) -> [String; 4] {
    let by = match (cap.operators, cap.default) {
        (Some(_), _) => "operator",
        (None, Some(_)) => "settings",
        (None, None) => "",
    };
    let jobs = match cap.value() {
        None => "-".into(),
        Some(0) => "0 (paused)".into(),
        Some(cap) => cap.to_string(),
    };
    [name(of), jobs, by.into(), used(of, cap)]
}

fn name(of: &Capped) -> String {
    match of {
        Capped::Session => "session".into(),
        Capped::SessionOf(tenant) => format!("tenant {tenant}"),
        Capped::Pool(pool) => format!("pool {pool}"),
    }
}

fn used(of: &Capped, cap: &Cap) -> String {
    let jobs = count(cap.jobs, "job", "jobs");
    match of {
        Capped::Pool(_) => format!("{jobs} of {}", count(cap.slots, "slot", "slots")),
        Capped::Session | Capped::SessionOf(_) if cap.sessions == 0 => "nothing".into(),
        Capped::Session | Capped::SessionOf(_) => {
            let sessions = count(cap.sessions, "session", "sessions");
            format!("{jobs} of {sessions}; the busiest has {}", cap.busiest)
        }
    }
}

/// Says what holds from now on, and what becomes of that which is above it.
fn changed(of: &Capped, before: Option<u32>, its: &Cap) -> String {
    let whose = match of {
        Capped::Session => "each session".to_owned(),
        Capped::SessionOf(tenant) => format!("each session of tenant {tenant}"),
        Capped::Pool(pool) => format!("pool {pool}"),
    };
    let was = before.map_or_else(|| "not set".into(), |cap| cap.to_string());
    let above = match of {
        Capped::Pool(_) => its.jobs,
        Capped::Session | Capped::SessionOf(_) => its.busiest,
    };
    let now = match (its.value(), of) {
        (Some(0), _) => format!("{whose} is paused: what runs goes on, nothing new begins"),
        (Some(cap), _) => {
            let what =
                format!("{whose} runs at most {} at a time", count(cap.into(), "job", "jobs"));
            let more = above > cap.into();
            if more { format!("{what}; what runs above it goes on") } else { what }
        }
        (None, Capped::Pool(_)) => format!("{whose} runs as many jobs as its workers have slots"),
        (None, _) => format!("{whose} runs as many as any other session"),
    };
    let is_unknown = matches!(of, Capped::Pool(_)) && its.slots == 0;
    let hint = if is_unknown { "no living worker serves this pool\n" } else { "" };
    format!("{now} (the operator's cap was: {was})\n{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(operators: Option<u32>, default: Option<u32>) -> Cap {
        Cap { operators, default, jobs: 5, sessions: 2, busiest: 4, slots: 8 }
    }

    #[test]
    fn the_operators_cap_is_shown_before_the_settings_and_a_pause_by_its_name() {
        let pool = Capped::Pool("gpu".parse().unwrap());
        let shown = |of: &Capped, operators, default| row(of, &cap(operators, default)).join("|");
        assert_eq!(
            shown(&pool, Some(0), Some(4)),
            "pool gpu|0 (paused)|operator|5 jobs of 8 slots"
        );
        let session = Capped::Session;
        let used = "5 jobs of 2 sessions; the busiest has 4";
        assert_eq!(shown(&session, None, Some(4)), format!("session|4|settings|{used}"));
        assert_eq!(shown(&pool, None, None), "pool gpu|-||5 jobs of 8 slots");
    }

    #[test]
    fn a_change_says_what_becomes_of_that_which_runs() {
        let said = |operators| changed(&Capped::Session, Some(9), &cap(operators, Some(2)));
        assert!(said(Some(3)).contains("at most 3 jobs at a time; what runs above it goes on"));
        assert!(said(Some(4)).contains("at most 4 jobs at a time (the operator's cap was: 9)"));
        assert!(said(Some(0)).contains("nothing new begins"), "{}", said(Some(0)));
        assert!(said(None).contains("at most 2 jobs"));
    }
}
