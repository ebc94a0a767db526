//! A session's lines, its cap, its last frames, and whether its stream ends where its head says.

use super::super::codec::{Reply, number};
use super::super::{Store, StoreError};
use super::keyspace::Keyspace;
use super::{Bounds, Finding, Report, count, key, partly};
use crate::domain::Cell;

/// Sessions of one look; each asks a dozen small questions per pool.
const BATCH: usize = 20;

/// A session, as `doctor_sessions.lua` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    session: String,
    live: u64,
    head: String,
    newest: String,
    /// Models whose last frame is of no completed job.
    astray: Vec<String>,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    waiting: u64,
    has_turn: bool,
    is_held: bool,
}

impl Look {
    fn parse(reply: Reply) -> Result<Self, StoreError> {
        let words = reply.into_words()?;
        let [session, live, head, newest, astray, lines @ ..] = &words[..] else {
            return Err(StoreError::Garbled(format!("{words:?}")));
        };
        let line = |four: &[String]| {
            Ok(Line {
                name: four[0].clone(),
                waiting: number(&four[1])?,
                has_turn: four[2] == "1",
                is_held: four[3] == "1",
            })
        };
        Ok(Self {
            session: session.clone(),
            live: number(live)?,
            head: head.clone(),
            newest: newest.clone(),
            astray: astray.lines().map(str::to_owned).collect(),
            lines: lines.chunks_exact(4).map(line).collect::<Result<_, StoreError>>()?,
        })
    }
}

impl Store {
    pub(super) async fn examine_sessions(
        &self,
        cell: Cell,
        keyspace: &Keyspace,
        bounds: Bounds,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let pools: Vec<&str> = keyspace.pools.iter().map(String::as_str).collect();
        let pools = pools.join(" ");
        let all: Vec<&str> = keyspace.sessions.iter().map(String::as_str).collect();
        let some = &all[..all.len().min(bounds.looks)];
        if some.len() < all.len() {
            report.add(partly("sessions unseen", some.len(), "sessions"));
        }
        for batch in some.chunks(BATCH) {
            let mut arguments = vec![&*pools];
            arguments.extend(batch);
            let script = &self.shared.scripts.doctor_sessions;
            let mut replies = self.run(script, cell, &arguments).await?.list()?.into_iter();
            let cap = replies.next().map(Reply::text).transpose()?;
            let cap = number(&cap.unwrap_or_default())?;
            for reply in replies {
                report.sessions += 1;
                judge(cell, &Look::parse(reply)?, cap, report);
            }
        }
        Ok(())
    }
}

fn judge(cell: Cell, look: &Look, cap: u64, report: &mut Report) {
    let session = &look.session;
    if look.live > cap {
        let what = format!(
            "{session} has {} running or admitted, and its cap is {cap}",
            count(look.live, "job", "jobs")
        );
        let finding = Finding::note("session over its cap", what);
        report.add(finding.means("right only if the cap was lowered; it must shrink"));
    }
    if !look.newest.is_empty() && look.newest != look.head {
        let stream = key(cell, format_args!("stream:{session}"));
        let what = format!(
            "the stream of {session} ends at {} and its head says {}",
            look.newest, look.head
        );
        let finding = Finding::wrong("stream", what)
            .means("its readers are told `reset` again and again, and take snapshots");
        report.add(finding.mend(format!("DEL {stream}")));
    }
    for model in &look.astray {
        let last = key(cell, format_args!("last:{session}"));
        let what = format!("the last frame of {session} by {model} is of no completed job");
        let finding = Finding::wrong("last frame", what)
            .means("refusals and failures show a picture that can't be fetched");
        report.add(finding.mend(format!("HDEL {last} {model}")));
    }
    for line in &look.lines {
        if let Some(finding) = judge_line(cell, look, line) {
            report.add(finding);
        }
    }
}

/// A line has its turn exactly when something waits in it and the session's cap does not hold it.
fn judge_line(cell: Cell, look: &Look, line: &Line) -> Option<Finding> {
    let (session, name) = (&look.session, &line.name);
    let turn = key(cell, format_args!("turn:{name}"));
    let held = key(cell, format_args!("held:{session}"));
    let (give, take) = (format!("ZADD {turn} NX 0 {session}"), format!("SREM {held} {name}"));
    let jobs = count(line.waiting, "job waits", "jobs wait");
    match (line.waiting > 0, line.has_turn, line.is_held) {
        (true, false, false) => Some(
            Finding::wrong("no turn", format!("{jobs} in {name} of {session}, which has no turn"))
                .means("the line is never served")
                .mend(give),
        ),
        (true, false, true) if look.live == 0 => Some(
            Finding::wrong(
                "held for nothing",
                format!("{jobs} in {name} of {session}, held by its cap though nothing of it runs"),
            )
            .means("the line is never served: no end of a job gives it its turn back")
            .mend(give)
            .mend(take),
        ),
        (_, true, true) => Some(
            Finding::wrong(
                "turn and held",
                format!("{name} of {session} has its turn and is held"),
            )
            .means("it is served once too often, or its turn is lost at the next end of a job")
            .mend(take),
        ),
        (false, true, false) => Some(
            Finding::wrong(
                "turn of nothing",
                format!("{session} has its turn in {name}, where nothing of it waits"),
            )
            .means("the next admission drops it; whatever waited there was lost")
            .mend(format!("ZREM {turn} {session}")),
        ),
        (false, false, true) => Some(
            Finding::wrong(
                "held of nothing",
                format!("{session} is held in {name}, where nothing of it waits"),
            )
            .means("a job that comes there gets no turn before another one ends")
            .mend(take),
        ),
        (true, true, false) | (true, false, true) | (false, false, false) => None,
    }
}
