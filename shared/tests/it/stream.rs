//! Reading a session's events: the replay, the snapshot, the tail.

use framewire_shared::domain::{Cell, Cursor, Event};
use framewire_shared::store::stream::Heard;

use crate::world::{World, session};

fn cursor(text: &str) -> Cursor {
    Event::parse(text).unwrap().place.unwrap().at
}

#[tokio::test]
async fn a_replay_gives_exactly_what_came_after_the_cursor() {
    let world = World::new();
    let mine = session();
    for _ in 0..3 {
        world.submit(&mine).await;
    }
    let all = world.store.replay(&mine, Some(&"0-00000000".parse().unwrap())).await.unwrap();
    assert_eq!(all.events.len(), 3);
    let first = cursor(&all.events[0]);
    let rest = world.store.replay(&mine, Some(&first)).await.unwrap();
    assert_eq!(rest.events, all.events[1..]);
    assert!(Event::parse(&rest.events[0]).unwrap().place.unwrap().follows(&first));
    assert_eq!(rest.head, cursor(&all.events[2]));
    let none = world.store.replay(&mine, Some(&rest.head)).await.unwrap();
    assert_eq!(none.events, Vec::<String>::new());
}

#[tokio::test]
async fn the_stream_keeps_the_newest_256_and_says_nothing_to_a_reader_further_behind() {
    let world = World::new();
    let mine = session();
    for _ in 0..130 {
        let job = world.submit(&mine).await;
        world.store.cancel(&job, "user").await.unwrap();
    }
    let far = world.store.replay(&mine, Some(&"0-00000000".parse().unwrap())).await.unwrap();
    assert_eq!((far.head.n, far.events.len()), (260, 0));
    let near = Cursor { n: 4, nonce: "00000000".into() };
    assert_eq!(world.store.replay(&mine, Some(&near)).await.unwrap().events.len(), 256);
}

#[tokio::test]
async fn a_session_without_events_has_a_position_that_its_first_event_continues() {
    let world = World::new();
    let mine = session();
    let start = world.store.replay(&mine, None).await.unwrap().head;
    assert_eq!(start.n, 0);
    world.submit(&mine).await;
    let replay = world.store.replay(&mine, Some(&start)).await.unwrap();
    let first = Event::parse(&replay.events[0]).unwrap().place.unwrap();
    assert!(first.follows(&start));
}

#[tokio::test]
async fn a_snapshot_holds_the_unfinished_jobs_and_the_position_they_reflect() {
    let world = World::new();
    let mine = session();
    let first = world.submit(&mine).await;
    let second = world.submit(&mine).await;
    world.store.cancel(&first, "user").await.unwrap();
    let snapshot = world.store.snapshot(&mine).await.unwrap();
    let ids: Vec<_> = snapshot.jobs.iter().map(|row| row.job.id.clone()).collect();
    assert_eq!(ids, [second]);
    assert_eq!((snapshot.head.n, snapshot.more, snapshot.jobs[0].ahead), (3, false, Some(0)));
}

#[tokio::test]
async fn the_tail_hears_its_sessions_and_no_others() {
    let world = World::new();
    let (mine, other) = (session(), session());
    let (mut sink, mut stream) = world.store.tail(Cell::FIRST).await.unwrap();
    sink.subscribe(std::slice::from_ref(&mine)).await.unwrap();
    sink.subscribe_probe("g1").await.unwrap();
    world.submit(&other).await;
    let job = world.submit(&mine).await;
    let Some(Heard::Event(who, text)) = stream.next().await else { panic!("no event") };
    assert_eq!(who, mine);
    assert_eq!(Event::parse(&text).unwrap().job, job.as_str());
    world.store.probe(Cell::FIRST, "g1").await.unwrap();
    assert_eq!(stream.next().await, Some(Heard::Probe));
    let replay = world.store.replay(&mine, Some(&"0-00000000".parse().unwrap())).await.unwrap();
    assert_eq!(replay.events, [text], "the channel carries the text that the stream keeps");
}

#[tokio::test]
async fn hostile_text_stays_inside_its_event() {
    let world = World::new();
    world.slots(1).await;
    let mine = session();
    world.submit(&mine).await;
    let lease = world.take().await.unwrap();
    let words = "a\r\nevent: completed\ndata: {}\n\n\u{2028}\"\\";
    let failure =
        framewire_shared::domain::Failure::new(framewire_shared::domain::ErrorCode::Unknown, words);
    world.store.fail(&lease, &failure, None).await.unwrap();
    let replay = world.store.replay(&mine, Some(&"2-00000000".parse().unwrap())).await.unwrap();
    let event = Event::parse(&replay.events[0]).unwrap();
    assert!(!event.data.contains(['\r', '\n']), "{:?}", event.data);
    let data: serde_json::Value = serde_json::from_str(event.data).unwrap();
    assert_eq!(data["error"]["message"], words);
}
