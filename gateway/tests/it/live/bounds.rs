//! Bounds, limits and endings.

use std::time::Duration;

use framewire_gateway::live::{Asked, Bye, LiveOptions};
use framewire_shared::testing::until;

use super::world::{NEVER, World, quiet, session};

#[tokio::test]
async fn a_slow_reader_is_told_so_and_misses_nothing_when_it_comes_back() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut slow, _) = gateway.join(&session, None).await;
    let (mut quick, _) = gateway.join(&session, None).await;
    for v in 1..=200 {
        world.append(&session, "preview", "j", v);
        assert_eq!(quick.versions(1).await, [v], "one slow reader holds up nobody");
    }
    let bye = slow.next().await;
    assert_eq!(
        (&*bye.event, bye.word("reason"), &bye.data["final"]),
        ("bye", "slow", &false.into())
    );
    assert_eq!(bye.id, None, "a farewell moves no cursor");
    assert_eq!(slow.maybe_next().await, None);

    let (mut again, sync) = gateway.join(&session, slow.cursor.as_deref()).await;
    assert_eq!(sync.word("mode"), "resumed");
    assert_eq!(again.versions(200).await, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_that_keeps_up_just_so_is_not_called_slow() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut reader, _) = gateway.join(&session, None).await;
    let (mut witness, _) = gateway.join(&session, None).await;
    for round in 0..5 {
        for v in 1..=128 {
            world.append(&session, "preview", "j", round * 128 + v);
            witness.next().await;
        }
        let expected: Vec<u64> = (round * 128 + 1..=round * 128 + 128).collect();
        assert_eq!(reader.versions(128).await, expected);
    }
}

#[tokio::test]
async fn of_ephemeral_events_a_late_reader_gets_the_newest_after_what_is_durable_and_without_id() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (mut late, _) = gateway.join(&session, None).await;
    let (mut witness, _) = gateway.join(&session, None).await;
    world.append(&session, "started", "j", 1);
    witness.next().await;
    for step in 1..=300 {
        world.whisper(&session, "progress", "j", step);
        assert_eq!(witness.next().await.v(), step);
    }
    world.append(&session, "started", "k", 1);
    witness.next().await;
    let order: Vec<_> = [late.next().await, late.next().await, late.next().await]
        .iter()
        .map(|frame| {
            (frame.event.clone(), frame.word("job").to_owned(), frame.v(), frame.id.is_some())
        })
        .collect();
    let expected =
        [("started", "j", 1, true), ("started", "k", 1, true), ("progress", "j", 300, false)];
    let expected = expected.map(|(event, job, v, id)| (event.to_owned(), job.to_owned(), v, id));
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_session_at_its_limit_is_refused_and_others_are_not_and_every_seat_comes_back() {
    let world = World::new();
    let (mine, other) = (session(), session());
    let gateway = world.gateway(LiveOptions {
        streams_per_session_max: 2,
        streams_max: 4,
        linger: Duration::ZERO,
        ..quiet()
    });
    let open = |session: &_| gateway.live.session_stream(session, Asked::Nothing);
    let (first, _) = gateway.join(&mine, None).await;
    let second = open(&mine).unwrap();
    assert_eq!(open(&mine).err(), Some(Bye::Limit));
    let (third, fourth) = (open(&other).unwrap(), open(&other).unwrap());
    assert_eq!(open(&session()).err(), Some(Bye::Overloaded));
    assert_eq!(gateway.live.readers(), 4);
    drop(second);
    drop(open(&mine).unwrap());
    drop((first, third, fourth));
    assert_eq!(gateway.live.readers(), 0);
    until("the sessions to be left", async || (gateway.live.sessions() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_reload_finds_its_session_still_subscribed() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions { linger: NEVER, ..quiet() });
    let mut others = Vec::new();
    for _ in 0..5 {
        let (reader, _) = gateway.join(&session, None).await;
        drop(reader);
        // Another session's subscription shows that the tail has seen the reader leave.
        others.push(gateway.join(&super::world::session(), None).await);
    }
    // The probe's channel, the session, and the five others.
    assert_eq!(world.calls("subscribe"), 7);
    assert_eq!(world.calls("unsubscribe"), 0);
}

#[tokio::test]
async fn a_session_nobody_reads_is_left_and_subscribed_again_for_the_next_reader() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions { linger: Duration::ZERO, ..quiet() });
    for v in 1..=3 {
        let (mut reader, _) = gateway.join(&session, None).await;
        world.append(&session, "queued", "j", v);
        assert_eq!(reader.versions(1).await, [v]);
        drop(reader);
        until("the subscription to end", async || (world.calls("unsubscribe") == v).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_drain_ends_every_stream_within_its_window_and_takes_no_more() {
    let world = World::new();
    let gateway = world.gateway(LiveOptions { drain: Duration::from_millis(200), ..quiet() });
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(gateway.join(&session(), None).await.0);
    }
    let asked_at = std::time::Instant::now();
    gateway.shutdown.drain.cancel();
    for reader in &mut readers {
        let bye = reader.next().await;
        assert_eq!((&*bye.event, bye.word("reason")), ("bye", "drain"));
        assert_eq!(reader.maybe_next().await, None);
    }
    assert!(asked_at.elapsed() >= Duration::from_millis(50), "all at once would come back at once");
    let refused = gateway.live.session_stream(&session(), Asked::Nothing);
    assert_eq!(refused.err(), Some(Bye::Drain));
}

#[tokio::test]
async fn a_stream_ends_of_age_with_a_farewell_and_its_reader_resumes() {
    let mut world = World::new();
    let session = session();
    let gateway =
        world.gateway(LiveOptions { stream_age_max: Duration::from_millis(100), ..quiet() });
    let (mut reader, sync) = gateway.join(&session, None).await;
    assert!(sync.data["max_age_ms"].as_u64().unwrap() <= 100);
    let bye = reader.next().await;
    assert_eq!((&*bye.event, bye.word("reason")), ("bye", "max_age"));
    world.append(&session, "queued", "j", 1);
    let (mut reader, _) = gateway.join(&session, reader.cursor.as_deref()).await;
    assert_eq!(reader.versions(1).await, [1]);
}

#[tokio::test]
async fn a_ping_tells_the_position_of_this_connection_and_not_one_ahead_of_it() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions { ping: Duration::from_millis(20), ..quiet() });
    let (mut reader, sync) = gateway.join(&session, None).await;
    let mut at = sync.word("at").to_owned();
    let (mut pings, mut v) = (0, 0);
    while pings < 20 {
        v += 1;
        world.append(&session, "preview", "j", v);
        loop {
            let frame = reader.next().await;
            if frame.event != "ping" {
                assert_eq!(frame.v(), v);
                at = frame.id.unwrap();
                break;
            }
            pings += 1;
            assert_eq!((frame.id.as_deref(), frame.word("at")), (Some(&*at), &*at));
            assert_eq!(frame.data["live"], true);
        }
    }
}
