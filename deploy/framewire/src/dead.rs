//! `framewire dead`: the failed jobs that are kept for an operator.
//!
//! Nothing here touches a job that has not failed: the scripts look before they write. `--all` asks
//! for the letters once and does each by itself, so one that changes meanwhile is left alone.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use framewire_shared::domain::JobId;
use framewire_shared::store::codec::{Purged, Retried};
use framewire_shared::store::dead::{Letter, Shown};
use framewire_shared::store::doctor::span;
use framewire_shared::store::{Store, StoreError};

use crate::console;
use crate::operate::{self, WhichRedis};

/// What `framewire dead` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    which: WhichRedis,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Lists the newest: age, code, attempts, job, session, and why.
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Shows everything that is known of one.
    Show {
        /// Its id
        job: JobId,
    },
    /// Queues failed jobs again, with a new set of attempts.
    Retry {
        #[command(flatten)]
        whom: Whom,
    },
    /// Forgets failed jobs for good.
    Purge {
        #[command(flatten)]
        whom: Whom,
        /// Only what failed at least so long ago: 45s, 30m, 1h, 2d
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: Option<Duration>,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Its id
    job: Option<JobId>,
    /// All dead letters
    #[arg(long)]
    all: bool,
}

/// Does what was asked; fails if Redis does, or if the one job that was named is not a dead one.
pub(crate) async fn dead(args: &DeadArgs) -> ExitCode {
    let opened = match args.which.open() {
        Ok(opened) => opened,
        Err(error) => {
            operate::complain_unopened(&error);
            return ExitCode::FAILURE;
        }
    };
    let done = match &args.what {
        What::List { limit } => list(&opened.store, *limit).await,
        What::Show { job } => show(&opened.store, job).await,
        What::Retry { whom } => retry(&opened.store, whom).await,
        What::Purge { whom, older_than } => {
            purge(&opened.store, whom, older_than.unwrap_or_default()).await
        }
    };
    match done {
        Ok((text, done)) => {
            console::show(&text);
            if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            operate::complain_unreached(&error, &opened);
            ExitCode::FAILURE
        }
    }
}

/// What is shown, and whether it is what was asked for.
type Answer = Result<(String, bool), StoreError>;

async fn list(store: &Store, limit: u32) -> Answer {
    let mut letters = letters(store, limit).await?;
    letters.truncate(limit as usize);
    if letters.is_empty() {
        return Ok(("no dead letters\n".into(), true));
    }
    let now = now_ms();
    let rows: Vec<[String; 6]> = letters.iter().map(|letter| row(letter, now)).collect();
    Ok((table(&rows), true))
}

fn row(letter: &Letter, now: u64) -> [String; 6] {
    let age = span(now.saturating_sub(letter.failed_at));
    let job = letter.job.to_string();
    let Some(record) = &letter.record else {
        let none = String::new();
        return [age, none.clone(), none.clone(), job, none, "(its record has expired)".into()];
    };
    // What an operator reads goes to a terminal; a provider's text must not steer it.
    let why = match &*record.detail {
        "" => record.message.clone(),
        detail => format!("{} [{detail}]", record.message),
    };
    [
        age,
        record.code.as_str().into(),
        record.attempts.to_string(),
        job,
        record.session.clone(),
        plain(&why),
    ]
}

fn table(rows: &[[String; 6]]) -> String {
    const HEAD: [&str; 6] = ["AGE", "CODE", "ATTEMPTS", "JOB", "SESSION", "MESSAGE [DETAIL]"];
    let head = HEAD.map(str::to_owned);
    let all: Vec<&[String; 6]> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        let widths = all.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &&[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    all.iter().map(line).collect()
}

async fn show(store: &Store, job: &JobId) -> Answer {
    Ok(match store.dead_letter(job).await? {
        Shown::Failed(fields) => {
            let lines = fields.iter().map(|(name, value)| format!("{name:<16} {}\n", plain(value)));
            (lines.collect(), true)
        }
        Shown::NotFailed(state) => (not_failed(job, state.as_str()), false),
        Shown::Missing => (missing(job), false),
    })
}

async fn retry(store: &Store, whom: &Whom) -> Answer {
    if let Some(job) = &whom.job {
        return Ok(match store.retry_dead(job).await? {
            Retried::Queued(times) => (format!("{job} is queued again (retry {times})\n"), true),
            Retried::Refused(state) => (not_failed(job, state.as_str()), false),
            Retried::Missing => (missing(job), false),
        });
    }
    let (mut queued, mut left) = (0, 0);
    for letter in all(store).await? {
        match store.retry_dead(&letter.job).await? {
            Retried::Queued(_) => queued += 1,
            Retried::Refused(_) | Retried::Missing => left += 1,
        }
    }
    Ok((format!("queued again: {queued}; left alone: {left}\n"), true))
}

async fn purge(store: &Store, whom: &Whom, older_than: Duration) -> Answer {
    if let Some(job) = &whom.job {
        return Ok(match store.purge_dead(job, older_than).await? {
            Purged::Purged => (format!("{job} is gone\n"), true),
            Purged::Younger(at) => {
                let age = span(now_ms().saturating_sub(at));
                (format!("{job} failed {age} ago and is kept\n"), false)
            }
            Purged::Refused(state) => (not_failed(job, state.as_str()), false),
            Purged::Missing => (missing(job), false),
        });
    }
    let (mut purged, mut kept) = (0, 0);
    for letter in all(store).await? {
        match store.purge_dead(&letter.job, older_than).await? {
            Purged::Purged => purged += 1,
            Purged::Younger(_) | Purged::Refused(_) | Purged::Missing => kept += 1,
        }
    }
    Ok((format!("purged: {purged}; kept: {kept}\n"), true))
}

async fn all(store: &Store) -> Result<Vec<Letter>, StoreError> {
    letters(store, store.queue_options().dead_max).await
}

/// Reads the letters of all cells, the newest first, at most `limit` of each.
///
/// A cell that can't be asked is told of and left out. Errors: none can.
async fn letters(store: &Store, limit: u32) -> Result<Vec<Letter>, StoreError> {
    let (mut letters, mut lost, cells) = (Vec::new(), Vec::new(), store.cells());
    for &cell in &cells {
        match store.dead_letters(cell, limit).await {
            Ok(its) => letters.extend(its),
            Err(error) => lost.push((cell, error)),
        }
    }
    if lost.len() == cells.len() {
        return Err(lost.swap_remove(0).1);
    }
    for (cell, error) in &lost {
        let hint = format!("the dead letters of cell {cell} are left out");
        console::complain(error, Some(&hint));
    }
    letters.sort_by_key(|letter| std::cmp::Reverse(letter.failed_at));
    Ok(letters)
}

fn not_failed(job: &JobId, state: &str) -> String {
    format!("{job} is {state}, not failed; it is left alone\n")
}

fn missing(job: &JobId) -> String {
    format!("there is no {job}: it was never here, has expired, or was purged\n")
}

/// Gives text without what would steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Reads `45s`, `30m`, `1h`, `2d`.
fn age(text: &str) -> Result<Duration, String> {
    let wanted = || format!("\"{text}\" is not an age like 45s, 30m, 1h or 2d");
    let unit_s: u64 = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(wanted()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wanted())?;
    let seconds = number.checked_mul(unit_s).ok_or_else(wanted)?;
    Ok(Duration::from_secs(seconds))
}

/// Tells the time of this machine; ages that are shown may be off by its clock's error.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_with_their_unit_and_nothing_else() {
        assert_eq!(age("45s"), Ok(Duration::from_secs(45)));
        assert_eq!(age("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "h", "1", "1w", "-1h", "1 h", "99999999999999999999d", "1µ"] {
            assert!(age(bad).is_err(), "{bad:?} was taken for an age");
        }
    }

    #[test]
    fn columns_line_up_and_no_text_steers_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\nc"), "a [31mb c");
        let row = ["1 s", "TIMEOUT", "3", "job", "ses", "é"].map(str::to_owned);
        let text = table(&[row]);
        let starts: Vec<_> = text.lines().map(|line| line.find("3").or(line.find("ATT"))).collect();
        assert_eq!(starts[0], starts[1]);
    }
}
