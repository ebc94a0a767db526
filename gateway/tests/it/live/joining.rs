//! How a stream begins: fresh, resumed, reset.

use framewire_shared::domain::SessionId;

use super::world::{World, key, quiet, session};

#[tokio::test]
async fn a_reader_without_a_position_begins_at_the_head_and_sees_what_comes() {
    let mut world = World::new();
    let session = session();
    world.append(&session, "queued", "j", 1);
    let gateway = world.gateway(quiet());
    let (mut reader, sync) = gateway.join(&session, None).await;
    assert_eq!(sync.word("mode"), "fresh");
    assert_eq!(sync.data.get("cause"), None);
    assert_eq!(sync.id.as_deref(), Some(sync.word("at")));
    assert_eq!(sync.word("at"), world.head(&session).to_string());
    assert!((2_000..=5_000).contains(&sync.retry_ms.unwrap()));

    world.append(&session, "started", "j", 2);
    let event = reader.next().await;
    assert_eq!((&*event.event, event.v()), ("started", 2));
    assert_eq!(event.id.unwrap(), world.head(&session).to_string());
}

#[tokio::test]
async fn a_reader_behind_gets_what_it_missed_once_and_in_order_and_then_what_comes() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    world.append(&session, "queued", "j", 1);
    let cursor = world.head(&session).to_string();
    for v in 2..=101 {
        world.append(&session, "preview", "j", v);
    }
    let (mut reader, sync) = gateway.join(&session, Some(&cursor)).await;
    assert_eq!((sync.word("mode"), sync.word("at")), ("resumed", &*cursor));
    assert_eq!(sync.data["replay"], 100);
    assert_eq!(sync.word("head"), world.head(&session).to_string());
    for v in 102..=110 {
        world.append(&session, "preview", "j", v);
    }
    assert_eq!(reader.versions(109).await, (2..=110).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_at_the_head_resumes_even_when_the_events_themselves_are_gone() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    world.append(&session, "queued", "j", 1);
    world.run(&["DEL", &key("stream", &session)]);
    let head = world.head(&session).to_string();
    let (mut reader, sync) = gateway.join(&session, Some(&head)).await;
    assert_eq!((sync.word("mode"), &sync.data["replay"]), ("resumed", &0.into()));
    world.append(&session, "started", "j", 2);
    assert_eq!(reader.versions(1).await, [2]);
}

#[tokio::test]
async fn a_reader_at_the_very_start_resumes_from_there() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (reader, sync) = gateway.join(&session, None).await;
    assert!(sync.word("at").starts_with("0-"), "{sync:?}");
    drop(reader);
    world.append(&session, "queued", "j", 1);
    let (mut reader, again) = gateway.join(&session, sync.id.as_deref()).await;
    assert_eq!(again.word("mode"), "resumed");
    assert_eq!(reader.versions(1).await, [1]);
}

/// Joins with a position that can't be honoured; the stream must go on from the head.
async fn reset(world: &mut World, session: &SessionId, cursor: &str) -> String {
    let gateway = world.gateway(quiet());
    let (mut reader, sync) = gateway.join(session, Some(cursor)).await;
    assert_eq!(sync.word("mode"), "reset", "{cursor:.40}");
    assert_eq!(sync.data["replay"], 0);
    assert_eq!(sync.word("at"), world.head(session).to_string());
    world.append(session, "preview", "j", 9_999);
    assert_eq!(reader.versions(1).await, [9_999], "a reset stream goes on");
    sync.word("cause").to_owned()
}

#[tokio::test]
async fn a_position_whose_events_were_trimmed_is_reset() {
    let mut world = World::new();
    let session = session();
    world.append(&session, "queued", "j", 1);
    let cursor = world.head(&session).to_string();
    for v in 2..=9 {
        world.append(&session, "preview", "j", v);
    }
    world.run(&["LTRIM", &key("stream", &session), "-3", "-1"]);
    assert_eq!(reset(&mut world, &session, &cursor).await, "trimmed");
}

#[tokio::test]
async fn a_position_too_far_behind_is_reset() {
    let mut world = World::new();
    let session = session();
    world.append(&session, "queued", "j", 1);
    let cursor = world.head(&session).to_string();
    for v in 2..=258 {
        world.append(&session, "preview", "j", v);
    }
    assert_eq!(reset(&mut world, &session, &cursor).await, "too_far");
}

#[tokio::test]
async fn a_position_of_a_numbering_that_was_lost_is_reset_also_at_its_start() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let (reader, sync) = gateway.join(&session, None).await;
    drop(reader);
    let start = sync.id.unwrap();
    world.append(&session, "queued", "j", 1);
    world.append(&session, "started", "j", 2);
    let later = world.head(&session).to_string();
    for cursor in [start, later] {
        world.run(&["FLUSHALL"]);
        world.append(&session, "queued", "j", 1);
        assert_eq!(reset(&mut world, &session, &cursor).await, "unknown_lineage");
    }
}

#[tokio::test]
async fn a_position_that_makes_no_sense_is_reset_whatever_its_size() {
    let mut world = World::new();
    let session = session();
    world.append(&session, "queued", "j", 1);
    let huge = "1".repeat(10_000);
    for cursor in ["abc", "-1-x", "1-AAAAAAAA", "1-aaaaaaaa\r\nevent: completed", "\0", &huge] {
        assert_eq!(reset(&mut world, &session, cursor).await, "malformed");
    }
}

#[tokio::test]
async fn another_sessions_position_opens_nothing_and_its_events_are_not_heard() {
    let mut world = World::new();
    let (mine, other) = (session(), session());
    let gateway = world.gateway(quiet());
    for v in 1..=3 {
        world.append(&other, "preview", "secret", v);
        world.append(&mine, "preview", "j", v);
    }
    let foreign = world.head(&other).to_string();
    assert_eq!(reset(&mut world, &mine, &foreign).await, "unknown_lineage");

    let (mut reader, _) = gateway.join(&mine, None).await;
    let (mut others, _) = gateway.join(&other, None).await;
    world.append(&other, "preview", "secret", 4);
    world.whisper(&other, "progress", "secret", 4);
    world.append(&mine, "preview", "j", 4);
    assert_eq!(others.next().await.word("job"), "secret");
    assert_eq!(reader.next().await.word("job"), "j");
}

#[tokio::test]
async fn two_gateways_on_one_redis_both_deliver() {
    let mut world = World::new();
    let session = session();
    let (one, two) = (world.gateway(quiet()), world.gateway(quiet()));
    let (mut first, _) = one.join(&session, None).await;
    let (mut second, _) = two.join(&session, None).await;
    for v in 1..=5 {
        world.append(&session, "preview", "j", v);
    }
    assert_eq!(first.versions(5).await, [1, 2, 3, 4, 5]);
    assert_eq!(second.versions(5).await, [1, 2, 3, 4, 5]);
    // A reader takes its cursor from one gateway to the other.
    world.append(&session, "preview", "j", 6);
    let (mut moved, sync) = two.join(&session, first.cursor.as_deref()).await;
    assert_eq!(sync.word("mode"), "resumed");
    assert_eq!(moved.versions(1).await, [6]);
}
