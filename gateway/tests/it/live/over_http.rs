//! The two streams as browsers and programs get them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use framewire_shared::testing::until;
use reqwest::{Method, Response};

use super::world::{Frame, Wire};
use crate::support::{Gateway, User, Worker, problem_of};

/// A stream, cut into frames.
struct Events {
    response: Response,
    rest: Vec<u8>,
}

impl Events {
    async fn of(user: &User<'_>, path: &str) -> Self {
        Self::answer(user.ask(Method::GET, path).send().await.unwrap())
    }

    fn answer(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, rest: Vec::new() }
    }

    /// Waits for the next frame; `None` at a clean end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(at) = self.rest.windows(2).position(|two| two == b"\n\n") {
                let frame: Vec<u8> = self.rest.drain(..at + 2).collect();
                return Some(Frame::parse(&frame.into()));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            match chunk.await.expect("a frame within 20 s").expect("no broken stream") {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => {
                    assert!(self.rest.is_empty(), "half a frame");
                    return None;
                }
            }
        }
    }

    /// Reads to the next frame of this name.
    async fn find(&mut self, name: &str) -> Frame {
        loop {
            let frame = self.next().await.expect("the stream goes on");
            if frame.event == name {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn a_job_is_seen_on_the_sessions_stream_from_queued_to_completed_with_ids() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let mut events = Events::of(&user, "/v1/events").await;
    let sync = events.next().await.unwrap();
    assert_eq!((&*sync.event, sync.word("mode")), ("sync", "fresh"));
    let job = user.job("a fox").await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"picture").await;
    for name in ["queued", "started", "frame-ready", "completed"] {
        let event = events.find(name).await;
        assert_eq!(event.word("job"), job);
        assert!(event.id.is_some());
    }
}

#[tokio::test]
async fn nothing_between_us_and_the_reader_is_invited_to_hold_frames_back() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let request = user.ask(Method::GET, "/v1/events").header("accept-encoding", "br, gzip, zstd");
    let response = request.send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache, no-store, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("content-encoding"), "identity");
    assert_eq!(header("connection"), "close", "a balancer is asked anew at every return");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(response.headers().get("content-length").is_none());
}

#[tokio::test]
async fn the_header_wins_over_the_query_and_nonsense_in_either_is_a_reset() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let old = Events::of(&user, "/v1/events").await.next().await.unwrap().id.unwrap();
    user.job("a fox").await;
    let with_query = format!("/v1/events?cursor={old}");
    let mut resumed = Events::of(&user, &with_query).await;
    let sync = resumed.next().await.unwrap();
    assert_eq!((sync.word("mode"), &sync.data["replay"]), ("resumed", &1.into()));
    let new = resumed.next().await.unwrap().id.unwrap();

    let last_event_id = async |value: &[u8]| {
        let request = user.ask(Method::GET, &with_query).header("last-event-id", value);
        Events::answer(request.send().await.unwrap()).next().await.unwrap()
    };
    let sync = last_event_id(new.as_bytes()).await;
    assert_eq!((sync.word("mode"), sync.word("at")), ("resumed", &*new));
    for nonsense in [&b"abc"[..], b"\xff\xfe", b"1-AAAAAAAA"] {
        let sync = last_event_id(nonsense).await;
        assert_eq!((sync.word("mode"), sync.word("cause")), ("reset", "malformed"));
    }
    let huge = format!("/v1/events?cursor={}", "7".repeat(10_000));
    let sync = Events::of(&user, &huge).await.next().await.unwrap();
    assert_eq!(sync.word("cause"), "malformed");
}

#[tokio::test]
async fn a_browser_at_the_limit_gets_a_farewell_and_a_program_gets_a_status() {
    let gateway =
        Gateway::start_with(|settings| settings.gateway.streams_per_session_max = 1).await;
    let user = gateway.user().await;
    let mut first = Events::of(&user, "/v1/events").await;
    assert_eq!(first.next().await.unwrap().event, "sync");
    let mut second = Events::of(&user, "/v1/events").await;
    let bye = second.next().await.unwrap();
    assert_eq!((&*bye.event, bye.word("reason")), ("bye", "limit"));
    assert_eq!(second.next().await, None);
    let refused = user.ask(Method::GET, "/v1/events?errors=http").send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    problem_of(refused, 429, "too_many_streams").await;
    // The oldest is unharmed, and another session is not concerned.
    let other = gateway.user().await;
    assert_eq!(Events::of(&other, "/v1/events").await.next().await.unwrap().event, "sync");
    user.job("a fox").await;
    assert_eq!(first.next().await.unwrap().event, "queued");
}

#[tokio::test]
async fn an_address_at_its_limit_is_refused_and_only_a_trusted_proxy_says_whose_it_is() {
    let gateway = Gateway::start_with(|settings| {
        settings.gateway.streams_per_session_max = 1;
        settings.gateway.streams_per_address_max = 1;
        settings.gateway.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let users = [gateway.user().await, gateway.user().await, gateway.user().await];
    let from = async |user: &User<'_>, path: &str, address: &str| {
        let request = user.ask(Method::GET, path).header("x-forwarded-for", address);
        request.send().await.unwrap()
    };
    let mut first = Events::answer(from(&users[0], "/v1/events", "203.0.113.7").await);
    assert_eq!(first.next().await.unwrap().event, "sync");
    let mut second = Events::answer(from(&users[1], "/v1/events", "6.6.6.6, 203.0.113.7").await);
    let bye = second.next().await.unwrap();
    assert_eq!((&*bye.event, bye.word("reason")), ("bye", "limit"));
    assert_eq!(second.next().await, None);
    for path in ["/v1/events?errors=http", "/v1/events/poll"] {
        let problem = from(&users[1], path, "203.0.113.7").await;
        let problem = problem_of(problem, 429, "too_many_streams").await;
        assert!(problem["detail"].as_str().unwrap().contains("address"), "{problem}");
    }
    let mut other = Events::answer(from(&users[1], "/v1/events", "203.0.113.8").await);
    assert_eq!(other.next().await.unwrap().event, "sync");
    // Without a word of the proxy nobody knows whose address it is, and nobody is refused for it.
    let mut unknown = Events::of(&users[2], "/v1/events").await;
    assert_eq!(unknown.next().await.unwrap().event, "sync");
}

#[tokio::test]
async fn without_redis_even_who_is_not_known_yet_gets_a_farewell() {
    let mut gateway = Gateway::start().await;
    let token = gateway.user().await.token;
    gateway.redis.kill();
    let ask = |path: &str| gateway.ask(Method::GET, path).bearer_auth(&token).send();
    let mut browser = Events::answer(ask("/v1/events").await.unwrap());
    assert_eq!(browser.next().await.unwrap().word("reason"), "backend_down");
    let mut with_ticket =
        gateway.ask(Method::GET, "/v1/events?ticket=tkt_c0_x").send().await.unwrap();
    assert!(with_ticket.chunk().await.unwrap().unwrap().starts_with(b"event: bye"));
    for path in ["/v1/events?errors=http", "/v1/events/poll"] {
        problem_of(ask(path).await.unwrap(), 503, "unavailable").await;
    }
}

#[tokio::test]
async fn without_redis_a_browser_gets_a_farewell_and_a_program_gets_503() {
    let mut gateway = Gateway::start().await;
    let token = gateway.user().await.token;
    let ask = |gateway: &Gateway, path: &str| gateway.ask(Method::GET, path).bearer_auth(&token);
    // The token is remembered from here on, so that only the stream needs Redis.
    assert_eq!(ask(&gateway, "/v1/jobs").send().await.unwrap().status(), 200);
    gateway.redis.kill();
    let mut browser = Events::answer(ask(&gateway, "/v1/events").send().await.unwrap());
    let program = ask(&gateway, "/v1/events?errors=http").send();
    let (bye, program) = tokio::join!(browser.next(), program);
    assert_eq!(bye.unwrap().word("reason"), "backend_down");
    problem_of(program.unwrap(), 503, "unavailable").await;
}

#[tokio::test]
async fn a_reader_that_half_closes_gives_its_place_back() {
    let gateway =
        Gateway::start_with(|settings| settings.gateway.streams_per_session_max = 1).await;
    let user = gateway.user().await;
    let mut socket = TcpStream::connect(gateway.url.strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        user.token
    );
    socket.write_all(request.as_bytes()).unwrap();
    let socket = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        while !seen.windows(11).any(|window| window == b"event: sync") {
            let mut some = [0; 1_024];
            let count = socket.read(&mut some).unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&some[..count]);
        }
        socket
    });
    socket.await.unwrap().shutdown(Shutdown::Write).unwrap();
    until("the place of the reader that left", async || {
        let first = Events::of(&user, "/v1/events").await.next().await?;
        (first.event == "sync").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stalls_holds_up_nobody_and_is_ended_and_resumes_without_a_hole() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let (session, _) = gateway.store.verify_token(&user.token).await.unwrap().unwrap();
    let mut stalled = Events::of(&user, "/v1/events").await;
    let mut cursor = stalled.next().await.unwrap().id.unwrap();
    let mut witness = Events::of(&user, "/v1/events").await;
    witness.next().await.unwrap();
    // More than the kernel and the buffer hold together, less than a replay may be.
    let mut wire = Wire::connect(&gateway.redis);
    let body = format!(r#"{{"pad":"{}"}}"#, "x".repeat(8_000));
    for v in 1..=250 {
        wire.append(&session, "preview", "j", v, &body);
        assert_eq!(witness.next().await.unwrap().v(), v);
    }
    let mut seen = 0;
    let bye = loop {
        let frame = stalled.next().await.expect("a farewell before the end");
        if frame.event == "bye" {
            break frame;
        }
        seen += 1;
        assert_eq!(frame.v(), seen);
        cursor = frame.id.unwrap();
    };
    assert_eq!(bye.word("reason"), "slow");
    assert_eq!(stalled.next().await, None);
    let mut again = Events::of(&user, &format!("/v1/events?cursor={cursor}")).await;
    assert_eq!(again.next().await.unwrap().word("mode"), "resumed");
    for v in seen + 1..=250 {
        assert_eq!(again.next().await.unwrap().v(), v);
    }
}

#[tokio::test]
async fn a_jobs_stream_shows_the_job_as_the_api_does_and_only_to_its_session() {
    let gateway = Gateway::start().await;
    let (user, stranger) = (gateway.user().await, gateway.user().await);
    let mut worker = Worker::start(&gateway, 1).await;
    let job = user.job("a fox").await;
    let path = format!("/v1/jobs/{job}/events");
    let mut events = Events::of(&user, &path).await;
    let snapshot = events.next().await.unwrap();
    assert_eq!((&*snapshot.event, snapshot.id.as_deref()), ("snapshot", Some("1")));
    assert_eq!(snapshot.data, user.get(&format!("/v1/jobs/{job}"), 200).await);

    let lease = worker.claim().await;
    worker.complete(&lease, b"picture").await;
    assert_eq!(events.find("completed").await.word("job"), job);
    let bye = events.next().await.unwrap();
    assert_eq!((bye.word("reason"), &bye.data["final"]), ("done", &true.into()));
    assert_eq!(events.next().await, None);

    let refused = stranger.ask(Method::GET, &path).send().await.unwrap();
    problem_of(refused, 404, "job_not_found").await;
    let refused = user.ask(Method::GET, "/v1/jobs/nonsense/events").send().await.unwrap();
    problem_of(refused, 404, "job_not_found").await;
    for path in ["/v1/events", &path] {
        let refused = gateway.ask(Method::GET, path).send().await.unwrap();
        problem_of(refused, 401, "invalid_token").await;
    }
}

#[tokio::test]
async fn a_drain_says_farewell_on_every_stream_and_ends_it_whole() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut events = Vec::new();
    for _ in 0..10 {
        let mut stream = Events::of(&user, "/v1/events").await;
        assert_eq!(stream.next().await.unwrap().event, "sync");
        events.push(stream);
    }
    gateway.shutdown.drain.cancel();
    for mut stream in events {
        let bye = stream.next().await.unwrap();
        assert_eq!((&*bye.event, bye.word("reason")), ("bye", "drain"));
        assert!((200..=3_000).contains(&bye.data["retry_ms"].as_u64().unwrap()));
        assert_eq!(stream.next().await, None);
    }
    gateway.running.await.unwrap().unwrap();
}
