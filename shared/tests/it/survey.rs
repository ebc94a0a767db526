//! How pools stand, as one look tells.

use std::time::Duration;

use framewire_shared::domain::{Cell, Priority};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::caps::Capped;
use framewire_shared::store::survey::{LineSurvey, PoolSurvey, Survey};

use crate::world::{World, session};

async fn look(world: &World) -> Survey {
    world.store.survey(Cell::FIRST).await.unwrap()
}

#[tokio::test]
async fn a_survey_tells_what_waits_runs_and_may_run_in_each_pool_and_changes_nothing() {
    let world = World::with_clock(QueueOptions::default());
    assert_eq!(look(&world).await, Survey::default());
    world.slots(2).await;
    world.store.set_cap(&Capped::Pool(world.pool.clone()), Some(7)).await.unwrap();
    for (at, priority) in [(0, Priority::Low), (1_000, Priority::Normal), (2_000, Priority::Normal)]
    {
        world.at(at);
        world.submit_as(&session(), priority).await;
    }
    // Low and normal are in the window; the first popped is normal.
    let lease = world.take().await.unwrap();
    world.at(5_000);
    let survey = look(&world).await;
    let [_, normal, low] = survey.pools["default"].lines;
    let oldest = |ms| Some(Duration::from_millis(ms));
    assert_eq!(normal, LineSurvey { queued: 1, window: 0, oldest: oldest(3_000) });
    assert_eq!(low, LineSurvey { queued: 1, window: 1, oldest: oldest(5_000) });
    let pool = PoolSurvey { lines: Default::default(), ..survey.pools["default"].clone() };
    let wanted =
        PoolSurvey { capacity: 2, cap: Some(7), running: 1, admitted: 1, ..PoolSurvey::default() };
    assert_eq!((pool, survey.dead), (wanted, 0));
    let fields = world.redis_cli(&["HGETALL", "fw:{c0}:pool:default"]);
    look(&world).await;
    assert_eq!(world.redis_cli(&["HGETALL", "fw:{c0}:pool:default"]), fields);
    world.finish(&lease).await;
    let its = look(&world).await.pools["default"].clone();
    assert_eq!((its.running, its.admitted, its.queued()), (0, 2, 2), "the next was not admitted");
}

#[tokio::test]
async fn a_survey_tells_for_how_long_a_pool_is_closed_off_and_how_many_letters_are_dead() {
    let world = World::with_clock(QueueOptions::default());
    let (wait, life) = (Duration::from_secs(90), Duration::from_secs(3_600));
    world
        .store
        .heartbeat_closed(Cell::FIRST, &world.pool, &world.worker, wait, life)
        .await
        .unwrap();
    world.at(30_000);
    let closed = look(&world).await.pools["default"].clone();
    assert_eq!((closed.capacity, closed.closed_for), (0, Duration::from_secs(60)));
    world.slots(1).await;
    world.submit(&session()).await;
    let lease = world.take().await.unwrap();
    let failure = framewire_shared::domain::Failure::new(
        framewire_shared::domain::ErrorCode::Permanent,
        "no",
    );
    world.store.fail(&lease, &failure, None).await.unwrap();
    assert_eq!(look(&world).await.dead, 1);
}

#[tokio::test]
async fn cells_add_up_but_for_slots_which_every_cell_counts_whole() {
    let pool = |running, cap, oldest| {
        let line = LineSurvey { queued: 2, window: 1, oldest };
        let pool = PoolSurvey { capacity: 4, cap, running, ..PoolSurvey::default() };
        let pool = PoolSurvey { lines: [line; 3], ..pool };
        Survey { dead: 1, pools: [("p".to_owned(), pool)].into() }
    };
    let mut all = Survey::default();
    all.add(&pool(1, Some(3), None));
    all.add(&pool(2, Some(2), Some(Duration::from_secs(9))));
    let its = &all.pools["p"];
    assert_eq!((all.dead, its.capacity, its.cap, its.running), (2, 4, Some(5), 3));
    assert_eq!((its.queued(), its.oldest()), (12, Some(Duration::from_secs(9))));
}
