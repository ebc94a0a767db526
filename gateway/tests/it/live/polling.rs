//! Answers instead of streams: the same events, by the same rule.

use std::time::{Duration, Instant};

use framewire_gateway::live::{Asked, Bye, LiveOptions, Polled};
use framewire_shared::domain::SessionId;
use reqwest::Method;
use serde_json::Value;

use super::world::{Gateway, NEVER, Wire, World, quiet, session};
use crate::support::{self, json_of, problem_of};

/// Asks for what comes after a position; the answer as a program reads it.
async fn poll(
    gateway: &Gateway,
    session: &SessionId,
    after: Option<&str>,
    wait: Duration,
) -> Value {
    let polled = gateway.live.poll(session, Asked::read(after), wait);
    read(tokio::time::timeout(Duration::from_secs(20), polled).await.expect("an answer").unwrap())
}

fn read(polled: Polled) -> Value {
    serde_json::from_str(&polled.json()).unwrap()
}

fn cursor(answer: &Value) -> &str {
    answer["cursor"].as_str().unwrap()
}

fn versions(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().unwrap();
    events.iter().map(|event| event["data"]["v"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn polls_one_after_the_other_see_every_event_once_through_whichever_gateway() {
    let mut world = World::new();
    let session = session();
    let gateways = [world.gateway(quiet()), world.gateway(quiet())];
    let mut at = cursor(&poll(&gateways[0], &session, None, NEVER).await).to_owned();
    let (mut v, mut seen) = (0, Vec::new());
    while v < 300 {
        for _ in 0..rand::random_range(1..=4) {
            v += 1;
            match rand::random_bool(0.2) {
                true => world.append_unheard(&session, "preview", "j", v),
                false => world.append(&session, "preview", "j", v),
            }
        }
        // Sometimes the answer is lost on its way, and the same is asked of the other one.
        for gateway in &gateways[..rand::random_range(1..=2)] {
            let answer = poll(gateway, &session, Some(&at), Duration::ZERO).await;
            assert_eq!(answer["mode"], "resumed", "{answer}");
            if rand::random_bool(0.7) {
                at = cursor(&answer).to_owned();
                seen.extend(versions(&answer));
            }
        }
    }
    let rest = poll(&gateways[1], &session, Some(&at), Duration::ZERO).await;
    seen.extend(versions(&rest));
    assert_eq!(seen, (1..=v).collect::<Vec<_>>());
    assert_eq!(cursor(&rest), world.head(&session).to_string());
}

#[tokio::test]
async fn the_next_event_ends_the_wait_at_whatever_moment_it_comes() {
    let mut world = World::new();
    let (session, other) = (session(), session());
    let gateway = world.gateway(quiet());
    let mut at = cursor(&poll(&gateway, &session, None, NEVER).await).to_owned();
    // The other session's stream lets more or less time pass before each event.
    let (mut witness, _) = gateway.join(&other, None).await;
    for v in 1..=200 {
        let (answer, ()) = tokio::join!(poll(&gateway, &session, Some(&at), NEVER), async {
            for pause in 0..v % 4 {
                world.append(&other, "preview", "j", pause);
                witness.versions(1).await;
            }
            world.append(&session, "preview", "j", v);
        });
        assert_eq!(versions(&answer), [v]);
        at = cursor(&answer).to_owned();
    }
}

#[tokio::test]
async fn an_event_whose_message_is_lost_ends_the_wait_too() {
    let mut world = World::new();
    let session = session();
    let (check, recheck) = (Duration::from_millis(20), Duration::from_millis(5));
    let gateway = world.gateway(LiveOptions { check, recheck, ..quiet() });
    let first = poll(&gateway, &session, None, NEVER).await;
    let before = world.calls("subscribe");
    assert!(before >= 2, "the probe and the session");
    let (answer, ()) = tokio::join!(poll(&gateway, &session, Some(cursor(&first)), NEVER), async {
        world.append_unheard(&session, "completed", "j", 1);
    });
    assert_eq!(versions(&answer), [1]);
}

#[tokio::test]
async fn who_needs_a_snapshot_is_told_at_once() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    world.append(&session, "queued", "j", 1);
    let fresh = poll(&gateway, &session, None, NEVER).await;
    assert_eq!((&fresh["mode"], &fresh["events"]), (&"fresh".into(), &Value::Array(vec![])));
    assert_eq!(fresh.get("cause"), None);
    assert_eq!(cursor(&fresh), world.head(&session).to_string());
    for (after, cause) in [("abc", "malformed"), ("1-aaaaaaaa", "unknown_lineage")] {
        let reset = poll(&gateway, &session, Some(after), NEVER).await;
        assert_eq!((&reset["mode"], &reset["cause"]), (&"reset".into(), &cause.into()));
        assert_eq!(cursor(&reset), world.head(&session).to_string());
    }
}

#[tokio::test]
async fn a_roll_back_during_the_wait_is_a_reset() {
    let mut world = World::new();
    let session = session();
    let (check, recheck) = (Duration::from_millis(20), Duration::from_millis(5));
    let gateway = world.gateway(LiveOptions { check, recheck, ..quiet() });
    world.append(&session, "queued", "j", 1);
    let saved = world.save(&session);
    world.append(&session, "started", "j", 2);
    let at = world.head(&session).to_string();
    let (answer, ()) = tokio::join!(poll(&gateway, &session, Some(&at), NEVER), async {
        world.roll_back(&session, &saved);
    });
    assert_eq!((&answer["mode"], &answer["cause"]), (&"reset".into(), &"unknown_lineage".into()));
    assert_eq!(cursor(&answer), saved.head.to_string());
}

#[tokio::test]
async fn progress_ends_no_wait_and_its_newest_goes_along_after_what_is_durable() {
    let mut world = World::new();
    let session = session();
    let gateway = world.gateway(quiet());
    let at = cursor(&poll(&gateway, &session, None, NEVER).await).to_owned();
    // A stream of the same session tells when the poll has its seat and has heard it all.
    let (mut witness, _) = gateway.join(&session, None).await;
    let waits = poll(&gateway, &session, Some(&at), NEVER);
    let (answer, ()) = tokio::join!(waits, async {
        for v in 1..=5 {
            world.whisper(&session, "progress", "j1", v);
            assert_eq!(witness.next().await.v(), v);
        }
        world.append(&session, "queued", "j2", 6);
    });
    let events = answer["events"].as_array().unwrap();
    assert_eq!((&events[0]["event"], versions(&answer)[0]), (&"queued".into(), 6), "{answer}");
    assert!(events[0]["id"].is_string());
    if let Some(progress) = events.get(1) {
        assert_eq!((&progress["id"], &progress["event"]), (&Value::Null, &"progress".into()));
        assert_eq!(versions(&answer), [6, 5], "the newest alone");
    }
}

#[tokio::test]
async fn time_up_and_a_drain_end_the_wait_with_what_there_is() {
    let world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions { drain: Duration::from_millis(50), ..quiet() });
    let at = cursor(&poll(&gateway, &session, None, NEVER).await).to_owned();
    let asked_at = Instant::now();
    let answer = poll(&gateway, &session, Some(&at), Duration::from_millis(50)).await;
    assert!(asked_at.elapsed() >= Duration::from_millis(50));
    assert_eq!((cursor(&answer), versions(&answer)), (&*at, vec![]));
    let (answer, ()) = tokio::join!(poll(&gateway, &session, Some(&at), NEVER), async {
        gateway.shutdown.drain.cancel();
    });
    assert_eq!((cursor(&answer), versions(&answer)), (&*at, vec![]));
    let refused = gateway.live.poll(&session, Asked::Nothing, NEVER).await;
    assert_eq!(refused.err(), Some(Bye::Drain));
    assert_eq!(gateway.live.readers(), 0);
}

#[tokio::test]
async fn streams_and_polls_of_a_session_have_one_limit() {
    let world = World::new();
    let session = session();
    let gateway = world.gateway(LiveOptions { streams_per_session_max: 2, ..quiet() });
    let (_first, _) = gateway.join(&session, None).await;
    assert_eq!(poll(&gateway, &session, None, NEVER).await["mode"], "fresh");
    let (_second, _) = gateway.join(&session, None).await;
    let refused = gateway.live.poll(&session, Asked::Nothing, NEVER).await;
    assert_eq!(refused.err(), Some(Bye::Limit));
}

#[tokio::test]
async fn over_http_a_poll_is_json_and_its_refusals_are_statuses() {
    let gateway = support::Gateway::start_with(|settings| {
        settings.gateway.streams_per_session_max = 1;
    })
    .await;
    let user = gateway.user().await;
    let fresh = user.get("/v1/events/poll", 200).await;
    assert_eq!(fresh["mode"], "fresh");
    Wire::connect(&gateway.redis).append(&user.session(), "preview", "job_c0_1", 7, r#"{"a":1}"#);
    let path = format!("/v1/events/poll?after={}&wait=60", cursor(&fresh));
    let answer = user.ask(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let mut answer = json_of(answer, 200).await;
    assert_eq!(answer["cursor"], answer["events"][0]["id"]);
    answer["cursor"] = "…".into();
    answer["events"][0]["id"] = "…".into();
    answer["events"][0]["data"]["at"] = 0.into();
    insta::assert_json_snapshot!(answer);
    for wait in ["61", "-1", "x"] {
        let refused = user.ask(Method::GET, &format!("/v1/events/poll?wait={wait}")).send();
        problem_of(refused.await.unwrap(), 400, "invalid_parameter").await;
    }
    let _stream = user.ask(Method::GET, "/v1/events").send().await.unwrap();
    let refused = user.ask(Method::GET, "/v1/events/poll").send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    problem_of(refused, 429, "too_many_streams").await;
}
