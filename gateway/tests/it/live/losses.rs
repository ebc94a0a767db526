//! What pub/sub loses is not lost.

use std::process::Command;
use std::time::Duration;

use framewire_gateway::live::LiveOptions;
use framewire_shared::testing::until;

use super::world::{NEVER, World, key, quiet, session};

/// Options under which positions are checked all the time.
fn watchful() -> LiveOptions {
    LiveOptions { check: Duration::from_millis(20), recheck: Duration::from_millis(20), ..quiet() }
}

#[tokio::test]
async fn an_event_between_registration_and_read_arrives_once() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    world.append(&session, "queued", "j", 1);
    let cursor = world.head(&session).to_string();
    // The first reader tells when the second one's seat has heard the event too.
    let (mut witness, _) = gateway.join(&session, None).await;
    let mut reader = gateway.open(&session, Some(&cursor));
    let mut newcomer = gateway.open(&session, None);
    world.append(&session, "started", "j", 2);
    assert_eq!(witness.versions(1).await, [2]);

    let sync = reader.next().await;
    assert_eq!((sync.word("mode"), &sync.data["replay"]), ("resumed", &1.into()));
    let fresh = newcomer.next().await;
    assert_eq!(fresh.word("at"), world.head(&session).to_string());
    world.append(&session, "completed", "j", 3);
    assert_eq!(reader.versions(2).await, [2, 3]);
    assert_eq!(newcomer.versions(1).await, [3]);
}

#[tokio::test]
async fn a_lost_message_is_made_good_at_the_next_one() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut reader, _) = gateway.join(&session, None).await;
    world.append(&session, "queued", "j", 1);
    world.append_unheard(&session, "started", "j", 2);
    world.append_unheard(&session, "preview", "j", 3);
    world.append(&session, "completed", "j", 4);
    assert_eq!(reader.versions(4).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_stream_that_loses_its_place_all_the_time_ends_and_its_reader_misses_nothing() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut reader, _) = gateway.join(&session, None).await;
    let mut seen = Vec::new();
    for v in [2, 4, 6] {
        world.append_unheard(&session, "preview", "j", v - 1);
        world.append(&session, "preview", "j", v);
        seen.extend(reader.versions(2).await);
    }
    world.append_unheard(&session, "preview", "j", 7);
    world.append(&session, "preview", "j", 8);
    let bye = reader.next().await;
    assert_eq!((&*bye.event, bye.word("reason")), ("bye", "lagged"));
    let (mut reader, _) = gateway.join(&session, reader.cursor.as_deref()).await;
    seen.extend(reader.versions(2).await);
    assert_eq!(seen, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lost_last_message_is_found_by_the_position_check() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(watchful());
    let (mut reader, _) = gateway.join(&session, None).await;
    world.append(&session, "started", "j", 1);
    assert_eq!(reader.versions(1).await, [1]);
    world.append_unheard(&session, "completed", "j", 2);
    assert_eq!(reader.versions(1).await, [2]);
}

#[tokio::test]
async fn a_position_check_on_a_busy_stream_finds_nothing_wrong() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions {
        check: Duration::from_millis(1),
        recheck: Duration::from_millis(50),
        ..quiet()
    });
    let (mut reader, _) = gateway.join(&session, None).await;
    // Four rejoins within ten seconds would end the stream as lagged.
    for v in 1..=2_000 {
        world.append(&session, "preview", "j", v);
        assert_eq!(reader.versions(1).await, [v]);
    }
}

#[tokio::test]
async fn a_cut_pubsub_connection_under_a_stream_of_events_loses_none_and_doubles_none() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut reader, _) = gateway.join(&session, None).await;
    let mut seen = 0;
    for v in 1..=2_000 {
        world.append(&session, "preview", "j", v);
        if v % 450 == 0 {
            world.kill_pubsub();
        }
        // The reader is behind by up to a hundred, some before a cut and some after it.
        while v - seen >= 100 || v == 2_000 && seen < v {
            let frame = reader.next().await;
            assert!(frame.is_durable(), "{frame:?} after {seen}");
            seen += 1;
            assert_eq!(frame.v(), seen);
        }
    }
}

#[tokio::test]
async fn a_stream_that_was_rolled_back_is_reset_for_the_living_and_for_the_returning() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut living, _) = gateway.join(&session, None).await;
    for v in 1..=3 {
        world.append(&session, "preview", "j", v);
    }
    let saved = world.save(&session);
    for v in 4..=5 {
        world.append(&session, "preview", "j", v);
    }
    assert_eq!(living.versions(5).await, [1, 2, 3, 4, 5]);
    world.roll_back(&session, &saved);
    // The same numbers are given again to other events.
    for v in 104..=106 {
        world.append(&session, "preview", "j", v);
    }
    let reset = living.next().await;
    assert_eq!((reset.word("mode"), reset.word("cause")), ("reset", "unknown_lineage"));
    let (_, sync) = gateway.join(&session, Some(&lost_cursor(5))).await;
    assert_eq!(sync.word("mode"), "reset");
    // Whoever was no further than what survived has lost nothing.
    let (mut lucky, sync) = gateway.join(&session, Some(&saved.head.to_string())).await;
    assert_eq!(sync.word("mode"), "resumed");
    assert_eq!(lucky.versions(3).await, [104, 105, 106]);
}

fn lost_cursor(n: u64) -> String {
    format!("{n}-zzzzzzzz")
}

#[tokio::test]
async fn an_event_with_the_next_number_of_another_lineage_is_not_taken_for_the_next() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut reader, _) = gateway.join(&session, None).await;
    world.append(&session, "preview", "j", 1);
    let saved = world.save(&session);
    world.append(&session, "preview", "j", 2);
    assert_eq!(reader.versions(2).await, [1, 2]);
    world.roll_back(&session, &saved);
    world.append_unheard(&session, "preview", "j", 102);
    world.append(&session, "preview", "j", 103);
    let reset = reader.next().await;
    assert_eq!((reset.event.as_str(), reset.word("mode")), ("sync", "reset"));
}

#[tokio::test]
async fn a_roll_back_is_found_by_the_position_check_when_nothing_follows() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(watchful());
    let (mut reader, _) = gateway.join(&session, None).await;
    world.append(&session, "started", "j", 1);
    let saved = world.save(&session);
    world.append(&session, "completed", "j", 2);
    assert_eq!(reader.versions(2).await, [1, 2]);
    world.roll_back(&session, &saved);
    let reset = reader.next().await;
    assert_eq!((reset.event.as_str(), reset.word("mode")), ("sync", "reset"));
    assert_eq!(reset.word("at"), saved.head.to_string());
}

#[tokio::test]
async fn a_flushed_redis_resets_a_living_stream_which_goes_on() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut reader, _) = gateway.join(&session, None).await;
    for v in 1..=3 {
        world.append(&session, "preview", "j", v);
    }
    assert_eq!(reader.versions(3).await, [1, 2, 3]);
    world.run(&["FLUSHALL"]);
    world.append(&session, "queued", "k", 4);
    let reset = reader.next().await;
    assert_eq!((reset.event.as_str(), reset.word("mode")), ("sync", "reset"));
    world.append(&session, "started", "k", 5);
    assert_eq!(reader.versions(1).await, [5]);
}

#[tokio::test]
async fn an_evicted_list_resets_only_those_who_need_it() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut reader, _) = gateway.join(&session, None).await;
    world.append(&session, "preview", "j", 1);
    assert_eq!(reader.versions(1).await, [1]);
    world.append_unheard(&session, "preview", "j", 2);
    world.run(&["DEL", &key("stream", &session)]);
    world.append(&session, "preview", "j", 3);
    let reset = reader.next().await;
    assert_eq!((reset.word("mode"), reset.word("cause")), ("reset", "trimmed"));
}

#[tokio::test]
async fn a_connection_that_hears_nothing_is_dropped_and_the_pings_say_so_meanwhile() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions {
        ping: Duration::from_millis(30),
        probe_after: Duration::from_millis(100),
        probe_timeout: Duration::from_millis(200),
        ..quiet()
    });
    let (mut reader, _) = gateway.join(&session, None).await;
    signal(&world, "-STOP");
    // Redis is frozen: nothing answers, and no connection breaks.
    until("a ping that does not vouch", async || {
        let ping = reader.next().await;
        (ping.event == "ping" && ping.data["live"] == false).then_some(())
    })
    .await;
    signal(&world, "-CONT");
    world.append_unheard(&session, "completed", "j", 1);
    let mut events = Vec::new();
    until("the event, and a ping that vouches", async || {
        let frame = reader.next().await;
        events.extend(frame.is_durable().then(|| frame.v()));
        (frame.event == "ping" && frame.data["live"] == true).then_some(())
    })
    .await;
    assert_eq!(events, [1]);
}

fn signal(world: &World, signal: &str) {
    let pid = world.redis.pid().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn a_quiet_connection_answers_its_probes_and_is_kept() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions {
        probe_after: Duration::from_millis(10),
        probe_timeout: Duration::from_secs(5),
        ..quiet()
    });
    let (_reader, _) = gateway.join(&session, None).await;
    let before = pubsub_clients(&mut world);
    // Each probe is one PUBLISH; ten of them, and the connection is the same.
    until("ten probes", async || (world.calls("publish") >= 10).then_some(())).await;
    assert_eq!(pubsub_clients(&mut world), before);
}

/// Gives the ids of the clients that listen.
fn pubsub_clients(world: &mut World) -> Vec<String> {
    let list = world.run(&["CLIENT", "LIST", "TYPE", "pubsub"]).concat();
    let id = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    list.lines().map(id).collect()
}

#[tokio::test]
async fn a_redis_that_dies_and_comes_back_resumes_its_readers_without_their_doing() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions { ping: Duration::from_millis(30), ..quiet() });
    let (mut reader, _) = gateway.join(&session, None).await;
    world.append(&session, "started", "j", 1);
    world.run(&["CONFIG", "SET", "appendfsync", "always"]);
    world.append(&session, "preview", "j", 2);
    world.redis.kill();
    let mut events = Vec::new();
    until("a ping that does not vouch", async || {
        let frame = reader.next().await;
        events.extend(frame.is_durable().then(|| frame.v()));
        (frame.event == "ping" && frame.data["live"] == false).then_some(())
    })
    .await;
    world.redis.restart();
    world.reconnect();
    world.append(&session, "completed", "j", 3);
    until("the last event", async || {
        let frame = reader.next().await;
        assert_ne!(frame.event, "sync", "{frame:?}");
        events.extend(frame.is_durable().then(|| frame.v()));
        (events.last() == Some(&3)).then_some(())
    })
    .await;
    assert_eq!(events, [1, 2, 3]);
}

#[tokio::test]
async fn a_stream_that_can_not_begin_says_that_redis_is_down_and_when_to_come_back() {
    let mut world = World::new();
    world.redis.kill();
    let gateway = world.gateway(LiveOptions {
        join_timeout: Duration::from_millis(50),
        drain: NEVER,
        ..quiet()
    });
    let mut reader = gateway.open(&session(), None);
    let bye = reader.next().await;
    assert_eq!((&*bye.event, bye.word("reason")), ("bye", "backend_down"));
    assert!((2_000..=10_000).contains(&bye.data["retry_ms"].as_u64().unwrap()));
    assert_eq!(reader.maybe_next().await, None);
}
