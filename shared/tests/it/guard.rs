//! One state per provider, shared by all workers: they agree, lose no step and own no clock.

use std::collections::HashMap;
use std::time::Duration;

use framewire_shared::domain::guard::options::BudgetOptions;
use framewire_shared::domain::guard::{Granted, Outcome, Purpose, Refused};
use framewire_shared::domain::{Cell, ErrorCode, Failure, GuardOptions, WorkerId};
use framewire_shared::store::{QueueOptions, Store, StoreError};
use uuid::Uuid;

use crate::world::{START_MS, World, session};

const PROVIDER: &str = "openai";

async fn acquire(store: &Store, options: &GuardOptions, holder: &str) -> Result<Granted, Refused> {
    let step = store
        .step_guard(PROVIDER, |state, now| state.acquire(options, holder, Purpose::Job, now))
        .await;
    step.unwrap().answer
}

async fn settle(store: &Store, options: &GuardOptions, holder: &str, outcome: &Outcome) {
    let step =
        store.step_guard(PROVIDER, |state, now| state.settle(options, holder, outcome, now)).await;
    step.unwrap();
}

fn fields(world: &World) -> HashMap<String, String> {
    let mut redis = world.redis.connection();
    redis::cmd("HGETALL").arg("fw:{c0}:guard:openai").query(&mut redis).unwrap()
}

#[tokio::test]
async fn two_workers_share_one_budget_to_the_last_token() {
    let world = World::with_clock(QueueOptions::default());
    let stores = [
        world.redis.store_with_clock(QueueOptions::default()),
        world.redis.store_with_clock(QueueOptions::default()),
    ];
    let budget = Some(BudgetOptions { capacity: 5, every: Duration::from_secs(60) });
    let options = GuardOptions { concurrency: 100, budget, ..GuardOptions::paid() };
    let rush = async |round: &str| {
        let asking = (0..16).map(|n| {
            let (store, options) = (&stores[n % 2], &options);
            let holder = format!("{round}{n}");
            async move { acquire(store, options, &holder).await.is_ok() }
        });
        futures::future::join_all(asking).await.into_iter().filter(|granted| *granted).count()
    };
    assert_eq!(rush("a").await, 5);
    world.at(59_999);
    assert_eq!(rush("b").await, 0);
    world.at(120_000);
    assert_eq!(rush("c").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_tasks_that_step_at_the_same_time_lose_no_step() {
    let world = World::new();
    let mut options = GuardOptions { concurrency: 200, ..GuardOptions::local() };
    options.breaker.window = 200;
    let tasks = (0..16).map(|task| {
        let (store, options) = (world.redis.store(), options.clone());
        tokio::spawn(async move {
            for n in 0..10 {
                let holder = format!("{task}-{n}");
                acquire(&store, &options, &holder).await.expect("a permit");
                let outcome = Outcome::Success { took: Duration::from_millis(n) };
                settle(&store, &options, &holder, &outcome).await;
            }
        })
    });
    futures::future::try_join_all(tasks).await.unwrap();
    let (state, _) = world.store.guard(PROVIDER).await.unwrap();
    assert_eq!((state.window.len(), state.running.len()), (160, 0));
    assert_eq!(fields(&world)["v"], "320");
}

#[tokio::test]
async fn a_refusal_and_a_second_settlement_write_nothing() {
    let world = World::new();
    let options = GuardOptions::local();
    acquire(&world.store, &options, "first").await.unwrap();
    acquire(&world.store, &options, "second").await.unwrap_err();
    assert_eq!(fields(&world)["v"], "1");
    for _ in 0..2 {
        settle(&world.store, &options, "first", &Outcome::Unsaid).await;
    }
    assert_eq!(fields(&world)["v"], "2");
}

#[tokio::test]
async fn an_operator_reads_with_redis_cli_why_a_provider_is_closed_off() {
    let world = World::with_clock(QueueOptions::default());
    let options = GuardOptions::paid();
    for holder in ["running", "a", "b"] {
        acquire(&world.store, &options, holder).await.unwrap();
    }
    let refused = Failure::new(ErrorCode::AuthError, "not available").detail("401 no such key");
    let busy = Failure::new(ErrorCode::RateLimit, "slow down").after(Duration::from_secs(30));
    for (holder, failure) in [("a", refused), ("b", busy)] {
        let outcome = Outcome::Failed { failure, took: Duration::from_secs(1) };
        settle(&world.store, &options, holder, &outcome).await;
    }
    let fields = fields(&world);
    let read = ["breaker", "reason", "tokens", "throttled_until", "running"].map(|it| &*fields[it]);
    let reason = "it refuses our credentials: AUTH_ERROR 401 no such key";
    let until = (START_MS + 30_000).to_string();
    assert_eq!(read, ["open", reason, "2", until.as_str(), "1"]);
    let mut redis = world.redis.connection();
    let life_ms: i64 = redis::cmd("PTTL").arg("fw:{c0}:guard:openai").query(&mut redis).unwrap();
    assert!(life_ms > 6 * 24 * 3_600_000, "{life_ms}");
}

#[tokio::test]
async fn a_guard_of_another_version_is_named_and_not_overwritten() {
    let world = World::new();
    let mut redis = world.redis.connection();
    let broken = r#"{"breaker":{"phase":"molten"}}"#;
    let () = redis::cmd("HSET")
        .arg(&["fw:{c0}:guard:openai", "v", "7", "state", broken])
        .query(&mut redis)
        .unwrap();
    let error = world.store.guard(PROVIDER).await.unwrap_err();
    assert!(matches!(&error, StoreError::Garbled(text) if text.contains("molten")), "{error:?}");
    assert_eq!(fields(&world)["state"], broken);
}

#[tokio::test]
async fn a_pool_whose_providers_are_closed_off_admits_nothing_and_says_for_how_long() {
    let world = World::with_clock(QueueOptions::default());
    let mine = session();
    world.slots(1).await;
    // One job teaches the pool how long one takes.
    world.submit(&mine).await;
    let lease = world.take().await.unwrap();
    world.at(4_000);
    world.finish(&lease).await;
    let (minute, life) = (Duration::from_secs(60), Duration::from_secs(3_600));
    let (cell, pool, worker) = (Cell::FIRST, &world.pool, &world.worker);
    let close = async |worker: &WorkerId| {
        world.store.heartbeat_closed(cell, pool, worker, minute, life).await.unwrap()
    };
    assert_eq!(world.store.closed(cell, pool, None).await.unwrap(), None);

    assert_eq!(close(worker).await, 0);
    let job = world.submit(&mine).await;
    assert_eq!(world.pop(), None, "admitted for a provider that nobody may ask");
    assert_eq!(world.store.closed(cell, pool, None).await.unwrap(), Some(minute));
    let wait_ms = async || world.store.job(&job).await.unwrap().unwrap().wait_ms.unwrap();
    let stated = wait_ms().await;
    assert!((64_000..70_000).contains(&stated), "{stated}");
    world.at(34_000);
    assert_eq!(wait_ms().await, stated - 30_000);
    assert_eq!(world.store.sweep_now(cell, pool).await.unwrap().workers_gone, 0, "it lives");

    // Another worker, with a provider that is open, is enough.
    let other = WorkerId::new(Uuid::new_v4());
    assert_eq!(world.store.heartbeat(cell, pool, &other, 1, life).await.unwrap(), 1);
    assert_eq!(close(worker).await, 1);
    assert_eq!(world.store.closed(cell, pool, None).await.unwrap(), None);
    assert_eq!(world.pop(), Some(job));

    // Who leaves takes the promise along.
    world.store.heartbeat(cell, pool, &other, 0, life).await.unwrap();
    close(worker).await;
    assert!(world.store.closed(cell, pool, None).await.unwrap().is_some());
    world.slots(0).await;
    assert_eq!(world.store.closed(cell, pool, None).await.unwrap(), None);
}
