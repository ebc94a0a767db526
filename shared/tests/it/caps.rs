//! Caps change while everything runs: a raised one admits at once, a lowered one ends nothing.

use std::collections::BTreeMap;

use framewire_shared::domain::{Cell, Pool, SessionId, Tenant};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::caps::{Cap, Capped};
use framewire_shared::store::queue::Lease;

use crate::world::{World, session};

fn acme() -> Tenant {
    "acme".parse().unwrap()
}

fn pool() -> Capped {
    Capped::Pool("default".parse().unwrap())
}

/// A world with more slots than any cap, and a clock.
async fn world() -> World {
    let world = World::with_clock(QueueOptions::default());
    world.slots(50).await;
    world
}

async fn submit(world: &World, session: &SessionId, jobs: usize) {
    for _ in 0..jobs {
        world.submit(session).await;
    }
}

/// Pops and claims all that may run.
async fn take_all(world: &World) -> Vec<Lease> {
    let mut taken = Vec::new();
    while let Some(lease) = world.take().await {
        taken.push(lease);
    }
    taken
}

#[tokio::test]
async fn a_raised_session_cap_admits_what_it_had_held_at_once() {
    let world = world().await;
    let (mine, other) = (session(), session());
    for session in [&mine, &other] {
        submit(&world, session, 6).await;
    }
    assert_eq!(take_all(&world).await.len(), 4);
    assert_eq!(world.store.set_cap(&Capped::Session, Some(5)).await.unwrap(), None);
    assert_eq!(take_all(&world).await.len(), 6, "three more of each");
    assert_eq!(world.store.set_cap(&Capped::Session, None).await.unwrap(), Some(5));
    assert_eq!(take_all(&world).await.len(), 0);
}

#[tokio::test]
async fn a_tenants_cap_holds_for_its_sessions_alone_and_wins_over_that_of_all() {
    let world = world().await;
    let theirs = world.store.create_session_for(&acme()).await.unwrap().id;
    let public = world.store.create_session().await.unwrap().id;
    for session in [&theirs, &public] {
        submit(&world, session, 8).await;
    }
    assert_eq!(take_all(&world).await.len(), 4);
    let of_acme = Capped::SessionOf(acme());
    world.store.set_cap(&of_acme, Some(5)).await.unwrap();
    let more = take_all(&world).await;
    assert_eq!(more.len(), 3);
    for lease in &more {
        assert_eq!(world.store.owner(&lease.job).await.unwrap(), Some(theirs.clone()));
    }
    world.store.set_cap(&Capped::Session, Some(1)).await.unwrap();
    world.finish(&more[0]).await;
    let next = take_all(&world).await;
    assert_eq!(next.len(), 1, "the tenant's cap is not that of all");
    assert_eq!(world.store.owner(&next[0].job).await.unwrap(), Some(theirs));
    // Away again, that of all holds: one ends, and four too many still run.
    world.store.set_cap(&of_acme, None).await.unwrap();
    world.finish(&next[0]).await;
    assert_eq!(take_all(&world).await.len(), 0);
}

#[tokio::test]
async fn a_pause_lets_run_what_runs_and_admits_nothing_until_it_ends() {
    let world = world().await;
    // More than one call looks at, and one that has something running.
    let sessions: Vec<SessionId> = (0..450).map(|_| session()).collect();
    submit(&world, &sessions[0], 3).await;
    let running = take_all(&world).await;
    assert_eq!(running.len(), 2);
    world.store.set_cap(&Capped::Session, Some(0)).await.unwrap();
    for session in &sessions[1..] {
        submit(&world, session, 1).await;
    }
    for lease in &running {
        world.finish(lease).await;
    }
    assert!(world.pop().is_none(), "admitted in a pause");
    world.slots(1_000).await;
    world.store.set_cap(&Capped::Session, Some(1)).await.unwrap();
    assert_eq!(take_all(&world).await.len(), 450);
}

#[tokio::test]
async fn a_paused_tenant_waits_while_others_run_and_goes_on_when_its_cap_is_taken_away() {
    let world = world().await;
    let theirs = world.store.create_session_for(&acme()).await.unwrap().id;
    let of_acme = Capped::SessionOf(acme());
    world.store.set_cap(&of_acme, Some(0)).await.unwrap();
    submit(&world, &theirs, 2).await;
    submit(&world, &session(), 2).await;
    assert_eq!(take_all(&world).await.len(), 2);
    world.store.set_cap(&Capped::Session, Some(9)).await.unwrap();
    assert_eq!(take_all(&world).await.len(), 0, "another cap ended the pause");
    world.store.set_cap(&of_acme, None).await.unwrap();
    assert_eq!(take_all(&world).await.len(), 2);
}

#[tokio::test]
async fn a_pools_cap_admits_at_once_when_raised_and_ends_nothing_when_lowered() {
    let world = world().await;
    for _ in 0..10 {
        submit(&world, &session(), 1).await;
    }
    // All are admitted; the cap comes late and is kept from then on.
    world.store.set_cap(&pool(), Some(3)).await.unwrap();
    let running = take_all(&world).await;
    assert_eq!(running.len(), 10);
    for _ in 0..5 {
        submit(&world, &session(), 1).await;
    }
    for lease in &running[..7] {
        world.finish(lease).await;
        assert!(world.pop().is_none(), "admitted beyond the pool's cap");
    }
    world.finish(&running[7]).await;
    assert_eq!(take_all(&world).await.len(), 1);
    assert_eq!(world.store.set_cap(&pool(), Some(5)).await.unwrap(), Some(3));
    assert_eq!(take_all(&world).await.len(), 2);
    world.store.set_cap(&pool(), None).await.unwrap();
    assert_eq!(take_all(&world).await.len(), 2);
}

#[tokio::test]
async fn the_operators_caps_outlive_the_settings_and_give_way_to_them_when_taken_away() {
    let world = world().await;
    let name: Pool = "default".parse().unwrap();
    let pools = BTreeMap::from([(name, 4)]);
    world.store.set_cap(&Capped::Session, Some(7)).await.unwrap();
    world.store.set_cap(&pool(), Some(6)).await.unwrap();
    world.store.set_default_caps(Cell::FIRST, 3, &pools).await.unwrap();
    let caps = world.store.caps().await.unwrap();
    assert_eq!(
        [caps[&Capped::Session].value(), caps[&pool()].value()],
        [Some(7), Some(6)],
        "a gateway that starts overrules the operator"
    );
    submit(&world, &session(), 20).await;
    submit(&world, &session(), 1).await;
    let running = take_all(&world).await;
    assert_eq!(running.len(), 6);
    for of in [Capped::Session, pool()] {
        world.store.set_cap(&of, None).await.unwrap();
    }
    let caps = world.store.caps().await.unwrap();
    assert_eq!([caps[&Capped::Session].value(), caps[&pool()].value()], [Some(3), Some(4)]);
    for lease in &running[..2] {
        world.finish(lease).await;
        assert!(world.pop().is_none(), "the settings' cap of the pool is not kept");
    }
    world.finish(&running[2]).await;
    assert_eq!(take_all(&world).await.len(), 1, "the other session's: the first still runs three");
    world.store.set_default_caps(Cell::FIRST, 3, &BTreeMap::new()).await.unwrap();
    let caps = world.store.caps().await.unwrap();
    assert_eq!(caps[&pool()].value(), None, "the settings do not name it any more");
}

#[tokio::test]
async fn caps_are_listed_with_what_is_in_use_of_them() {
    let world = world().await;
    let theirs = world.store.create_session_for(&acme()).await.unwrap().id;
    submit(&world, &theirs, 3).await;
    submit(&world, &session(), 1).await;
    take_all(&world).await;
    world.store.set_cap(&Capped::SessionOf(acme()), Some(3)).await.unwrap();
    let caps = world.store.caps().await.unwrap();
    let cap = |operators, default, [jobs, sessions, busiest, slots]: [u64; 4]| Cap {
        operators,
        default,
        jobs,
        sessions,
        busiest,
        slots,
    };
    let expected = BTreeMap::from([
        (Capped::Session, cap(None, Some(2), [4, 2, 3, 0])),
        (Capped::SessionOf(acme()), cap(Some(3), None, [3, 1, 3, 0])),
        (Capped::SessionOf(Tenant::public()), cap(None, None, [1, 1, 1, 0])),
        (pool(), cap(None, None, [4, 0, 0, 50])),
    ]);
    assert_eq!(caps, expected);
}

#[tokio::test]
async fn no_session_is_asked_for_its_tenant_while_no_tenant_has_a_cap_of_its_own() {
    let world = world().await;
    let calls = || -> u64 {
        let info: String =
            redis::cmd("INFO").arg("commandstats").query(&mut world.redis.connection()).unwrap();
        let hget = info.split("cmdstat_hget:calls=").nth(1).and_then(|rest| rest.split(',').next());
        hget.map_or(0, |calls| calls.parse().unwrap())
    };
    submit(&world, &session(), 5).await;
    let before = calls();
    let mut ended = 0;
    while let Some(lease) = world.take().await {
        world.finish(&lease).await;
        ended += 1;
    }
    assert_eq!((ended, calls() - before), (5, 0));
    world.store.set_cap(&Capped::SessionOf(acme()), Some(1)).await.unwrap();
    let before = calls();
    submit(&world, &session(), 1).await;
    assert!(calls() > before, "nothing was counted");
}
