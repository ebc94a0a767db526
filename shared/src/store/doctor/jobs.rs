//! Where one job stands, and where it must.
//!
//! queued ⇔ in exactly one of its line, the window and the delay, and in the ledger unless delayed, or
//! behind its leader alone;
//! running ⇔ in `lease` and `live`; ended ⇔ in none. Every remedy is one that a sweep finishes: a
//! lost job is put where the next sweep looks, and takes the usual way from there.

use super::super::codec::{Reply, maybe, number};
use super::super::{Store, StoreError};
use super::keyspace::Keyspace;
use super::{Bounds, Finding, LATE, Report, count, key, partly, span};
use crate::domain::{Cell, State};

/// Jobs of one look; each asks a dozen small questions.
const BATCH: usize = 100;
/// A job offered for so long means that living workers take nothing.
const OFFERED_LONG_MS: f64 = 60_000.0;

/// A job, as `doctor_jobs.lua` reads it.
#[derive(Debug, Clone, Default)]
struct Look {
    id: String,
    strange: Vec<String>,
    state: String,
    session: String,
    pool: String,
    line: String,
    ttl_ms: i64,
    created_at: String,
    queued_at: String,
    run_by: Option<u64>,
    fingerprint: String,
    queue: Option<f64>,
    wait: Option<f64>,
    ready: Option<f64>,
    out: Option<f64>,
    lease: Option<f64>,
    delayed: Option<f64>,
    deadline: Option<f64>,
    active: Option<f64>,
    dead: Option<f64>,
    follow: Option<f64>,
    live: Option<f64>,
}

fn score(text: &str) -> Result<Option<f64>, StoreError> {
    (!text.is_empty()).then(|| number(text)).transpose()
}

impl Look {
    fn parse(reply: Reply) -> Result<Self, StoreError> {
        let words = reply.into_words()?;
        let garbled = || StoreError::Garbled(format!("{words:?}"));
        let [id, strange, state, session, pool, priority, ttl, rest @ ..] = &words[..] else {
            return Err(garbled());
        };
        let [created_at, queued_at, run_by, fingerprint, places @ ..] = rest else {
            return Err(garbled());
        };
        let places = places.iter().map(|text| score(text));
        let places: Vec<Option<f64>> = places.collect::<Result<_, _>>()?;
        let [queue, wait, ready, out, lease, delayed, deadline, active, dead, follow, live] =
            places[..]
        else {
            return Err(garbled());
        };
        Ok(Self {
            id: id.clone(),
            strange: strange.split_whitespace().map(str::to_owned).collect(),
            state: state.clone(),
            session: session.clone(),
            pool: pool.clone(),
            line: format!("{pool}:{priority}"),
            ttl_ms: number(ttl)?,
            created_at: created_at.clone(),
            queued_at: queued_at.clone(),
            run_by: maybe(run_by)?,
            fingerprint: fingerprint.clone(),
            queue,
            wait,
            ready,
            out,
            lease,
            delayed,
            deadline,
            active,
            dead,
            follow,
            live,
        })
    }

    /// Lists the places of unfinished jobs in which it stands.
    fn stands_in(&self) -> impl Iterator<Item = &'static str> {
        let places = [
            ("queue", self.queue),
            ("wait", self.wait),
            ("ready", self.ready),
            ("out", self.out),
            ("lease", self.lease),
            ("delayed", self.delayed),
            ("deadline", self.deadline),
            ("follow", self.follow),
            ("live", self.live),
        ];
        places.into_iter().filter_map(|(word, at)| at.map(|_| word))
    }

    /// Names the key of a structure, as far as this job is concerned.
    fn name(&self, word: &str) -> String {
        let Self { session, pool, line, .. } = self;
        match word {
            "queue" | "ready" => format!("{word}:{line}"),
            "wait" => format!("wait:{line}:{session}"),
            "active" | "live" => format!("{word}:{session}"),
            "dead" => word.to_owned(),
            "follow" => format!("{word}:{}", self.fingerprint),
            _ => format!("{word}:{pool}"),
        }
    }
}

impl Store {
    pub(super) async fn examine_jobs(
        &self,
        cell: Cell,
        keyspace: &Keyspace,
        bounds: Bounds,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        // Those that a structure names come first: they are the ones under way.
        let (named, alone): (Vec<_>, Vec<_>) =
            keyspace.jobs.iter().partition(|(_, names)| !names.is_empty());
        let all: Vec<(&str, String)> = named
            .iter()
            .chain(&alone)
            .take(bounds.looks)
            .map(|(id, names)| (id.as_str(), names.join(" ")))
            .collect();
        if all.len() < keyspace.jobs.len() {
            report.add(partly("jobs unseen", all.len(), "jobs"));
        }
        let mut letters_alone = 0;
        for batch in all.chunks(BATCH) {
            let arguments: Vec<&str> = batch.iter().flat_map(|(id, names)| [*id, names]).collect();
            let script = &self.shared.scripts.doctor_jobs;
            let mut replies = self.run(script, cell, &arguments).await?.list()?.into_iter();
            let now = replies.next().map(Reply::text).transpose()?;
            let now: f64 = number(&now.unwrap_or_default())?;
            for reply in replies {
                report.jobs += 1;
                let look = Look::parse(reply)?;
                letters_alone += u64::from(look.state.is_empty() && look.strange == ["dead"]);
                Judge { cell, now, look: &look, report }.judge();
            }
        }
        if letters_alone > 0 {
            let letters = count(letters_alone, "dead letter has", "dead letters have");
            let what = format!("{letters} outlived the record; gone with the next failure");
            report
                .add(Finding::note("letters alone", what).advise("or: framewire dead purge --all"));
        }
        Ok(())
    }
}

struct Judge<'a> {
    cell: Cell,
    now: f64,
    look: &'a Look,
    report: &'a mut Report,
}

impl Judge<'_> {
    fn judge(mut self) {
        let look = self.look;
        for name in &look.strange {
            self.strange(name);
        }
        if look.state.is_empty() {
            return;
        }
        let Some(state) = State::from_word(&look.state) else {
            let what = format!("{} has the unknown state \"{}\"", look.id, look.state);
            let finding = Finding::wrong("unknown state", what);
            let finding = finding.means("no script touches it, so it will never end");
            return self.report.add(finding.advise("which version of Framewire wrote it?"));
        };
        match state {
            State::Queued => self.queued(),
            state if state.is_running() => self.running(),
            _ => self.ended(),
        }
        self.every(state);
    }

    /// A structure has it, and its record does not say so.
    fn strange(&mut self, name: &str) {
        let look = self.look;
        let (id, full) = (&look.id, key(self.cell, name));
        let verb = if name.starts_with("live:") { "SREM" } else { "ZREM" };
        let finding = if look.state.is_empty() {
            if name == "dead" {
                return;
            }
            Finding::wrong("no record", format!("{id} is in {name} and has no record"))
                .means("it can't run, and holds a place or a slot that others wait for")
        } else {
            let what =
                format!("{id} is in {name}, where a job of its session and pool has no place");
            Finding::wrong("wrong place", what)
                .means("it may be served twice, or hold a slot for ever")
        };
        self.report.add(finding.mend(format!("{verb} {full} {id}")));
    }

    fn queued(&mut self) {
        let look = self.look;
        let places = [
            ("wait", look.wait),
            ("out", look.out),
            ("delayed", look.delayed),
            ("follow", look.follow),
        ];
        let places: Vec<&str> =
            places.into_iter().filter_map(|(word, at)| at.map(|_| word)).collect();
        // The sweep puts what is delayed and due into its line, with all that belongs to it.
        let send = format!("ZADD {} 0 {}", key(self.cell, look.name("delayed")), look.id);
        match places[..] {
            [] => self.wrong(
                "queued nowhere",
                "says queued and is in no line, window or delay, and follows nobody",
                "it waits for ever",
                &send,
            ),
            [_] => {}
            _ => {
                let extra = ["follow", "wait", "delayed"].into_iter();
                let extra = extra.clone().find(|word| places.contains(word)).unwrap_or("wait");
                let what = format!("is queued more than once: in {}", places.join(" and "));
                self.wrong("queued twice", &what, "it may be served twice", &self.out_of(extra));
            }
        }
        match (look.queue.is_some(), look.delayed.is_some()) {
            (false, false) if !matches!(places[..], [] | ["follow"]) => {
                let mend = format!(
                    "ZADD {} {} {}",
                    key(self.cell, look.name("queue")),
                    look.queued_at,
                    look.id
                );
                self.wrong(
                    "not in the ledger",
                    "waits and is not in the ledger (queue)",
                    "no position can be told, and the depth limit does not count it",
                    &mend,
                );
            }
            (true, true) if places == ["delayed"] => {
                self.extra("queue", "is delayed and in the ledger (queue) too");
            }
            (true, _) if places == ["follow"] => {
                self.extra("queue", "follows another and is in the ledger (queue) too");
            }
            _ => {}
        }
        if look.lease.is_some() {
            self.extra("lease", "says queued and has a lease");
        }
        match (look.out.is_some(), look.live.is_some()) {
            (true, false) => self.uncounted("is admitted and not in live"),
            (false, true) => {
                self.extra("live", "is not admitted and holds a slot of its session (live)");
            }
            _ => {}
        }
        self.late_in_queue();
    }

    fn late_in_queue(&mut self) {
        let look = self.look;
        let popped = look.ready.is_none();
        if let Some(at) = look.out.filter(|at| popped && self.is_late(*at)) {
            let what = format!("was popped {} ago and never claimed", self.since(at));
            self.unswept("popped long ago", &what);
        } else if let Some(at) = look.out.filter(|at| self.now - at > OFFERED_LONG_MS) {
            let what = format!(
                "{} has been offered for {}, and no worker takes it",
                look.id,
                self.since(at)
            );
            let finding = Finding::note("offered for long", what);
            self.report
                .add(finding.means("no worker lives, or a provider's trouble keeps them from it"));
        }
        if let Some(at) = look.delayed.filter(|at| self.is_late(*at)) {
            self.unswept("retry overdue", &format!("was due for its retry {} ago", self.since(at)));
        }
        if let Some(at) = look.deadline.filter(|at| self.is_late(*at)) {
            let what =
                format!("should have failed {} ago, when its start-by passed", self.since(at));
            self.unswept("deadline overdue", &what);
        }
    }

    fn running(&mut self) {
        let look = self.look;
        for word in look.stands_in().filter(|word| !matches!(*word, "lease" | "live")) {
            self.extra(word, &format!("says {} and is in {word} too", look.state));
        }
        match look.lease {
            None => {
                // A lease that has passed: the sweep takes the job for lapsed and queues it again.
                let mend = format!("ZADD {} 0 {}", key(self.cell, look.name("lease")), look.id);
                let what = format!("says {} and holds no lease", look.state);
                let meaning = "it will never end, unless its worker still lives and ends it";
                self.wrong("no lease", &what, meaning, &mend);
            }
            Some(until) if self.is_late(until) => {
                let what = format!("has a lease that passed {} ago", self.since(until));
                self.unswept("lease long passed", &what);
            }
            Some(_) => {}
        }
        if look.live.is_none() {
            self.uncounted("runs and is not in live");
        }
    }

    fn ended(&mut self) {
        let look = self.look;
        for word in look.stands_in() {
            self.extra(word, &format!("is {} and still in {word}", look.state));
        }
        if look.ttl_ms == -1 {
            let mend = format!("EXPIRE {} 86400", key(self.cell, format_args!("job:{}", look.id)));
            let what = format!("is {} and its record never expires", look.state);
            self.wrong("stays for ever", &what, "memory that is never given back", &mend);
        }
    }

    /// What holds in all states.
    fn every(&mut self, state: State) {
        let look = self.look;
        if look.ready.is_some() && look.out.is_none() && state == State::Queued {
            self.extra("ready", "is in the window (ready) and was not admitted (out)");
        }
        if look.dead.is_some() && state != State::Failed {
            self.extra("dead", &format!("is {} and a dead letter", look.state));
        }
        let must_start = state == State::Queued && look.run_by.is_some();
        if must_start && look.deadline.is_none() {
            let (at, run_by) = (key(self.cell, look.name("deadline")), look.run_by.unwrap_or(0));
            self.wrong(
                "no deadline",
                "has a start-by and is not in deadline",
                "it waits on when it should fail",
                &format!("ZADD {at} {run_by} {}", look.id),
            );
        } else if state == State::Queued && look.deadline.is_some() && !must_start {
            self.extra("deadline", "has no start-by and is in deadline");
        }
        match (state.is_terminal(), look.active.is_some()) {
            (false, false) => {
                let active = key(self.cell, look.name("active"));
                let what = format!("is {} and not in active", look.state);
                self.wrong(
                    "not active",
                    &what,
                    "snapshots lack it: its user sees nothing of it",
                    &format!("ZADD {active} {} {}", look.created_at, look.id),
                );
            }
            (true, true) => self.extra("active", &format!("is {} and still in active", look.state)),
            _ => {}
        }
        if !state.is_terminal() && look.ttl_ms >= 0 {
            let what = format!(
                "is {} and its record goes in {}",
                look.state,
                span(look.ttl_ms.unsigned_abs())
            );
            let mend = format!("PERSIST {}", key(self.cell, format_args!("job:{}", look.id)));
            self.wrong("will vanish", &what, "it vanishes before it ends", &mend);
        }
    }

    fn wrong(&mut self, kind: &'static str, what: &str, meaning: &'static str, mend: &str) {
        let what = format!("{} {what}", self.look.id);
        self.report.add(Finding::wrong(kind, what).means(meaning).mend(mend));
    }

    /// A structure has it that should not.
    fn extra(&mut self, word: &str, what: &str) {
        let (kind, meaning) = match word {
            "live" => ("slot held", "its session may run one job fewer, for ever"),
            "lease" => {
                ("lease of nothing", "its pool runs one job fewer until the sweep ends it wrongly")
            }
            "out" => ("admitted wrongly", "its pool runs one job fewer"),
            "ready" => ("offered wrongly", "a worker pops it in vain"),
            "queue" | "wait" => {
                ("in line wrongly", "it is counted as waiting, and may be served again")
            }
            "follow" => ("follows wrongly", "it is given another's frames and needs none"),
            "active" => ("active wrongly", "its user sees it as unfinished, and it counts as such"),
            "dead" => ("letter wrongly", "an operator is shown what is no failure"),
            _ => ("due wrongly", "the sweep will touch a job that it should not"),
        };
        let mend = self.out_of(word);
        self.wrong(kind, what, meaning, &mend);
    }

    fn uncounted(&mut self, what: &str) {
        let live = key(self.cell, self.look.name("live"));
        let mend = format!("SADD {live} {}", self.look.id);
        self.wrong("uncounted", what, "its session may run more than its cap", &mend);
    }

    /// A sweep should have seen to it.
    fn unswept(&mut self, kind: &'static str, what: &str) {
        let Look { id, pool, .. } = self.look;
        let finding = Finding::wrong(kind, format!("{id} {what}"));
        let finding = finding.means("no sweep sees to it");
        self.report.add(finding.advise(format!(
            "is a worker of pool {pool} alive? its log says why it does not sweep"
        )));
    }

    fn out_of(&self, word: &str) -> String {
        let verb = if word == "live" { "SREM" } else { "ZREM" };
        format!("{verb} {} {}", key(self.cell, self.look.name(word)), self.look.id)
    }

    fn is_late(&self, at: f64) -> bool {
        self.now - at > LATE.as_millis() as f64
    }

    fn since(&self, at: f64) -> String {
        // Hand-made scores may be anything; a moment before 1970 is "long ago" all the same.
        span((self.now - at).max(0.0) as u64)
    }
}
