//! Permits, probes and closed pools, with a provider that hangs, throttles and recovers on demand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use framewire_shared::domain::guard::options::{BudgetOptions, TimeoutOptions};
use framewire_shared::domain::guard::{Outcome, Phase, Purpose};
use framewire_shared::domain::{
    Cell, ErrorCode, Failure, FrameInput, GuardOptions, GuardState, JobId, Pool, State,
};
use framewire_shared::store::Store;
use framewire_shared::testing::{submission, until};
use framewire_worker::guard::Guard;
use framewire_worker::lease_keeper::StopReason;
use framewire_worker::provider::{Picture, Update};
use framewire_worker::pump::Pump;
use framewire_worker::routes::{Outlook, Routes};
use framewire_worker::runner::Settled;
use framewire_worker::upkeep::heart::Heart;
use framewire_worker::upkeep::prober::{Probed, Prober};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{Act, Scripted, World, frame, png};

const LONG: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Calls that time out quickly, by the real clock; all else goes by Redis'.
fn options() -> GuardOptions {
    let (floor, margin) = (Duration::from_millis(50), Duration::ZERO);
    GuardOptions {
        timeout: TimeoutOptions { floor, ceiling: floor, margin },
        concurrency: 8,
        ..GuardOptions::local()
    }
}

fn patient() -> GuardOptions {
    GuardOptions { concurrency: 8, ..GuardOptions::local() }
}

fn routes(world: &World, provider: &Arc<Scripted>, options: GuardOptions) -> Arc<Routes> {
    let mut routes = Routes::default();
    routes.add(&world.store, world.pool.clone(), provider.clone(), Some(options));
    Arc::new(routes)
}

async fn known(world: &World) -> GuardState {
    world.store.guard("scripted").await.unwrap().0
}

/// Runs one job with the pass that its pool's routes give.
async fn attempt(world: &World, routes: &Routes) -> Settled {
    let (job, claimed) = world.claimed(1).await;
    let passes = routes.passes(std::slice::from_ref(&world.pool)).await.unwrap();
    let pass = passes.take(&world.pool).expect("a pass");
    world.runner(LONG).run(job, claimed, pass).await
}

async fn is_closed(world: &World, routes: &Routes) -> bool {
    routes.passes(std::slice::from_ref(&world.pool)).await.unwrap().is_empty()
}

/// Opens the breaker by three timeouts in a row.
pub(crate) async fn break_it(store: &Store, provider: &str, options: &GuardOptions) {
    let outcome = Outcome::Failed {
        failure: Failure::new(ErrorCode::Timeout, "too slow"),
        took: Duration::from_secs(90),
    };
    let step = |state: &mut GuardState, now| {
        for holder in ["a", "b", "c"] {
            state.acquire(options, holder, Purpose::Job, now).unwrap();
            state.settle(options, holder, &outcome, now);
        }
    };
    let phase = store.step_guard(provider, step).await.unwrap().after.breaker.phase;
    assert_eq!(phase, Phase::Open);
}

fn slow_down(seconds: u64) -> Failure {
    Failure::new(ErrorCode::RateLimit, "slow down").after(Duration::from_secs(seconds))
}

#[tokio::test]
async fn a_provider_that_sleeps_past_its_timeout_or_talks_past_it_is_aborted_on_time() {
    for act in [Act::Hang, Act::Chatter] {
        let world = World::new();
        let provider = Scripted::new([vec![act]]);
        let routes = routes(&world, &provider, options());
        let began_at = Instant::now();
        assert_eq!(attempt(&world, &routes).await, Settled::Retrying);
        assert_eq!(provider.ended.load(Ordering::SeqCst), 1, "the call goes on");
        // The timeout, the second that a provider has to stop, and a slow machine's own.
        assert!(began_at.elapsed() < Duration::from_secs(8), "{:?}", began_at.elapsed());
        let state = known(&world).await;
        assert_eq!((state.window.len(), state.breaker.timeouts_in_row), (1, 1));
        assert!(state.running.is_empty());
    }
}

#[tokio::test]
async fn three_timeouts_in_a_row_close_a_provider_off_and_three_probes_bring_it_back() {
    let world = World::with_clock();
    let well = || vec![frame(0)];
    let hang = || vec![Act::Hang];
    let provider = Scripted::new([hang(), hang(), hang(), well(), well(), well(), well()]);
    let quick = routes(&world, &provider, options());
    for _ in 0..3 {
        assert!(!is_closed(&world, &quick).await);
        attempt(&world, &quick).await;
    }
    let routes = routes(&world, &provider, patient());
    assert!(is_closed(&world, &routes).await);
    let outlook = routes.outlook(&world.pool).await.unwrap();
    assert_eq!(outlook, Outlook::Closed(3 * MINUTE));

    let events = world.events().await;
    let probers = [(); 2].map(|()| Prober { routes: routes.clone() });
    let (one, none) = (Probed { succeeded: 1, failed: 0 }, Probed::default());
    assert_eq!(probers[0].tick().await.unwrap(), none, "a probe before the rest is over");
    for minute in 1..=3 {
        world.at(minute * MINUTE);
        assert!(is_closed(&world, &routes).await);
        assert_eq!(probers[minute as usize % 2].tick().await.unwrap(), one);
        assert_eq!(probers[0].tick().await.unwrap(), none, "two probes in a minute");
    }
    assert_eq!(known(&world).await.breaker.phase, Phase::Closed);
    assert_eq!(world.events().await, events, "a probe is no job");
    let stored = std::fs::read_dir(world.folder.path().join("artifacts")).unwrap().count();
    assert_eq!(stored, 0, "a probe's picture was stored");
    assert_eq!(attempt(&world, &routes).await, Settled::Completed);
}

#[tokio::test]
async fn a_probe_that_hangs_or_draws_nonsense_leaves_the_provider_closed_off() {
    let garbage = Picture { media_type: png(8, 8).media_type, bytes: "<html>busy".into() };
    let nonsense = Act::Yield(Update::Frame { index: 0, seed: 1, picture: garbage });
    for acts in [vec![Act::Hang], vec![nonsense], vec![]] {
        let world = World::with_clock();
        let provider = Scripted::new([acts]);
        let routes = routes(&world, &provider, options());
        break_it(&world.store, "scripted", &options()).await;
        world.at(MINUTE);
        let probed = Prober { routes: routes.clone() }.tick().await.unwrap();
        assert_eq!(probed, Probed { succeeded: 0, failed: 1 });
        assert_eq!(provider.ended.load(Ordering::SeqCst), 1, "the probe goes on");
        let breaker = known(&world).await.breaker;
        assert_eq!(breaker.phase, Phase::Open);
        assert!(breaker.reason.starts_with("a probe failed: "), "{}", breaker.reason);
    }
}

#[tokio::test]
async fn two_workers_respect_one_budget() {
    let world = World::with_clock();
    let budget = Some(BudgetOptions { capacity: 5, every: MINUTE });
    let options = GuardOptions { budget, concurrency: 100, ..options() };
    let provider = Scripted::new([]);
    let workers = [(); 2].map(|()| routes(&world, &provider, options.clone()));
    let mut held = Vec::new();
    for turn in 0..12 {
        let pools = std::slice::from_ref(&world.pool);
        let passes = workers[turn % 2].passes(pools).await.unwrap();
        held.extend(passes.take(&world.pool));
    }
    assert_eq!(held.len(), 5);
    // What was popped for nothing costs nothing.
    held.pop();
    for worker in &workers {
        worker.returned().await;
    }
    assert_eq!(known(&world).await.budget.tokens, 1);
}

#[tokio::test]
async fn a_pass_frees_its_place_however_it_ends_and_its_token_only_without_a_call() {
    let world = World::new();
    let options = GuardOptions { concurrency: 1, ..GuardOptions::paid() };
    let routes = routes(&world, &Scripted::new([]), options);
    let pools = std::slice::from_ref(&world.pool);
    for (begins, tokens) in [(false, 5), (true, 4), (false, 4), (true, 3)] {
        let passes = routes.passes(pools).await.unwrap();
        let mut pass = passes.take(&world.pool).expect("a pass");
        assert!(is_closed(&world, &routes).await, "two at a time");
        if begins {
            pass.begin("job", LONG);
        }
        drop(pass);
        routes.returned().await;
        let state = known(&world).await;
        assert_eq!((state.budget.tokens, state.running.len()), (tokens, 0));
        assert!(state.window.is_empty());
    }
}

#[tokio::test]
async fn a_question_given_up_midway_holds_nothing() {
    let world = World::new();
    let guard = Guard::new(world.store.clone(), "scripted", GuardOptions::paid(), Arc::default());
    let mut granted = 0;
    for step in 0..60_u64 {
        let asking = guard.acquire(Purpose::Job);
        let answer = tokio::time::timeout(Duration::from_micros(step * 40), asking).await;
        granted += u32::from(answer.is_ok());
        drop(answer);
        guard.returned().await;
        let state = known(&world).await;
        assert!(state.running.is_empty(), "given up after {step} steps: {state:?}");
    }
    assert!(granted < 60, "none was given up");
    assert!(matches!(known(&world).await.budget.tokens, 0 | 5), "a token was lost");
}

#[tokio::test]
async fn what_a_user_or_a_drain_stopped_counts_neither_way_and_is_paid_for() {
    for reason in [StopReason::Cancel, StopReason::Drain, StopReason::Lost] {
        let world = World::new();
        let provider = Scripted::new([vec![Act::Hang]]);
        let routes = routes(&world, &provider, GuardOptions::paid());
        let stop = async {
            until("the call", async || (provider.calls.load(Ordering::SeqCst) == 1).then_some(()))
                .await;
            world.keeper.stop_all(reason);
        };
        tokio::join!(attempt(&world, &routes), stop);
        routes.returned().await;
        let state = known(&world).await;
        assert!(state.window.is_empty() && state.running.is_empty(), "{reason:?}: {state:?}");
        assert_eq!(state.budget.tokens, 4, "{reason:?}");
    }
}

#[tokio::test]
async fn an_outcome_that_redis_could_not_hear_is_told_when_it_is_back() {
    let mut world = World::new();
    let provider = Scripted::new([]);
    let routes = routes(&world, &provider, patient());
    let passes = routes.passes(std::slice::from_ref(&world.pool)).await.unwrap();
    let mut pass = passes.take(&world.pool).expect("a pass");
    pass.begin("job", LONG);
    world.redis.kill();
    pass.failed(&Failure::new(ErrorCode::Timeout, "too slow")).await;
    world.redis.restart();
    routes.returned().await;
    let state = known(&world).await;
    assert_eq!((state.window.len(), state.running.len()), (1, 0));
}

#[tokio::test]
async fn the_next_provider_of_a_pool_draws_while_the_first_is_closed_off() {
    let world = World::with_clock();
    let (first, second) = (Scripted::named("first", []), Scripted::named("second", []));
    let mut routes = Routes::default();
    for provider in [&first, &second] {
        routes.add(&world.store, world.pool.clone(), provider.clone(), Some(patient()));
    }
    let granted = async || {
        let passes = routes.passes(std::slice::from_ref(&world.pool)).await.unwrap();
        passes.take(&world.pool).map(|pass| pass.provider.name().to_owned())
    };
    assert_eq!(granted().await.as_deref(), Some("first"));
    break_it(&world.store, "first", &patient()).await;
    assert_eq!(granted().await.as_deref(), Some("second"));
    let outlook = routes.outlook(&world.pool).await.unwrap();
    assert_eq!(outlook, Outlook::Open(Some(8)));
    break_it(&world.store, "second", &patient()).await;
    assert_eq!(granted().await, None);
    let outlook = routes.outlook(&world.pool).await.unwrap();
    assert_eq!(outlook, Outlook::Closed(3 * MINUTE));
}

#[tokio::test]
async fn a_throttled_provider_is_left_alone_and_its_pool_admits_nothing_until_then() {
    let world = World::with_clock();
    let provider = Scripted::new([vec![Act::Fail(slow_down(30))], vec![frame(0)]]);
    let routes = routes(&world, &provider, patient());
    let heart = Heart {
        cell: Cell::FIRST,
        store: world.store.clone(),
        worker: world.worker.clone(),
        pools: vec![world.pool.clone()],
        routes: routes.clone(),
        slots: 2,
    };
    assert_eq!(attempt(&world, &routes).await, Settled::Retrying);
    assert!(is_closed(&world, &routes).await);
    heart.tick().await.unwrap();
    let closed = async || world.store.closed(Cell::FIRST, &world.pool, None).await.unwrap();
    assert_eq!(closed().await, Some(Duration::from_secs(30)));
    let job = world.submit(1).await;
    let mut popper = world.store.popper(Cell::FIRST, std::slice::from_ref(&world.pool));
    assert_eq!(popper.pop().await.unwrap(), None, "admitted for a provider that may not be asked");
    world.at(Duration::from_secs(30));
    heart.tick().await.unwrap();
    assert_eq!(closed().await, None);
    assert_eq!(popper.pop().await.unwrap().map(|hint| hint.job), Some(job));
    assert_eq!(known(&world).await.breaker.phase, Phase::Closed);
}

#[tokio::test]
async fn a_guard_that_cannot_be_read_closes_off_its_own_provider_and_no_other() {
    let world = World::new();
    let (torn, sound) = (Scripted::named("torn", []), Scripted::named("sound", []));
    let mut routes = Routes::default();
    for provider in [&torn, &sound] {
        routes.add(&world.store, world.pool.clone(), provider.clone(), Some(patient()));
    }
    world.redis.command(&["HSET", "fw:{c0}:guard:torn", "v", "9", "state", "{"]);
    let passes = routes.passes(std::slice::from_ref(&world.pool)).await.unwrap();
    assert_eq!(passes.take(&world.pool).expect("a pass").provider.name(), "sound");
    assert_eq!(routes.outlook(&world.pool).await.unwrap(), Outlook::Open(Some(8)));
}

#[tokio::test]
async fn two_pools_of_one_provider_share_a_permit_and_keep_their_own_adapters() {
    let world = World::new();
    let other: Pool = "other".parse().unwrap();
    let adapters = [Scripted::named("one", []), Scripted::named("one", [])];
    let mut routes = Routes::default();
    for (pool, adapter) in [&world.pool, &other].into_iter().zip(&adapters) {
        let options = Some(GuardOptions::local());
        routes.add(&world.store, pool.clone(), adapter.clone(), options);
    }
    let pools = [world.pool.clone(), other.clone()];
    let passes = routes.passes(&pools).await.unwrap();
    assert!(passes.opens(&world.pool) && passes.opens(&other));
    let pass = passes.take(&other).expect("a pass");
    assert!(std::ptr::addr_eq(Arc::as_ptr(&pass.provider), Arc::as_ptr(&adapters[1])));
    assert!(routes.passes(&pools).await.unwrap().is_empty(), "two calls at a time");
}

#[tokio::test]
async fn a_provider_without_a_guard_costs_no_call_to_redis() {
    let mut world = World::new();
    let mut routes = Routes::default();
    routes.add(&world.store, world.pool.clone(), Scripted::new([]), None);
    world.redis.kill();
    let passes = routes.passes(std::slice::from_ref(&world.pool)).await.unwrap();
    assert!(passes.opens(&world.pool) && passes.take(&world.pool).is_some());
    assert_eq!(routes.outlook(&world.pool).await.unwrap(), Outlook::Open(None));
}

/// A pump over these pools, with one slot.
fn pump(world: &World, routes: &Arc<Routes>, pools: &[Pool]) -> Pump {
    Pump {
        cell: Cell::FIRST,
        worker: world.worker.clone(),
        store: world.store.clone(),
        popper: world.store.popper(Cell::FIRST, pools),
        runner: Arc::new(world.runner(LONG)),
        pools: pools.to_vec(),
        routes: routes.clone(),
        slots: Arc::new(Semaphore::new(1)),
    }
}

async fn submit_to(world: &World, pool: &Pool) -> JobId {
    world.store.heartbeat(Cell::FIRST, pool, &world.worker, 1, HOUR).await.unwrap();
    let id = JobId::new(Cell::FIRST, Uuid::now_v7());
    let input = FrameInput { width: 64, height: 64, seed: Some(1), ..FrameInput::new("x") };
    let input = serde_json::to_string(&input).unwrap();
    world.store.submit(&submission(&id, &world.session, pool, &input)).await.unwrap();
    id
}

#[tokio::test]
async fn nothing_is_popped_from_a_pool_whose_provider_is_closed_off() {
    let world = World::with_clock();
    let guarded = Scripted::new([vec![frame(0)]]);
    let open = Scripted::named("open", [vec![frame(0)]]);
    let other: Pool = "other".parse().unwrap();
    let mut routes = Routes::default();
    routes.add(&world.store, world.pool.clone(), guarded.clone(), Some(patient()));
    routes.add(&world.store, other.clone(), open, None);
    let routes = Arc::new(routes);
    break_it(&world.store, "scripted", &patient()).await;
    // Admitted before anybody knew: it waits in the window.
    let (waits, runs) = (submit_to(&world, &world.pool).await, submit_to(&world, &other).await);
    let drain = CancellationToken::new();
    let pump = pump(&world, &routes, &[world.pool.clone(), other]);
    let pumping = tokio::spawn(pump.run(drain.clone()));
    let ends = async |job: &JobId| {
        until("its end", async || (world.job(job).await.state == State::Completed).then_some(()))
            .await;
    };
    ends(&runs).await;
    let job = world.job(&waits).await;
    assert_eq!((job.state, job.attempt_count), (State::Queued, 0));
    assert_eq!(guarded.calls.load(Ordering::SeqCst), 0);

    let close = |state: &mut GuardState, _| *state = GuardState::default();
    world.store.step_guard("scripted", close).await.unwrap();
    ends(&waits).await;
    drain.cancel();
    pumping.await.unwrap().join_all().await;
    routes.returned().await;
    let state = known(&world).await;
    assert_eq!((state.window.len(), state.running.len()), (1, 0));
}

#[tokio::test]
async fn a_poller_that_waits_for_a_busy_provider_goes_on_when_its_call_ends() {
    let world = World::new();
    let gate = Arc::new(Notify::new());
    let acts = [vec![Act::Wait(gate.clone()), frame(0)], vec![frame(0)]];
    let provider = Scripted::new(acts);
    let routes = routes(&world, &provider, GuardOptions::local());
    let jobs = [submit_to(&world, &world.pool).await, submit_to(&world, &world.pool).await];
    world.store.heartbeat(Cell::FIRST, &world.pool, &world.worker, 2, HOUR).await.unwrap();
    let drain = CancellationToken::new();
    let pump = Pump {
        slots: Arc::new(Semaphore::new(2)),
        ..pump(&world, &routes, std::slice::from_ref(&world.pool))
    };
    let pumping = tokio::spawn(pump.run(drain.clone()));
    until("the first call", async || (provider.calls.load(Ordering::SeqCst) == 1).then_some(()))
        .await;
    assert!(is_closed(&world, &routes).await, "two calls on one GPU");
    gate.notify_one();
    for job in &jobs {
        until("its end", async || (world.job(job).await.state == State::Completed).then_some(()))
            .await;
    }
    assert_eq!(provider.calls.load(Ordering::SeqCst), 2);
    drain.cancel();
    pumping.await.unwrap().join_all().await;
}
