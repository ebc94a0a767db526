//! `framewire doctor`: what is wrong with a live Framewire, in words, and what mends it.
//!
//! The looking and the words are `shared::store::doctor`; here they become lines. Exit codes, for
//! cron and probes: 0 nothing is wrong, 1 something is, 2 it could not be looked at.

use std::process::ExitCode;
use std::time::Instant;

use framewire_shared::store::doctor::{Bounds, Finding, Level, Remedy, Report, count};

use crate::console;
use crate::operate::{self, WhichRedis};

/// What `framewire doctor` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    which: WhichRedis,
}

/// Exit code of "something is wrong".
const WRONG: u8 = 1;
/// Exit code of "could not look".
const BLIND: u8 = 2;

/// Looks, and tells.
pub(crate) async fn doctor(args: &DoctorArgs) -> ExitCode {
    let opened = match args.which.open() {
        Ok(opened) => opened,
        Err(error) => {
            operate::complain_unopened(&error);
            return BLIND.into();
        }
    };
    let began_at = Instant::now();
    match opened.store.examine(Bounds::default()).await {
        Ok(report) => {
            let took_ms = began_at.elapsed().as_millis();
            console::show(&told(&report, &opened.redis_cli, took_ms));
            if report.is_healthy() { ExitCode::SUCCESS } else { WRONG.into() }
        }
        Err(error) => {
            operate::complain_unreached(&error, &opened);
            BLIND.into()
        }
    }
}

/// Makes the lines: what is ok, what is worth knowing, and last, where it is seen, what is wrong.
fn told(report: &Report, redis_cli: &str, took_ms: u128) -> String {
    let mut text = String::new();
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    // Stable: within a level and a kind, the order of the looks.
    findings.sort_by_key(|finding| (finding.level, rank(report, finding)));
    for (index, finding) in findings.iter().enumerate() {
        line(&mut text, finding, redis_cli);
        let is_last = findings.get(index + 1).is_none_or(|next| next.kind != finding.kind);
        if let Some(more) = report.unlisted.get(finding.kind).filter(|_| is_last) {
            text.push_str(&format!("      and {more} more like this\n"));
        }
    }
    let verdict = match report.wrong_count() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        many => format!("{many} things are wrong"),
    };
    text.push_str(&format!(
        "\n{verdict}; looked at {}, {} and {} in {took_ms} ms\n",
        count(report.jobs as u64, "job", "jobs"),
        count(report.sessions as u64, "session", "sessions"),
        count(report.keys as u64, "key", "keys"),
    ));
    text
}

/// Gives the place of a finding's kind, so that those of one kind stand together.
fn rank(report: &Report, finding: &Finding) -> Option<usize> {
    report.findings.iter().position(|it| (it.level, it.kind) == (finding.level, finding.kind))
}

fn line(text: &mut String, finding: &Finding, redis_cli: &str) {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Wrong => "WRONG",
    };
    text.push_str(&format!("{level:<5} {}\n", finding.what));
    if !finding.meaning.is_empty() {
        text.push_str(&format!("      {}\n", finding.meaning));
    }
    match &finding.remedy {
        None => {}
        Some(Remedy::Do(words)) => text.push_str(&format!("      → {words}\n")),
        Some(Remedy::Redis(commands)) => {
            for command in commands {
                text.push_str(&format!("      → {redis_cli} {command}\n"));
            }
        }
    }
}
