//! A session's lines, its cap (its tenant's, if that has one), its last frames, and whether its
//! stream ends where its head says.

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
    cap: u64,
    live: u64,
    is_paused: bool,
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
        let [session, cap, live, paused, head, newest, astray, lines @ ..] = &words[..] else {
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
            cap: number(cap)?,
            live: number(live)?,
            is_paused: paused == "1",
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
        let mut overrides = None;
        for batch in some.chunks(BATCH) {
            let mut arguments = vec![&*pools];
            arguments.extend(batch);
            let script = &self.shared.scripts.doctor_sessions;
            let mut replies = self.run(script, cell, &arguments).await?.list()?.into_iter();
            let counts = replies.next().map(Reply::into_words).transpose()?.unwrap_or_default();
            let looks = replies.map(Look::parse).collect::<Result<Vec<_>, _>>()?;
            report.sessions += looks.len();
            looks.iter().for_each(|look| judge(cell, look, report));
            overrides = Some(counts);
        }
        if let Some([there, counted]) = overrides.as_deref() {
            report_overrides(cell, there, counted, report);
        }
        Ok(())
    }
}

/// Sessions are asked for their tenants only while the count says that one has a cap of its own.
fn report_overrides(cell: Cell, there: &str, counted: &str, report: &mut Report) {
    if there == counted || (there == "0" && counted.is_empty()) {
        return;
    }
    let config = key(cell, "config");
    let counted = if counted.is_empty() { "0" } else { counted };
    let what = format!("{there} tenants have a cap of their own, and {counted} are counted");
    let finding =
        Finding::wrong("overrides", what).means("while none is counted, no tenant's cap is kept");
    report.add(finding.mend(match there {
        "0" => format!("HDEL {config} overrides"),
        _ => format!("HSET {config} overrides {there}"),
    }));
}

fn judge(cell: Cell, look: &Look, report: &mut Report) {
    let Look { session, cap, .. } = look;
    if look.live > *cap {
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
        (true, false, true) if look.cap == 0 && look.live == 0 && !look.is_paused => Some(
            Finding::wrong(
                "pause of nobody",
                format!("{jobs} in {name} of {session}, held by a cap of 0 and not in paused"),
            )
            .means("the line is never served: a raised cap would not find it")
            .mend(format!("SADD {} {session}", key(cell, "paused"))),
        ),
        (true, false, true) if look.cap == 0 => Some(
            Finding::note(
                "paused",
                format!("{jobs} in {name} of {session}, which is paused: its cap is 0"),
            )
            .advise("raise it with: framewire caps set"),
        ),
        (true, false, true) if look.live < look.cap => Some(
            Finding::wrong(
                "held for nothing",
                format!(
                    "{jobs} in {name} of {session}, held by its cap of {} though {} of it run",
                    look.cap, look.live
                ),
            )
            .means("the line is not served before a job of the session ends, if one runs")
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
