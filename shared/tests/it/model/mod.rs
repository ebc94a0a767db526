//! Random commands through the pure transition table and through the real scripts: they agree.
//!
//! proptest draws a list of commands over a few sessions and one pool. Each is given to the scripts
//! and to [`pure::Pure`], which knows the transition table and nothing of Redis. After every step
//! all jobs are compared field by field, every session's stream has grown by exactly the expected
//! events, and the invariants of [`invariants`] hold. A failing list is shrunk and printed.
//! What the pure model does not predict is *which* waiting job is admitted; there it looks at what
//! the window holds, and the invariants say whether that was allowed.

mod invariants;
mod pure;
mod sharing;

use std::time::Duration;

use framewire_shared::domain::{
    Artifact, Cell, ErrorCode, Failure, Fence, JobId, MediaType, Missing, Pool, Priority, Progress,
    SessionId, State, Verb, WorkerId,
};
use framewire_shared::store::caps::Capped;
use framewire_shared::store::codec::{
    Cancel, Claim, Completed, Deleted, Failed, Noted, Released, Renewal, Retried, Submitted,
};
use framewire_shared::store::queue::{Lease, Made, Submission};
use framewire_shared::store::{QueueOptions, Store};
use framewire_shared::testing::{RedisServer, prompt};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use pure::{Place, Pure};
use sharing::{PRINTS, print};

/// Sessions in play; fewer than jobs, so that caps bite.
const SESSIONS: usize = 3;
const START_MS: u64 = 1_800_000_000_000;
/// How long a reader may stay away, and how often it is said that one is there.
const AWAY: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(2));

/// One step; numbers pick a job, a session or a pop among those there are.
#[derive(Debug, Clone)]
enum Command {
    Submit { session: usize, priority: Priority, start_within_s: Option<u64>, same: Option<usize> },
    Pop,
    Claim { job: usize },
    ClaimPopped { pop: usize },
    Advance { job: usize, uploading: bool, stale: bool },
    Note { job: usize, stale: bool },
    Announce { job: usize, stale: bool },
    Renew { job: usize, stale: bool },
    Complete { job: usize, stale: bool, all: bool },
    Fail { job: usize, retry: bool, stale: bool },
    Release { job: usize, stale: bool },
    Cancel { job: usize },
    CancelledByWorker { job: usize, stale: bool },
    Retry { job: usize },
    Delete { job: usize },
    Finish { job: usize },
    Heartbeat { slots: u32 },
    Pass { ms: u64 },
    Sweep,
    SetCap { of: Of, cap: Option<u32> },
    Watch { session: usize },
    Abandon,
    Land { same: Option<usize>, without: bool },
    Fulfil { handed: usize },
    Serve { same: usize },
}

/// Whose cap changes.
#[derive(Debug, Clone, Copy)]
enum Of {
    Session,
    Tenant,
    Pool,
}

fn command() -> impl Strategy<Value = Command> {
    let job = 0..40_usize;
    let stale = prop::bool::weighted(0.15);
    let priority = prop::sample::select(Priority::ALL.to_vec());
    let of = prop::sample::select(vec![Of::Session, Of::Tenant, Of::Pool]);
    let within = prop::option::weighted(0.2, 1..30_u64);
    prop_oneof![
        8 => (0..SESSIONS, priority, within, prop::option::weighted(0.5, 0..PRINTS)).prop_map(
            |(session, priority, start_within_s, same)| {
                Command::Submit { session, priority, start_within_s, same }
            },
        ),
        6 => Just(Command::Pop),
        6 => (0..4_usize).prop_map(|pop| Command::ClaimPopped { pop }),
        1 => job.clone().prop_map(|job| Command::Claim { job }),
        8 => (job.clone(), any::<bool>(), stale)
            .prop_map(|(job, uploading, stale)| Command::Advance { job, uploading, stale }),
        2 => (job.clone(), stale).prop_map(|(job, stale)| Command::Note { job, stale }),
        3 => (job.clone(), stale).prop_map(|(job, stale)| Command::Announce { job, stale }),
        3 => (job.clone(), stale).prop_map(|(job, stale)| Command::Renew { job, stale }),
        4 => (job.clone(), stale, any::<bool>())
            .prop_map(|(job, stale, all)| Command::Complete { job, stale, all }),
        3 => (job.clone(), any::<bool>(), stale)
            .prop_map(|(job, retry, stale)| Command::Fail { job, retry, stale }),
        2 => (job.clone(), stale).prop_map(|(job, stale)| Command::Release { job, stale }),
        3 => job.clone().prop_map(|job| Command::Cancel { job }),
        1 => (job.clone(), stale).prop_map(|(job, stale)| {
            Command::CancelledByWorker { job, stale }
        }),
        2 => job.clone().prop_map(|job| Command::Retry { job }),
        3 => job.clone().prop_map(|job| Command::Delete { job }),
        4 => job.prop_map(|job| Command::Finish { job }),
        3 => (0..8_u32).prop_map(|slots| Command::Heartbeat { slots }),
        4 => (1..9_000_u64).prop_map(|ms| Command::Pass { ms }),
        4 => Just(Command::Sweep),
        3 => (of, prop::option::weighted(0.8, 0..4_u32))
            .prop_map(|(of, cap)| Command::SetCap { of, cap }),
        2 => (0..SESSIONS).prop_map(|session| Command::Watch { session }),
        2 => Just(Command::Abandon),
        2 => (prop::option::of(0..PRINTS), prop::bool::weighted(0.3))
            .prop_map(|(same, without)| Command::Land { same, without }),
        3 => (0..8_usize).prop_map(|handed| Command::Fulfil { handed }),
        1 => (0..PRINTS).prop_map(|same| Command::Serve { same }),
    ]
}

/// The real side and the pure side, side by side.
struct World {
    redis: redis::Connection,
    clock: Box<dyn Fn(u64)>,
    store: Store,
    pure: Pure,
    sessions: Vec<SessionId>,
    popped: Vec<JobId>,
    /// Followers that somebody was handed, each with its fence.
    handed: Vec<Lease>,
    worker: WorkerId,
    before: invariants::Load,
}

pub(crate) fn pool() -> Pool {
    "default".parse().unwrap()
}

#[test]
fn the_scripts_and_the_transition_table_agree_on_any_list_of_commands() {
    let server = std::rc::Rc::new(RedisServer::start());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let store = server.store_with_clock(QueueOptions::default());
    let cases = std::env::var("FRAMEWIRE_MODEL_CASES").ok().and_then(|n| n.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(40),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let commands = prop::collection::vec(command(), 1..160);
    let outcome = TestRunner::new(config).run(&commands, |commands| {
        let () = redis::cmd("FLUSHALL").query(&mut server.connection()).unwrap();
        let setter = server.clone();
        let mut world = World {
            redis: server.connection(),
            clock: Box::new(move |ms| setter.set_clock(ms)),
            store: store.clone(),
            pure: Pure::new(START_MS),
            sessions: (0..SESSIONS)
                .map(|n| SessionId::new(Cell::FIRST, Uuid::from_u128(n as u128 + 1)))
                .collect(),
            popped: Vec::new(),
            handed: Vec::new(),
            worker: WorkerId::new(Uuid::from_u128(1)),
            before: invariants::Load::default(),
        };
        (world.clock)(START_MS);
        let first = format!("fw:{{c0}}:session:{}", world.sessions[0]);
        let () =
            redis::cmd("HSET").arg(first).arg(&["tenant", "acme"]).query(&mut world.redis).unwrap();
        let ready = std::iter::once(Command::Heartbeat { slots: 4 });
        for command in ready.chain(commands) {
            runtime.block_on(world.step(&command));
            world.compare(&command);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

impl World {
    fn lease(&self, job: usize, stale: bool) -> Option<(usize, Lease)> {
        let index = job.checked_rem(self.pure.jobs.len())?;
        let job = &self.pure.jobs[index];
        let fence = if stale { job.fence.wrapping_sub(1) } else { job.fence };
        Some((index, Lease { job: job.id.clone(), fence: Fence(fence) }))
    }

    async fn step(&mut self, command: &Command) {
        match *command {
            Command::Submit { session, priority, start_within_s, same } => {
                self.submit(session, priority, start_within_s, same).await;
            }
            Command::Land { same, without } => self.land(same, without).await,
            Command::Fulfil { handed } => {
                if let Some(at) = handed.checked_rem(self.handed.len()) {
                    let follower = self.handed.remove(at);
                    self.fulfil(&follower).await;
                }
            }
            Command::Serve { same } => {
                self.handed.clear();
                self.land(Some(same), false).await;
                for follower in std::mem::take(&mut self.handed) {
                    self.fulfil(&follower).await;
                }
            }
            Command::Pop => self.pop(),
            Command::Claim { job } => {
                if let Some((index, lease)) = self.lease(job, false) {
                    self.claim(index, &lease.job).await;
                }
            }
            Command::ClaimPopped { pop } => {
                if let Some(at) = pop.checked_rem(self.popped.len()) {
                    let job = self.popped.remove(at);
                    let index = self.pure.find(&job);
                    self.claim(index, &job).await;
                }
            }
            Command::Heartbeat { slots } => {
                let life = Duration::from_secs(40);
                let pool = pool();
                let real = self.store.heartbeat(Cell::FIRST, &pool, &self.worker, slots, life);
                assert_eq!(real.await.unwrap(), slots);
                self.pure.heartbeat(slots, life);
            }
            Command::Pass { ms } => {
                self.pure.now += ms;
                (self.clock)(self.pure.now);
            }
            Command::Sweep => {
                let lost = invariants::popped_and_unclaimed(&mut self.redis, self.pure.now);
                let real = self.store.sweep_now(Cell::FIRST, &pool()).await.unwrap();
                invariants::offered_or_gone(&mut self.redis, &lost);
                assert_eq!((real.due, real.lapsed, real.expired), self.pure.sweep());
                let mut died: Vec<_> = real.dead.iter().map(|(job, died)| (job, *died)).collect();
                died.sort_by_key(|(job, _)| self.pure.find(job));
                let expected: Vec<_> =
                    self.pure.died.iter().map(|(job, died)| (job, *died)).collect();
                assert_eq!(died, expected);
            }
            Command::SetCap { of, cap } => self.set_cap(of, cap).await,
            Command::Watch { session } => {
                let sessions = &self.sessions[session..=session];
                self.store.watch(Cell::FIRST, sessions, AWAY.0, AWAY.1).await.unwrap();
                let [after, every] = [AWAY.0, AWAY.1].map(|it| it.as_millis() as u64);
                self.pure.watch(sessions, after, every);
            }
            Command::Abandon => {
                let real = self.store.abandon(Cell::FIRST).await.unwrap();
                assert_eq!((real.sessions, real.jobs), self.pure.abandon());
            }
            Command::Cancel { job } => {
                if let Some((index, lease)) = self.lease(job, false) {
                    let real = self.store.cancel(&lease.job, "user").await.unwrap();
                    let job = &mut self.pure.jobs[index];
                    let expected = match job.state {
                        State::Queued => {
                            job.go(Verb::Cancel);
                            Cancel::Cancelled
                        }
                        state if state.is_running() => {
                            job.cancel_requested = true;
                            Cancel::Cancelling
                        }
                        _ if job.gone => Cancel::Missing,
                        state => Cancel::Ended(state),
                    };
                    assert_eq!(real, expected);
                }
            }
            Command::Retry { job } => {
                if let Some((index, lease)) = self.lease(job, false) {
                    let waited = self.leader_that_waits(self.pure.jobs[index].print);
                    let real = self.store.retry(&lease.job).await.unwrap();
                    let now = self.pure.now;
                    let job = &mut self.pure.jobs[index];
                    let state = job.state;
                    let expected = match job.go(Verb::Retry) {
                        true => {
                            job.queued_at = now;
                            let count = job.retry_count;
                            self.join(index, waited, 0);
                            Retried::Queued(count)
                        }
                        false if job.gone => Retried::Missing,
                        false => Retried::Refused(state),
                    };
                    assert_eq!(real, expected);
                }
            }
            Command::Delete { job } => {
                if let Some((index, lease)) = self.lease(job, false) {
                    let session = self.pure.jobs[index].session.clone();
                    let real = self.store.delete(&lease.job, &session).await.unwrap();
                    let expected = match self.pure.jobs[index].found() {
                        None => Deleted::Missing,
                        Some(_) if self.pure.delete(index) => Deleted::Deleted,
                        Some(state) => Deleted::Refused(state),
                    };
                    assert_eq!(real, expected);
                }
            }
            // Three steps of one job in a row would hardly ever be drawn.
            Command::Finish { job } => {
                for command in [
                    Command::Advance { job, uploading: false, stale: false },
                    Command::Advance { job, uploading: true, stale: false },
                    Command::Complete { job, stale: false, all: true },
                ] {
                    self.fenced_step(&command).await;
                }
            }
            _ => self.fenced_step(command).await,
        }
        self.pure.settle();
    }

    /// Notes a session's last frame.
    fn keep(&mut self, job: usize, url: &str) {
        let expires_at = self.pure.now + QueueOptions::default().retention.as_millis() as u64;
        let job = &self.pure.jobs[job];
        let kept = (job.id.clone(), format!("{expires_at} {url}"));
        self.pure.last.insert(job.session.clone(), kept);
    }

    /// The steps of a running attempt: all carry a fence, some a stale one.
    async fn fenced_step(&mut self, command: &Command) {
        let (job, stale) = match *command {
            Command::Advance { job, stale, .. }
            | Command::Note { job, stale }
            | Command::Announce { job, stale }
            | Command::Renew { job, stale }
            | Command::Complete { job, stale, .. }
            | Command::Fail { job, stale, .. }
            | Command::Release { job, stale }
            | Command::CancelledByWorker { job, stale } => (job, stale),
            _ => unreachable!("not a fenced step"),
        };
        let Some((index, lease)) = self.lease(job, stale) else {
            return;
        };
        let now = self.pure.now;
        let job = &mut self.pure.jobs[index];
        let (state, owned) = (job.state, !stale && job.state.is_running());
        let lost = job.found();
        let asked = if job.cancel_requested { Noted::Cancel } else { Noted::Noted };
        match *command {
            Command::Advance { uploading, .. } => {
                let (stage, verb) = match uploading {
                    true => (State::Uploading, Verb::Upload),
                    false => (State::Generating, Verb::Generate),
                };
                let real = self.store.advance(&lease, stage).await.unwrap();
                let expected = match owned {
                    false => Noted::Lost(lost),
                    true if state == stage => Noted::Noted,
                    true if framewire_shared::domain::job::after(state, verb).is_none() => {
                        Noted::Refused(state)
                    }
                    true if job.cancel_requested => Noted::Cancel,
                    true => {
                        job.go(verb);
                        Noted::Noted
                    }
                };
                assert_eq!(real, expected);
            }
            Command::Note { .. } => {
                let progress =
                    Progress { stage: state, step: 1, steps: 2, fraction: 0.5, eta_ms: None };
                let real = self.store.progress(&lease, &progress).await.unwrap();
                assert_eq!(real, if owned { asked } else { Noted::Lost(lost) });
            }
            Command::Announce { .. } => {
                let frame = frame(&lease, job.events.len() as u64);
                let real = self.store.announce_frame(&lease, &[frame]).await.unwrap();
                if owned {
                    job.tell("frame-ready");
                }
                assert_eq!(real, if owned { asked } else { Noted::Lost(lost) });
            }
            Command::Renew { .. } => {
                let real = self.store.renew(Cell::FIRST, std::slice::from_ref(&lease)).await;
                let lasts = now - job.locked_at <= 600_000;
                let expected = match (owned, lasts) {
                    (false, _) => Renewal::Lost,
                    (true, false) => Renewal::Overtime,
                    (true, true) => {
                        job.lease_until = now + 8_000;
                        if job.cancel_requested { Renewal::Cancel } else { Renewal::Renewed }
                    }
                };
                assert_eq!(real.unwrap(), [expected]);
            }
            Command::Complete { all, .. } => {
                let ms = Duration::from_millis(1);
                let frames = [frame(&lease, 0)];
                let missing = [Missing::new(1, &Failure::new(ErrorCode::Permanent, "no \"one\""))];
                let made = Made {
                    frames: &frames,
                    announced: !all,
                    missing: if all { &[] } else { &missing },
                    published: None,
                    generate: ms,
                    upload: ms,
                };
                let real = self.store.complete_with(&lease, &made).await.unwrap();
                let expected = match owned {
                    _ if !stale && lost == Some(State::Completed) => Completed::Completed,
                    false => Completed::Lost(lost),
                    true if job.go(Verb::Complete) => {
                        if !all {
                            job.without_one();
                        }
                        let same = job.print;
                        self.keep(index, &frames[0].url);
                        self.pure.completed(index);
                        let leads = same.map(|same| &self.pure.shares[same]).is_some_and(|share| {
                            share.leader.as_ref() == Some(&lease.job) && share.landed.is_some()
                        });
                        match same.filter(|_| leads) {
                            Some(same) => Completed::Followed(print(same)),
                            None => Completed::Completed,
                        }
                    }
                    true => Completed::Refused(state),
                };
                assert_eq!(real, expected);
            }
            Command::Fail { retry, .. } => {
                let failure = Failure::new(ErrorCode::Temporary, "busy \"now\"\n");
                let delay = retry.then_some(Duration::from_secs(2));
                let real = self.store.fail(&lease, &failure, delay).await.unwrap();
                let expected = match (owned, job.cancel_requested, retry) {
                    (false, ..) => Failed::Lost(lost),
                    (true, true, _) => {
                        job.go(Verb::Cancel);
                        Failed::Cancelled
                    }
                    (true, false, true) => {
                        job.go(Verb::FailForNow);
                        job.place = Place::Delayed(now + 2_000);
                        Failed::Retrying(now + 2_000)
                    }
                    (true, false, false) => {
                        job.go(Verb::FailForGood);
                        Failed::Failed
                    }
                };
                assert_eq!(real, expected);
            }
            Command::Release { .. } => {
                let real = self.store.release(&lease).await.unwrap();
                let expected = match (owned, job.cancel_requested) {
                    (false, _) => Released::Lost(lost),
                    (true, true) => {
                        job.go(Verb::Cancel);
                        Released::Cancelled
                    }
                    (true, false) => {
                        job.go(Verb::Release);
                        Released::Released
                    }
                };
                assert_eq!(real, expected);
            }
            Command::CancelledByWorker { .. } => {
                let real = self.store.cancelled_by_worker(&lease).await.unwrap();
                let expected = match owned {
                    false => lost.map_or(Cancel::Missing, Cancel::Lost),
                    true => {
                        job.go(Verb::Cancel);
                        Cancel::Cancelled
                    }
                };
                assert_eq!(real, expected);
            }
            _ => unreachable!("not a fenced step"),
        }
    }

    async fn submit(
        &mut self,
        session: usize,
        priority: Priority,
        within_s: Option<u64>,
        same: Option<usize>,
    ) {
        let id = JobId::new(Cell::FIRST, Uuid::from_u128(self.pure.jobs.len() as u128 + 1));
        let session = self.sessions[session].clone();
        let (pool, input, fingerprint) = (pool(), prompt("x"), same.map(print));
        let waited = self.leader_that_waits(same);
        let start_within = within_s.map(Duration::from_secs);
        let new = Submission {
            id: &id,
            session: &session,
            tenant: None,
            pool: &pool,
            model: "builtin",
            priority,
            input: &input,
            metadata: "{}",
            start_within,
            catalogue: false,
            shelf: None,
            idempotency: None,
            fingerprint: fingerprint.as_deref(),
        };
        let answer = self.store.submit(&new).await.unwrap();
        self.pure.submit(id.clone(), session, start_within, same);
        let index = self.pure.find(&id);
        if self.join(index, waited, 3_000) {
            self.pure.jobs[index].fence = 1;
            let Submitted::Hit { fence, leader, .. } = answer else { panic!("{answer:?}") };
            assert_eq!(Some(leader), self.pure.shares[same.unwrap()].leader);
            self.handed.push(Lease { job: id, fence });
        } else {
            assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
        }
    }

    async fn set_cap(&mut self, of: Of, cap: Option<u32>) {
        let caps = &mut self.pure.caps;
        let (capped, known) = match of {
            Of::Session => (Capped::Session, &mut caps.session),
            Of::Tenant => (Capped::SessionOf("acme".parse().unwrap()), &mut caps.tenant),
            Of::Pool => (Capped::Pool(pool()), &mut caps.pool),
        };
        let before = std::mem::replace(known, cap);
        assert_eq!(self.store.set_cap(&capped, cap).await.unwrap(), before);
    }

    /// Pops as a worker does, high before normal before low.
    fn pop(&mut self) {
        for class in Priority::ALL {
            let window = format!("fw:{{c0}}:ready:default:{}", class.as_str());
            let popped: Vec<String> =
                redis::cmd("ZPOPMIN").arg(window).query(&mut self.redis).unwrap();
            if let Some(job) = popped.first() {
                self.popped.push(job.parse().unwrap());
                return;
            }
        }
    }

    async fn claim(&mut self, index: usize, id: &JobId) {
        let admitted = invariants::is_out(&mut self.redis, id);
        let real = self.store.claim(id, &self.worker, "builtin").await.unwrap();
        let now = self.pure.now;
        let job = &mut self.pure.jobs[index];
        if admitted && job.state == State::Queued {
            job.claim(now);
            let Claim::Claimed(claimed) = real else { panic!("an admitted job was {real:?}") };
            assert_eq!((claimed.fence.0, claimed.attempt), (job.fence, job.attempt_count));
        } else {
            assert_eq!(real, Claim::Gone(job.found()));
        }
    }

    fn compare(&mut self, command: &Command) {
        for job in &self.pure.jobs {
            invariants::same(&mut self.redis, job, command);
        }
        for session in &self.sessions {
            let expected = self.pure.events_of(session);
            invariants::same_stream(&mut self.redis, session, expected, command);
            let last = self.pure.last.get(session).map(|(_, kept)| &**kept);
            invariants::same_last(&mut self.redis, session, last, command);
        }
        self.before =
            invariants::check(&mut self.redis, &self.pure, &self.sessions, self.before, command);
    }
}

fn frame(lease: &Lease, seed: u64) -> Artifact {
    Artifact {
        index: 0,
        url: format!("/v1/artifacts/{}-{}-0.png", lease.job, lease.fence),
        content_type: MediaType::Png,
        width: 64,
        height: 64,
        bytes: 10,
        sha256: "00".into(),
        seed,
    }
}
