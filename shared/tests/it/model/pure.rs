//! The pure side of the model: the transition table, a clock, and the counts that go with it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use framewire_shared::domain::job::after;
use framewire_shared::domain::{JobId, SessionId, State, Verb};
use framewire_shared::store::caps::SESSION_CAP;
use framewire_shared::store::codec::Died;

use super::sharing::{PRINTS, Share};

/// Where a queued job waits, as far as the pure side can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its line or in the window.
    Line,
    /// Until this moment.
    Delayed(u64),
    /// Behind the leader of its fingerprint.
    Following,
}

/// One job of the pure side.
#[derive(Debug, Clone)]
pub(crate) struct PureJob {
    pub(crate) id: JobId,
    pub(crate) session: SessionId,
    pub(crate) state: State,
    pub(crate) place: Place,
    pub(crate) print: Option<usize>,
    pub(crate) queued_at: u64,
    pub(crate) fence: u64,
    pub(crate) attempt_count: u32,
    pub(crate) retry_count: u32,
    pub(crate) losses: u32,
    pub(crate) cancel_requested: bool,
    pub(crate) lease_until: u64,
    pub(crate) locked_at: u64,
    pub(crate) run_by: Option<u64>,
    /// Whether its owner has deleted it.
    pub(crate) gone: bool,
    /// Whether it was completed without one of its frames.
    pub(crate) is_short: bool,
    /// Types of the durable events it has left, oldest first.
    pub(crate) events: Vec<&'static str>,
}

impl PureJob {
    /// Gives the state that a script finds; `None` if there is no such job any more.
    pub(crate) fn found(&self) -> Option<State> {
        (!self.gone).then_some(self.state)
    }

    /// Takes an edge of the table, with what belongs to it; false where there is none.
    pub(crate) fn go(&mut self, verb: Verb) -> bool {
        let Some(state) = self.found().and_then(|state| after(state, verb)) else {
            return false;
        };
        self.state = state;
        match verb {
            Verb::Claim | Verb::Generate | Verb::Upload => {}
            Verb::Complete | Verb::Fulfil => {
                self.tell("frame-ready");
                self.tell("completed");
            }
            Verb::FailForNow => self.tell("queued"),
            Verb::FailForGood | Verb::LapseForGood | Verb::Expire => self.tell("failed"),
            Verb::Cancel => self.tell("cancelled"),
            Verb::Release | Verb::Lapse => {
                self.attempt_count -= 1;
                self.place = Place::Line;
                self.tell("queued");
            }
            Verb::Retry => {
                self.retry_count += 1;
                self.losses = 0;
                self.run_by = None;
                self.place = Place::Line;
                self.tell("queued");
            }
        }
        if self.state.is_terminal() || verb == Verb::Retry {
            self.cancel_requested = false;
        }
        true
    }

    pub(crate) fn claim(&mut self, now: u64) {
        assert!(self.go(Verb::Claim));
        self.fence += 1;
        self.attempt_count += 1;
        self.lease_until = now + 8_000;
        self.locked_at = now;
        self.tell("started");
    }

    /// Notes that it was completed without its last frame: its other frames were announced before.
    pub(crate) fn without_one(&mut self) {
        self.is_short = true;
        let last = self.events.iter().rposition(|kind| *kind == "frame-ready").unwrap();
        self.events.remove(last);
    }

    pub(crate) fn tell(&mut self, kind: &'static str) {
        self.events.push(kind);
    }
}

/// Everything the pure side knows.
pub(crate) struct Pure {
    pub(crate) now: u64,
    pub(crate) jobs: Vec<PureJob>,
    pub(crate) capacity: u32,
    pub(crate) caps: Caps,
    /// The session's last frame: its job, and what is kept of it.
    pub(crate) last: HashMap<SessionId, (JobId, String)>,
    /// Jobs that the last sweep has ended for good, in the order of their submission.
    pub(crate) died: Vec<(JobId, Died)>,
    /// By fingerprint, who leads.
    pub(crate) shares: [Share; PRINTS],
    heard_until: u64,
    /// Sessions that had a reader → when they are taken to have left.
    watched: BTreeMap<SessionId, u64>,
    seen_at: u64,
    spare_until: Option<u64>,
}

/// The operator's caps; the first session is the only one of the tenant that may have its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caps {
    pub(crate) session: Option<u32>,
    pub(crate) tenant: Option<u32>,
    pub(crate) pool: Option<u32>,
}

impl Caps {
    pub(crate) fn of_session(self, index: usize) -> usize {
        let own = if index == 0 { self.tenant } else { None };
        own.or(self.session).unwrap_or(SESSION_CAP) as usize
    }
}

impl Pure {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            now,
            jobs: Vec::new(),
            capacity: 0,
            caps: Caps::default(),
            last: HashMap::new(),
            died: Vec::new(),
            shares: Default::default(),
            heard_until: 0,
            watched: BTreeMap::new(),
            seen_at: 0,
            spare_until: None,
        }
    }

    /// Tells how many jobs the pool may run.
    pub(crate) fn may_run(&self) -> usize {
        self.capacity.min(self.caps.pool.unwrap_or(u32::MAX)) as usize
    }

    pub(crate) fn watch(&mut self, sessions: &[SessionId], after: u64, every: u64) {
        if self.now - self.seen_at > 3 * every {
            self.spare_until = Some(self.now + after);
        }
        self.seen_at = self.now;
        for session in sessions {
            self.watched.insert(session.clone(), self.now + after + 2 * every);
        }
    }

    /// Cancels what nobody waits for; gives (sessions, jobs).
    pub(crate) fn abandon(&mut self) -> (u32, u32) {
        if self.spare_until.is_none_or(|until| self.now < until) {
            return (0, 0);
        }
        let (now, before) = (self.now, self.watched.len());
        let left: Vec<SessionId> =
            self.watched.extract_if(.., |_, at| *at <= now).map(|(session, _)| session).collect();
        let mut jobs = 0;
        for job in self.jobs.iter_mut().filter(|job| left.contains(&job.session)) {
            if job.state.is_terminal() || job.cancel_requested {
                continue;
            }
            jobs += 1;
            if job.state == State::Queued {
                job.go(Verb::Cancel);
            } else {
                job.cancel_requested = true;
            }
        }
        ((before - self.watched.len()) as u32, jobs)
    }

    pub(crate) fn find(&self, id: &JobId) -> usize {
        self.jobs.iter().position(|job| job.id == *id).unwrap()
    }

    pub(crate) fn submit(
        &mut self,
        id: JobId,
        session: SessionId,
        start_within: Option<Duration>,
        print: Option<usize>,
    ) {
        self.jobs.push(PureJob {
            id,
            session,
            state: State::Queued,
            place: Place::Line,
            print,
            queued_at: self.now,
            fence: 0,
            attempt_count: 0,
            retry_count: 0,
            losses: 0,
            cancel_requested: false,
            lease_until: 0,
            locked_at: 0,
            gone: false,
            is_short: false,
            run_by: start_within.map(|wait| self.now + wait.as_millis() as u64),
            events: vec!["queued"],
        });
    }

    /// Deletes a job that has ended, and forgets that it was the last.
    pub(crate) fn delete(&mut self, index: usize) -> bool {
        let job = &mut self.jobs[index];
        if job.gone || !job.state.is_terminal() {
            return false;
        }
        job.gone = true;
        if self.last.get(&job.session).is_some_and(|(last, _)| *last == job.id) {
            self.last.remove(&job.session);
        }
        true
    }

    pub(crate) fn heartbeat(&mut self, slots: u32, life: Duration) {
        self.capacity = slots;
        self.heard_until = if slots > 0 { self.now + life.as_millis() as u64 } else { 0 };
    }

    /// Mends what the sweep mends; gives (due, lapsed, expired).
    pub(crate) fn sweep(&mut self) -> (u32, u32, u32) {
        let now = self.now;
        self.died.clear();
        if self.heard_until <= now {
            self.capacity = 0;
        }
        let (mut due, mut lapsed, mut expired) = (0, 0, 0);
        for job in &mut self.jobs {
            if job.state.is_running() && job.lease_until <= now {
                lapsed += 1;
                if job.cancel_requested {
                    job.go(Verb::Cancel);
                } else {
                    job.losses += 1;
                    let verb = if job.losses >= 3 { Verb::LapseForGood } else { Verb::Lapse };
                    job.go(verb);
                    if job.state == State::Failed {
                        self.died.push((job.id.clone(), Died::WorkersLost));
                    }
                }
            }
            if job.state == State::Queued && job.run_by.is_some_and(|by| by <= now) {
                expired += 1;
                job.go(Verb::Expire);
                self.died.push((job.id.clone(), Died::NotStarted));
            }
            if let (State::Queued, Place::Delayed(at)) = (job.state, job.place)
                && at <= now
            {
                due += 1;
                job.place = Place::Line;
            }
        }
        (due, lapsed, expired)
    }

    /// Counts the durable events of a session.
    pub(crate) fn events_of(&self, session: &SessionId) -> usize {
        self.jobs.iter().filter(|job| job.session == *session).map(|job| job.events.len()).sum()
    }
}
