//! Who leads and who follows, for each fingerprint: whoever follows must be given frames one day.

use super::super::codec::{Reply, maybe, number};
use super::super::{Store, StoreError};
use super::keyspace::Keyspace;
use super::{Bounds, Finding, LATE, Report, count, key, partly, span};
use crate::domain::{Cell, State};

/// Fingerprints of one look; each asks four small questions.
const BATCH: usize = 100;

/// A fingerprint, as `doctor_leaders.lua` reads it.
#[derive(Debug)]
struct Look {
    fingerprint: String,
    leader: String,
    state: String,
    ttl_ms: i64,
    followers: u64,
    landed: Option<u64>,
}

impl Look {
    fn parse(reply: Reply) -> Result<Self, StoreError> {
        let words = reply.into_words()?;
        let [fingerprint, leader, state, ttl, followers, landed] = &words[..] else {
            return Err(StoreError::Garbled(format!("{words:?}")));
        };
        Ok(Self {
            fingerprint: fingerprint.clone(),
            leader: leader.clone(),
            state: state.clone(),
            ttl_ms: number(ttl)?,
            followers: number(followers)?,
            landed: maybe(landed)?,
        })
    }
}

impl Store {
    pub(super) async fn examine_leaders(
        &self,
        cell: Cell,
        keyspace: &Keyspace,
        bounds: Bounds,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let all: Vec<&str> = keyspace.fingerprints.iter().map(String::as_str).collect();
        let some = &all[..all.len().min(bounds.looks)];
        if some.len() < all.len() {
            report.add(partly("fingerprints unseen", some.len(), "fingerprints"));
        }
        for batch in some.chunks(BATCH) {
            let script = &self.shared.scripts.doctor_leaders;
            let mut replies = self.run(script, cell, batch).await?.list()?.into_iter();
            let now = replies.next().map(Reply::text).transpose()?;
            let now = number(&now.unwrap_or_default())?;
            for reply in replies {
                judge(cell, now, &Look::parse(reply)?, report);
            }
        }
        Ok(())
    }
}

fn judge(cell: Cell, now: u64, look: &Look, report: &mut Report) {
    let Look { fingerprint, leader, followers, .. } = look;
    let (name, landed) = (key(cell, format_args!("leader:{fingerprint}")), key(cell, "landed"));
    let hand_out = format!("ZADD {landed} 0 {fingerprint}");
    let draws = State::from_word(&look.state).is_some_and(|state| !state.is_terminal());
    let whom = match (leader.as_str(), look.state.as_str()) {
        ("", _) => "nobody".to_owned(),
        (_, "") => format!("{leader}, which has no record"),
        (_, state) => format!("{leader}, which is {state}"),
    };
    let jobs = count(*followers, "job follows", "jobs follow");
    match look.landed {
        None if *followers > 0 && !draws => report.add(
            Finding::wrong("follows nobody", format!("{jobs} {whom}, and nobody copies for them"))
                .means("they wait for ever")
                .mend(hand_out),
        ),
        Some(at) if now.saturating_sub(at) > LATE.as_millis() as u64 => report.add(
            Finding::wrong(
                "handed to nobody",
                format!("{jobs} {whom}, and were due for its frames {} ago", span(now - at)),
            )
            .means("no worker sees to it")
            .advise("is any worker of this cell alive? its log says why it does not copy"),
        ),
        _ => {}
    }
    if look.ttl_ms == -1 && !draws && *followers == 0 {
        report.add(
            Finding::wrong("leads for ever", format!("{name} names {whom}, and never expires"))
                .means("memory that is never given back")
                .mend(format!("DEL {name}")),
        );
    }
    if look.ttl_ms >= 0 && draws {
        report.add(
            Finding::wrong("lead will vanish", format!("{name} names {whom}, and expires"))
                .means("those that follow it are not given its frames")
                .mend(format!("PERSIST {name}")),
        );
    }
}
