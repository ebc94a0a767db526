//! What the doctor sees: each invariant broken by hand, and a busy system that is well.
//!
//! Every case breaks a healthy world with raw commands, has the doctor name it, does what the doctor
//! says, lets the sweep run, and has the doctor find nothing. In the cases `~` stands for the cell's
//! root and `@a` … `@g` for the jobs, `@s1` and `@s2` for the sessions of [`Ward`].

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framewire_shared::domain::guard::{Outcome, Purpose};
use framewire_shared::domain::{
    Cell, ErrorCode, Failure, GuardOptions, GuardState, JobId, SessionId, State,
};
use framewire_shared::store::caps::Capped;
use framewire_shared::store::codec::{Cancel, Completed, Failed, Noted, Purged};
use framewire_shared::store::doctor::{Bounds, EXAMPLES_MAX, Level, Remedy, Report};
use framewire_shared::store::queue::Lease;
use framewire_shared::testing::submission;
use uuid::Uuid;

use crate::world::{World, artifact, session};

const ROOT: &str = "fw:{c0}:";
const HOUR: Duration = Duration::from_secs(3_600);

/// A healthy world with a job in every place: `a` runs, `b` is in the window, `c` (of the same
/// session) and `g` (of the other, with a start-by) wait, `d` is delayed, `e` is completed, `f` failed.
struct Ward {
    world: World,
    names: Vec<(&'static str, String)>,
}

impl Ward {
    async fn new() -> Self {
        let world = World::new();
        let (s1, s2) = (session(), session());
        world.slots(2).await;
        let busy = Failure::new(ErrorCode::Temporary, "busy");
        let d = world.submit(&s2).await;
        let lease = world.take().await.unwrap();
        world.store.fail(&lease, &busy, Some(HOUR)).await.unwrap();
        let e = world.submit(&s2).await;
        world.finish(&world.take().await.unwrap()).await;
        let f = world.submit(&s2).await;
        let lease = world.take().await.unwrap();
        world.store.fail(&lease, &busy, None).await.unwrap();
        let a = world.submit(&s1).await;
        world.take().await.unwrap();
        let (b, c) = (world.submit(&s1).await, world.submit(&s1).await);
        let g = JobId::new(Cell::FIRST, Uuid::now_v7());
        let mut new = submission(&g, &s2, &world.pool, "{}");
        new.start_within = Some(HOUR);
        world.store.submit(&new).await.unwrap();
        let ward = Self {
            names: [("@a", a), ("@b", b), ("@c", c), ("@d", d), ("@e", e), ("@f", f), ("@g", g)]
                .map(|(name, job)| (name, job.to_string()))
                .into_iter()
                .chain([("@s1", s1), ("@s2", s2)].map(|(name, its)| (name, its.to_string())))
                .collect(),
            world,
        };
        ward.sweep().await;
        let report = ward.examine().await;
        assert_eq!(ward.told(&report), Vec::<String>::new(), "not healthy to begin with");
        ward
    }

    async fn examine(&self) -> Report {
        self.world.store.examine(Bounds::default()).await.unwrap()
    }

    /// Has two jobs more, of which `i`, the other session's, follows `h`.
    async fn with_a_follower() -> Self {
        let mut ward = Self::new().await;
        for (name, whose) in [("@h", "@s2"), ("@i", "@s1")] {
            let session = ward.names.iter().find(|(its, _)| *its == whose).unwrap().1.parse();
            let job = ward.world.submit_same(&session.unwrap(), "print").await;
            ward.names.push((name, job.to_string()));
        }
        ward
    }

    /// Sweeps as a worker does, without its throttle.
    async fn sweep(&self) {
        while let Some(landing) = self.world.store.land(Cell::FIRST, None, None).await.unwrap() {
            for follower in landing.followers {
                let frames = [artifact(&follower)];
                let answer = self.world.store.fulfil(&follower, &frames).await.unwrap();
                assert_eq!(answer, Completed::Completed);
            }
        }
        self.redis(&format!("DEL {ROOT}sweep:default"));
        let swept = self.world.store.sweep(Cell::FIRST, &self.world.pool).await;
        assert!(swept.unwrap().is_some());
        self.world.store.sweep_now(Cell::FIRST, &self.world.pool).await.unwrap();
    }

    fn redis(&self, command: &str) {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        let _: redis::Value = command.query(&mut self.world.redis.connection()).unwrap();
    }

    fn break_by(&self, commands: &str) {
        for command in commands.split(';') {
            let mut command = command.trim().replace('~', ROOT);
            for (name, id) in &self.names {
                command = command.replace(name, id);
            }
            self.redis(&command);
        }
    }

    /// Does what the doctor says, as an operator would.
    fn mend(&self, report: &Report) {
        for finding in &report.findings {
            if let (Level::Wrong, Some(Remedy::Redis(commands))) = (finding.level, &finding.remedy)
            {
                commands.iter().for_each(|command| self.redis(command));
            }
        }
    }

    /// Lists what is not ok, with the names of this world.
    fn told(&self, report: &Report) -> Vec<String> {
        let told = report.findings.iter().filter(|finding| finding.level > Level::Ok);
        told.map(|finding| {
            let mut text = format!("{}: {}", finding.kind, finding.what);
            for (name, id) in &self.names {
                text = text.replace(id, name);
            }
            text
        })
        .collect()
    }
}

/// Breaks a fresh world, sees that just these kinds are named, mends it, sees that it is well.
async fn named_and_mended(cases: &[(&str, &[&str])]) {
    for (commands, kinds) in cases {
        let ward = match commands.contains("@i") {
            true => Ward::with_a_follower().await,
            false => Ward::new().await,
        };
        ward.break_by(commands);
        let report = ward.examine().await;
        let found: BTreeSet<&str> = report.wrongs().map(|finding| finding.kind).collect();
        let expected: BTreeSet<&str> = kinds.iter().copied().collect();
        assert_eq!(found, expected, "after {commands}: {:#?}", ward.told(&report));
        assert!(
            report.wrongs().all(|finding| finding.remedy.is_some()),
            "{:#?}",
            ward.told(&report)
        );
        let mut last = report;
        // What a first remedy uncovers takes a second look.
        for _ in 0..2 {
            ward.mend(&last);
            ward.sweep().await;
            last = ward.examine().await;
        }
        let left: Vec<_> = last.wrongs().collect();
        assert!(left.is_empty(), "mended after {commands}, and still: {left:#?}");
    }
}

#[tokio::test]
async fn a_running_job_that_lacks_its_lease_or_its_slot_or_stands_in_line_is_named_and_mended() {
    named_and_mended(&[
        ("ZREM ~lease:default @a", &["no lease", "idle"]),
        ("ZADD ~lease:default 1 @a", &["lease long passed"]),
        ("SREM ~live:@s1 @a", &["uncounted"]),
        ("ZADD ~queue:default:normal 1 @a", &["in line wrongly"]),
        ("ZADD ~delayed:default 99999999999999 @a", &["due wrongly"]),
        ("ZREM ~active:@s1 @a", &["not active"]),
        ("EXPIRE ~job:@a 100", &["will vanish"]),
    ])
    .await;
}

#[tokio::test]
async fn a_last_frame_that_leads_nowhere_is_named_and_mended() {
    named_and_mended(&[
        ("HSET ~last:@s2 builtin garbage", &["last frame"]),
        ("COPY ~last:@s2 ~last:@s1", &["last frame"]),
        ("DEL ~job:@e", &["last frame"]),
    ])
    .await;
}

#[tokio::test]
async fn followers_that_nobody_will_give_frames_are_named_and_mended() {
    named_and_mended(&[
        ("ZREM ~follow:print @i", &["queued nowhere"]),
        ("ZADD ~follow:print 1 @h; TYPE ~job:@i", &["queued twice"]),
        ("ZADD ~wait:default:normal:@s1 1 @i", &["queued twice", "not in the ledger"]),
        ("ZADD ~queue:default:normal 1 @i", &["in line wrongly"]),
        ("ZADD ~follow:print 1 @a; TYPE ~job:@i", &["wrong place"]),
        ("DEL ~leader:print; TYPE ~job:@i", &["follows nobody"]),
        ("SET ~leader:print @e; TYPE ~job:@i", &["follows nobody"]),
        ("SET ~leader:print @e; ZADD ~landed 1 print; TYPE ~job:@i", &["handed to nobody"]),
        ("EXPIRE ~leader:print 100; TYPE ~job:@i", &["lead will vanish"]),
        ("SET ~leader:other @f; TYPE ~job:@i", &["leads for ever"]),
    ])
    .await;
}

#[tokio::test]
async fn a_queued_job_that_is_nowhere_or_in_two_places_is_named_and_mended() {
    named_and_mended(&[
        ("ZREM ~wait:default:normal:@s1 @c", &["queued nowhere", "turn of nothing"]),
        ("ZREM ~delayed:default @d", &["queued nowhere"]),
        ("ZREM ~queue:default:normal @c", &["not in the ledger"]),
        ("ZADD ~wait:default:normal:@s1 1 @b", &["queued twice"]),
        ("ZADD ~delayed:default 99999999999999 @c", &["queued twice"]),
        ("ZADD ~lease:default 99999999999999 @c", &["lease of nothing"]),
        ("SADD ~live:@s2 @g", &["slot held"]),
        ("SREM ~live:@s1 @b", &["uncounted"]),
        ("ZADD ~ready:default:normal 1 @c", &["offered wrongly"]),
        ("ZREM ~out:default @b", &["queued nowhere", "slot held", "offered wrongly", "idle"]),
        ("ZREM ~ready:default:normal @b; ZADD ~out:default 1 @b", &["popped long ago"]),
        ("ZADD ~delayed:default 1 @d", &["retry overdue"]),
        ("ZADD ~deadline:default 1 @g", &["deadline overdue"]),
        ("ZREM ~deadline:default @g", &["no deadline"]),
        ("ZADD ~deadline:default 99999999999999 @c", &["due wrongly"]),
        ("ZADD ~queue:default:high 1 @c", &["wrong place"]),
    ])
    .await;
}

#[tokio::test]
async fn an_ended_job_that_is_still_somewhere_and_a_job_without_record_are_named_and_mended() {
    named_and_mended(&[
        ("SADD ~live:@s2 @e", &["slot held"]),
        ("ZADD ~lease:default 99999999999999 @f", &["lease of nothing"]),
        ("ZADD ~wait:default:normal:@s2 1 @e", &["in line wrongly"]),
        ("ZADD ~active:@s2 1 @e", &["active wrongly"]),
        ("ZADD ~dead 1 @e", &["letter wrongly"]),
        ("PERSIST ~job:@e", &["stays for ever"]),
        ("DEL ~job:@c", &["no record"]),
        ("DEL ~job:@a", &["no record"]),
    ])
    .await;
}

#[tokio::test]
async fn lines_turns_and_streams_that_disagree_are_named_and_mended() {
    named_and_mended(&[
        ("ZREM ~turn:default:normal @s2", &["no turn"]),
        ("SADD ~held:@s2 default:normal", &["turn and held"]),
        ("ZREM ~turn:default:normal @s2; SADD ~held:@s2 default:normal", &["held for nothing"]),
        ("ZADD ~turn:default:low 1 @s2", &["turn of nothing"]),
        ("ZADD ~turn:default:low 1 ses_c0_nobody", &["turn of nothing"]),
        ("SADD ~held:@s2 default:low", &["held of nothing"]),
        ("HSET ~streamhead:@s2 n 99", &["stream"]),
    ])
    .await;
}

#[tokio::test]
async fn caps_that_were_changed_by_hand_and_hold_nobody_or_the_wrong_ones_are_named_and_mended() {
    named_and_mended(&[
        (
            "ZREM ~turn:default:normal @s1; SADD ~held:@s1 default:normal; \
             HSET ~config session_cap 9",
            &["held for nothing"],
        ),
        (
            "HSET ~config session_cap 0; ZREM ~turn:default:normal @s2; \
             SADD ~held:@s2 default:normal",
            &["pause of nobody"],
        ),
        ("HSET ~config session_cap:acme 1", &["overrides"]),
        ("HSET ~config overrides 2", &["overrides"]),
    ])
    .await;
}

#[tokio::test]
async fn a_lower_or_paused_cap_of_one_tenant_is_noted_of_its_own_sessions_alone() {
    let ward = Ward::new().await;
    ward.break_by("HSET ~session:@s2 tenant acme");
    let acme = Capped::SessionOf("acme".parse().unwrap());
    ward.world.store.set_cap(&acme, Some(0)).await.unwrap();
    // A slot becomes free, and the paused session is found at its cap.
    ward.world.slots(5).await;
    let report = ward.examine().await;
    assert_eq!(
        ward.told(&report),
        ["paused: 1 job waits in default:normal of @s2, which is paused: its cap is 0"]
    );
    assert!(report.is_healthy());
}

#[tokio::test]
async fn pools_with_wrong_counts_ghosts_and_keys_of_a_wrong_type_are_named_and_mended() {
    named_and_mended(&[
        ("HSET ~pool:default capacity 5", &["capacity", "idle"]),
        (
            "HSET ~slots:default w-ghost 1; HSET ~pool:default capacity 3",
            &["capacity", "ghost", "idle"],
        ),
        ("HSET ~pool:default swept_at 1", &["unswept"]),
        ("SET ~lease:other x", &["wrong type"]),
        ("HSET ~guard:openai v 3 state {", &["guard"]),
        ("SET ~guard:openai x", &["wrong type"]),
    ])
    .await;
}

#[tokio::test]
async fn jobs_without_any_living_worker_are_wrong_and_a_pause_is_only_noted() {
    let ward = Ward::new().await;
    ward.break_by("HSET ~pool:default cap 0");
    let report = ward.examine().await;
    assert!(report.is_healthy(), "{:?}", ward.told(&report));
    assert!(ward.told(&report).iter().any(|it| it.contains("is paused: its cap is 0")));

    ward.world.slots(0).await;
    let report = ward.examine().await;
    let wrongs: Vec<_> = report.wrongs().map(|finding| &*finding.what).collect();
    assert_eq!(wrongs, ["pool default has 5 unfinished jobs and no living worker"]);
}

#[tokio::test]
async fn what_may_be_meant_so_is_noted_and_not_wrong() {
    let ward = Ward::new().await;
    ward.break_by(
        "SET ~weather rain; SET fw:{c8}:job:x y; HSET ~config session_cap 1; DEL ~job:@f",
    );
    let report = ward.examine().await;
    let kinds: BTreeSet<_> = report
        .findings
        .iter()
        .filter(|finding| finding.level == Level::Note)
        .map(|finding| finding.kind)
        .collect();
    let expected = ["unknown key", "strange cell", "session over its cap", "letters alone"];
    assert_eq!(kinds, BTreeSet::from(expected), "{:?}", ward.told(&report));
    assert!(report.is_healthy());
}

#[tokio::test]
async fn a_provider_that_is_closed_off_is_noted_with_the_reason() {
    let ward = Ward::new().await;
    let options = GuardOptions::paid();
    let refused = Failure::new(ErrorCode::AuthError, "not available").detail("401 invalid_api_key");
    let outcome = Outcome::Failed { failure: refused, took: Duration::from_secs(1) };
    let step = |state: &mut GuardState, now| {
        state.acquire(&options, "w", Purpose::Job, now).unwrap();
        state.settle(&options, "w", &outcome, now);
    };
    ward.world.store.step_guard("openai", step).await.unwrap();
    let report = ward.examine().await;
    let told = ward.told(&report);
    let reason = "it refuses our credentials: AUTH_ERROR 401 invalid_api_key";
    assert!(report.is_healthy() && told.len() == 1, "{told:?}");
    assert!(told[0].starts_with("guard: provider openai is closed off (open for "), "{told:?}");
    assert!(told[0].ends_with(reason), "{told:?}");
}

#[tokio::test]
async fn a_state_that_nobody_knows_is_named() {
    let ward = Ward::new().await;
    ward.break_by("HSET ~job:@c state dreaming");
    let report = ward.examine().await;
    let told = ward.told(&report);
    assert!(
        told.contains(&"unknown state: @c has the unknown state \"dreaming\"".to_owned()),
        "{told:?}"
    );
}

#[tokio::test]
async fn of_many_broken_jobs_a_few_are_told_the_rest_counted_and_bounds_are_owned_to() {
    let ward = Ward::new().await;
    for n in 0..30 {
        ward.break_by(&format!("ZADD ~lease:default 99999999999999 job_c0_{n:032}"));
    }
    let report = ward.examine().await;
    let told = report.wrongs().filter(|finding| finding.kind == "no record").count() as u64;
    assert_eq!((told, report.unlisted["no record"]), (EXAMPLES_MAX, 30 - EXAMPLES_MAX));
    assert_eq!(report.wrong_count(), 30);

    let bounds = Bounds { members: 10, looks: 12, keys: 1_000_000 };
    let report = ward.world.store.examine(bounds).await.unwrap();
    let told = ward.told(&report);
    for words in ["looked at 10 members of fw:{c0}:lease:default only", "looked at 12 jobs only"] {
        assert!(told.iter().any(|it| it.contains(words)), "{words} is missing in {told:#?}");
    }
    assert_eq!(report.jobs, 12);
}

/// Submits, claims, renews, fails, releases, cancels and completes until told to stop.
async fn toil(world: &World, sessions: &[SessionId], seed: u64, stop: &AtomicBool) {
    let mut turn = seed;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let job = world.submit(&sessions[turn as usize % sessions.len()]).await;
        if turn.is_multiple_of(7) {
            world.store.cancel(&job, "user").await.unwrap();
        }
        let Some(popped) = world.pop() else { continue };
        let Some((lease, _)) = world.claim(&popped).await else {
            continue;
        };
        let busy = Failure::new(ErrorCode::Temporary, "busy");
        match turn % 5 {
            0 => drop(world.store.fail(&lease, &busy, Some(Duration::from_millis(20))).await),
            // Gone while the doctor holds its name: a look must not take its own memory for Redis'.
            // (Another's cancellation may have come first.)
            1 => {
                if world.store.fail(&lease, &busy, None).await.unwrap() == Failed::Failed {
                    let gone = world.store.purge_dead(&popped, Duration::ZERO).await;
                    assert_eq!(gone.unwrap(), Purged::Purged);
                }
            }
            2 => drop(world.store.release(&lease).await),
            _ => finish_or_cancel(world, &lease).await,
        }
        if turn.is_multiple_of(3) {
            world.store.sweep_now(Cell::FIRST, &world.pool).await.unwrap();
        }
    }
}

/// Brings a claimed job to its end, whoever cancels it on the way.
async fn finish_or_cancel(world: &World, lease: &Lease) {
    for stage in [State::Generating, State::Uploading] {
        if world.store.advance(lease, stage).await.unwrap() == Noted::Cancel {
            let answer = world.store.cancelled_by_worker(lease).await.unwrap();
            assert_eq!(answer, Cancel::Cancelled);
            return;
        }
    }
    let (frames, zero) = ([artifact(lease)], Duration::ZERO);
    let answer = world.store.complete(lease, &frames, zero, zero).await.unwrap();
    assert_eq!(answer, Completed::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_busy_system_that_is_well_gives_no_finding() {
    let world = World::new();
    world.slots(4).await;
    let sessions: Vec<_> = (0..6).map(|_| session()).collect();
    world.store.sweep(Cell::FIRST, &world.pool).await.unwrap();
    let stop = AtomicBool::new(false);
    let look = async {
        let mut jobs = 0;
        for _ in 0..25 {
            let report = world.store.examine(Bounds::default()).await.unwrap();
            let told: Vec<_> = report.findings.iter().filter(|it| it.level > Level::Ok).collect();
            assert!(told.is_empty(), "{told:#?}");
            jobs = jobs.max(report.jobs);
            world.store.sweep(Cell::FIRST, &world.pool).await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        jobs
    };
    let (jobs, (), (), ()) = tokio::join!(
        look,
        toil(&world, &sessions, 0, &stop),
        toil(&world, &sessions, 1_000, &stop),
        toil(&world, &sessions, 2_000, &stop),
    );
    assert!(jobs > 50, "it was not busy: {jobs} jobs");
}

#[tokio::test]
async fn an_empty_redis_is_healthy_and_one_that_is_away_cannot_be_looked_at() {
    let mut world = World::new();
    let report = world.store.examine(Bounds::default()).await.unwrap();
    assert!(report.is_healthy());
    world.redis.kill();
    assert!(world.store.examine(Bounds::default()).await.is_err());
}
