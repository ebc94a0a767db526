//! No session starves another, no class starves another, no cap is exceeded, at the sizes that hurt.

use std::time::Duration;

use framewire_shared::domain::{Cell, ErrorCode, Failure, Priority, SessionId, Tenant};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::caps::Capped;

use crate::world::{World, session};

/// Runs whatever is next to its end, `n` times; gives whose it was.
async fn serve(world: &World, n: usize) -> Vec<SessionId> {
    let mut served = Vec::new();
    for second in 1..=n {
        world.at(second as u64 * 1_000);
        let lease = world.take().await.expect("something to run");
        served.push(world.store.owner(&lease.job).await.unwrap().unwrap());
        world.finish(&lease).await;
    }
    served
}

#[tokio::test]
async fn a_session_with_one_job_does_not_wait_behind_a_session_with_fifty() {
    let world = World::with_clock(QueueOptions::default());
    let (greedy, modest) = (session(), session());
    for _ in 0..50 {
        world.submit(&greedy).await;
    }
    world.submit(&modest).await;
    world.slots(1).await;
    let served = serve(&world, 3).await;
    assert!(served.contains(&modest), "{served:?}");
}

#[tokio::test]
async fn equal_sessions_take_turns() {
    let world = World::with_clock(QueueOptions::default());
    let sessions = [session(), session(), session()];
    for session in &sessions {
        for _ in 0..4 {
            world.submit(session).await;
        }
    }
    world.slots(1).await;
    let served = serve(&world, 12).await;
    for turn in served.chunks(3) {
        let mut once = turn.to_vec();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), 3, "{served:?}");
    }
}

#[tokio::test]
async fn one_low_job_is_served_within_twelve_admissions_of_an_endless_stream_of_high() {
    let world = World::with_clock(QueueOptions::default());
    let patient = session();
    world.submit_as(&patient, Priority::Low).await;
    for _ in 0..20 {
        world.submit_as(&session(), Priority::High).await;
    }
    world.slots(1).await;
    let served = serve(&world, 12).await;
    let place = served.iter().position(|served| *served == patient);
    assert!(
        place.is_some_and(|place| place > 0),
        "{place:?}: high goes first, low is not forgotten"
    );
}

#[tokio::test]
async fn an_urgent_job_passes_a_long_normal_queue() {
    let world = World::with_clock(QueueOptions::default());
    for _ in 0..30 {
        world.submit(&session()).await;
    }
    let urgent = session();
    world.submit_as(&urgent, Priority::High).await;
    world.slots(1).await;
    assert_eq!(serve(&world, 1).await, [urgent]);
}

#[tokio::test]
async fn a_session_never_runs_more_than_its_cap_and_the_slots_go_to_others() {
    let world = World::with_clock(QueueOptions::default());
    let (greedy, modest) = (session(), session());
    for _ in 0..10 {
        world.submit(&greedy).await;
    }
    world.submit(&modest).await;
    world.slots(8).await;
    let mut running = Vec::new();
    while let Some(lease) = world.take().await {
        running.push(world.store.owner(&lease.job).await.unwrap().unwrap());
    }
    assert_eq!(running.iter().filter(|who| **who == greedy).count(), 2, "{running:?}");
    assert_eq!(running.iter().filter(|who| **who == modest).count(), 1, "{running:?}");
}

#[tokio::test]
async fn a_lowered_cap_takes_effect_without_ending_what_runs() {
    let world = World::with_clock(QueueOptions::default());
    world.store.set_cap(&Capped::Session, Some(3)).await.unwrap();
    let mine = session();
    for _ in 0..6 {
        world.submit(&mine).await;
    }
    world.slots(8).await;
    let mut running = Vec::new();
    while let Some(lease) = world.take().await {
        running.push(lease);
    }
    assert_eq!(running.len(), 3);
    world.store.set_cap(&Capped::Session, Some(1)).await.unwrap();
    for lease in &running[..2] {
        world.finish(lease).await;
        assert!(world.pop().is_none(), "admitted beyond the new cap");
    }
    world.finish(&running[2]).await;
    assert!(world.pop().is_some(), "the line is stuck under the new cap");
}

/// Bounds under which one session may submit a thousand jobs.
fn roomy() -> QueueOptions {
    QueueOptions { session_max: 2_000, ..QueueOptions::default() }
}

#[tokio::test]
async fn twenty_sessions_with_five_jobs_each_are_served_before_a_thousand_of_one() {
    const MODEST: usize = 20;
    const EACH: usize = 5;
    const SLOTS: usize = 4;
    let world = World::with_clock(roomy());
    let greedy = session();
    world.slots(SLOTS as u32).await;
    for _ in 0..1_000 {
        world.submit(&greedy).await;
    }
    let modest: Vec<_> = (0..MODEST).map(|_| session()).collect();
    for session in &modest {
        for _ in 0..EACH {
            world.submit(session).await;
        }
    }
    // Each round serves every session once, the greedy one among them; what the slots took before all
    // the others had come goes first.
    let by_round = |round: usize| round * (MODEST + 1) + SLOTS;
    let served = serve(&world, by_round(EACH)).await;
    for session in &modest {
        let its = served.iter().enumerate().filter(|(_, served)| *served == session);
        let its: Vec<usize> = its.map(|(place, _)| place).collect();
        assert_eq!(its.len(), EACH, "{session} was served at {its:?} of {}", served.len());
        for (round, place) in its.iter().enumerate() {
            let by = by_round(round + 1);
            assert!(*place < by, "job {round} of {session} was served at {place}, not before {by}");
        }
    }
}

#[tokio::test]
async fn one_low_job_is_served_within_twelve_though_a_high_one_comes_for_each_that_goes() {
    let world = World::with_clock(roomy());
    world.slots(1).await;
    for _ in 0..50 {
        world.submit_as(&session(), Priority::High).await;
    }
    let patient = session();
    world.submit_as(&patient, Priority::Low).await;
    let mut served = Vec::new();
    while served.last() != Some(&patient) {
        served.extend(serve(&world, 1).await);
        world.submit_as(&session(), Priority::High).await;
        assert!(served.len() <= 12, "low is forgotten");
    }
    assert!(served.len() > 1, "low goes before high");
}

#[tokio::test]
async fn an_urgent_job_behind_a_thousand_low_ones_takes_the_next_free_slot() {
    let world = World::with_clock(roomy());
    world.slots(2).await;
    for _ in 0..100 {
        let session = session();
        for _ in 0..10 {
            world.submit_as(&session, Priority::Low).await;
        }
    }
    let running = [world.take().await.unwrap(), world.take().await.unwrap()];
    let urgent = world.submit_as(&session(), Priority::High).await;
    world.finish(&running[1]).await;
    assert_eq!(world.take().await.map(|lease| lease.job), Some(urgent));
}

/// Draws numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        // xorshift64: enough to mix steps.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn set(cap: &mut usize, jobs: usize) -> Option<usize> {
    *cap = jobs;
    Some(jobs)
}

/// Counts jobs admitted or running: of the pool, then of each session.
fn loads(redis: &mut redis::Connection, sessions: &[SessionId]) -> Vec<usize> {
    let mut ask = redis::pipe();
    ask.atomic();
    for kind in ["out", "lease"] {
        ask.cmd("ZCARD").arg(format!("fw:{{c0}}:{kind}:default"));
    }
    for session in sessions {
        ask.cmd("SCARD").arg(format!("fw:{{c0}}:live:{session}"));
    }
    let counts: Vec<usize> = ask.query(redis).unwrap();
    std::iter::once(counts[0] + counts[1]).chain(counts[2..].iter().copied()).collect()
}

#[tokio::test]
async fn through_thousands_of_random_steps_no_cap_is_exceeded_at_any_look() {
    const STEPS: usize = 4_000;
    let world = World::with_clock(roomy());
    let tenant: Tenant = "acme".parse().unwrap();
    let mut sessions = vec![world.store.create_session_for(&tenant).await.unwrap().id];
    sessions.extend((0..7).map(|_| session()));
    world.slots(12).await;
    let mut redis = world.redis.connection();
    let mut dice = Dice(0x5eed);
    let (mut running, mut submitted) = (Vec::new(), Vec::new());
    // Caps of the pool, of all sessions, and of the first one's tenant, where it has its own.
    let (mut pool_cap, mut session_cap, mut tenant_cap) = (12, 2, None);
    let mut before = vec![0; sessions.len() + 1];
    let mut full = 0;
    for step in 0..STEPS {
        world.at(step as u64 * 20);
        match dice.below(12) {
            0..=4 => {
                let priority = Priority::ALL[dice.below(3)];
                let whose = &sessions[dice.below(sessions.len())];
                submitted.push(world.submit_as(whose, priority).await);
            }
            5..=7 => running.extend(world.take().await),
            8 | 9 if !running.is_empty() => {
                // The sweep may have taken it for lost, or somebody cancelled it.
                let lease = running.swap_remove(dice.below(running.len()));
                let busy = Failure::new(ErrorCode::Temporary, "busy");
                let delay = (dice.below(2) == 0).then_some(Duration::from_millis(200));
                world.store.fail(&lease, &busy, delay).await.unwrap();
            }
            10 if !submitted.is_empty() => {
                let job = submitted.swap_remove(dice.below(submitted.len()));
                world.store.cancel(&job, "user").await.unwrap();
            }
            11 => {
                let of = match dice.below(3) {
                    0 => (Capped::Pool(world.pool.clone()), set(&mut pool_cap, dice.below(13))),
                    1 => (Capped::Session, set(&mut session_cap, dice.below(4))),
                    _ => {
                        tenant_cap = (dice.below(3) > 0).then(|| dice.below(6));
                        (Capped::SessionOf(tenant.clone()), tenant_cap)
                    }
                };
                world.store.set_cap(&of.0, of.1.map(|cap| cap as u32)).await.unwrap();
            }
            _ => drop(world.store.sweep_now(Cell::FIRST, &world.pool).await.unwrap()),
        }
        let now = loads(&mut redis, &sessions);
        let caps = [pool_cap, tenant_cap.unwrap_or(session_cap)];
        let allowed = caps.into_iter().chain(std::iter::repeat(session_cap));
        for (place, allowed) in (0..now.len()).zip(allowed) {
            // What runs above a lowered cap goes on, and nothing is added to it.
            let most = allowed.max(before[place]);
            assert!(
                now[place] <= most,
                "{now:?} at step {step} under {caps:?} {session_cap}, place {place}"
            );
        }
        full += usize::from(now[0] > 0 && now[0] == pool_cap);
        before = now;
    }
    assert!(full > STEPS / 20, "caps were hardly reached: {full} times");
}
