//! Redis goes, comes back, forgets its scripts, or must not be used at all.

use framewire_shared::domain::{Cell, State};
use framewire_shared::store::StoreError;
use framewire_shared::store::operate::Unfit;
use framewire_shared::testing::until;

use crate::world::{World, session};

#[tokio::test]
async fn while_redis_is_away_calls_say_so_and_afterwards_nothing_is_lost() {
    let mut world = World::new();
    // With everysec a kill may lose what a slow disk has held up, and this is not about that.
    let always = ["SET", "appendfsync", "always"];
    let () = redis::cmd("CONFIG").arg(&always).query(&mut world.redis.connection()).unwrap();
    world.slots(1).await;
    let mine = session();
    let job = world.submit(&mine).await;
    world.redis.kill();
    let error = world.store.job(&job).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    world.redis.restart();
    let row = until("Redis", async || world.store.job(&job).await.ok()).await.expect("the job");
    assert_eq!(row.job.state, State::Queued);
    world.finish(&world.take().await.expect("still in the window")).await;
}

#[tokio::test]
async fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let world = World::new();
    world.slots(1).await;
    let job = world.submit(&session()).await;
    let () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut world.redis.connection()).unwrap();
    let lease = world.take().await.unwrap();
    assert_eq!(lease.job, job);
    world.finish(&lease).await;
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_with_the_remedy() {
    let world = World::new();
    world.store.check_fitness(Cell::FIRST).await.unwrap();
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory-policy", "allkeys-lru"])
        .query(&mut world.redis.connection())
        .unwrap();
    let unfit = world.store.check_fitness(Cell::FIRST).await.unwrap_err();
    assert!(matches!(unfit, Unfit::Evicts { .. }));
    assert!(unfit.to_string().contains("CONFIG SET maxmemory-policy noeviction"), "{unfit}");
}

#[tokio::test]
async fn a_full_redis_refuses_submits_whole_and_lets_running_work_be_seen() {
    let world = World::new();
    world.slots(1).await;
    let mine = session();
    world.submit(&mine).await;
    let lease = world.take().await.unwrap();
    let memory = |bytes: &str| {
        let () = redis::cmd("CONFIG")
            .arg(&["SET", "maxmemory", bytes])
            .query(&mut world.redis.connection())
            .unwrap();
    };
    memory("1mb");
    let input = framewire_shared::testing::prompt("x");
    let id = framewire_shared::domain::JobId::new(Cell::FIRST, uuid::Uuid::now_v7());
    let new = framewire_shared::testing::submission(&id, &mine, &world.pool, &input);
    let error = world.store.submit(&new).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert_eq!(world.store.job(&id).await.unwrap(), None, "a half-written job");
    memory("0");
    world.finish(&lease).await;
    assert_eq!(world.events(&mine).await, ["queued", "started", "frame-ready", "completed"]);
}
