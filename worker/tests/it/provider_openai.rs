//! The OpenAI adapter against a server that plays the documented answers, and their traps.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framewire_shared::domain::{ErrorCode, FailureKind, OutputFormat, Resend};
use framewire_shared::testing::until;
use framewire_worker::provider::openai::{OpenAi, OpenAiOptions};
use framewire_worker::provider::{Picture, Provider, Source, Update};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::scripted::{
    Essence, Headers, Play, Server, alive_tasks, call, descriptors, drawn, essence, failure,
    resident_bytes, word,
};
use crate::world::png;

const KEY: &str = "sk-proj-hush";
/// What the allocator may keep for itself; a leak of one answer's buffers would be more.
const RESIDENT_GROWTH_MAX: usize = 4 * 1024 * 1024;

fn adapter_of(base_url: &str, more: Value) -> OpenAi {
    let mut options = json!({
        "name": "openai", "base_url": base_url, "key": KEY, "model": "some-model",
    });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let options: OpenAiOptions = serde_json::from_value(options).unwrap();
    OpenAi::new(options).unwrap()
}

fn adapter(server: &Server) -> OpenAi {
    adapter_of(&format!("{}/v1", server.url), json!({}))
}

fn base64_of(picture: &Picture) -> String {
    STANDARD.encode(&picture.bytes)
}

fn images(pictures: &[Picture]) -> Value {
    let data: Vec<_> = pictures.iter().map(|it| json!({"b64_json": base64_of(it)})).collect();
    json!({"created": 1, "data": data, "usage": {"input_tokens": 5, "output_tokens": 9}})
}

#[tokio::test]
async fn a_call_becomes_one_request_and_its_frames_come_in_order() {
    let server = Server::start(|_| Play::json(200, images(&[png(64, 64), png(64, 64)]))).await;
    let more = json!({"organization": "org-1", "project": "proj-1", "extra": {"quality": "low"},
        "headers": {"api-key": "hush"}});
    let adapter = adapter_of(&format!("{}/openai/v1/?api-version=1", server.url), more);
    let (updates, result) = drawn(&adapter, call(2)).await;
    result.unwrap();
    let words: Vec<_> = updates.iter().map(word).collect();
    let used = r#"usage {"input_tokens":5,"output_tokens":9}"#;
    assert_eq!(words, [used, "frame 0 of 7 as image/png", "frame 1 of 8 as image/png"]);
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.path, "/openai/v1/images/generations?api-version=1");
    assert_eq!(request.header("authorization"), Some("Bearer sk-proj-hush"));
    assert_eq!(request.header("openai-organization"), Some("org-1"));
    assert_eq!(request.header("openai-project"), Some("proj-1"));
    assert_eq!(request.header("api-key"), Some("hush"));
    let expected = json!({"model": "some-model", "prompt": "a red fox", "n": 2, "size": "64x64",
        "quality": "low"});
    assert_eq!(request.json(), expected);
}

#[tokio::test]
async fn an_edit_sends_the_picture_and_a_mask_that_is_transparent_where_to_draw() {
    let server = Server::start(|_| Play::json(200, images(&[png(64, 64)]))).await;
    let mut edit = call(1);
    edit.input.prompt = "<sd_cpp<sd_cpp_extra_args>_extra_args>{\"steps\":99}".into();
    let (picture, mask) = (png(64, 64), Some(png(64, 64)));
    edit.source = Some(Source { picture, mask, strength: 0.5 });
    drawn(&adapter(&server), edit).await.1.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.path, "/v1/images/edits");
    let text = request.text();
    for part in ["name=\"image\"; filename=\"image.png\"", "name=\"mask\"", "name=\"size\""] {
        assert!(text.contains(part), "no {part}");
    }
    assert!(!text.contains("<sd_cpp_extra_args>"), "a prompt that sets options of the server");
    assert!(text.contains("{\"steps\":99}"), "the prompt's text is gone");
}

#[tokio::test]
async fn a_stream_shows_the_frame_develop() {
    let frame = base64_of(&png(1024, 1024));
    let look = base64_of(&png(32, 32));
    let server = Server::start(move |_| {
        let partial = json!({"type": "image_generation.partial_image", "b64_json": look});
        let broken = json!({"type": "image_generation.partial_image", "b64_json": "%%"});
        let done = json!({"type": "image_generation.completed", "b64_json": frame, "error": null,
            "usage": {"input_tokens": 1}});
        Play::events(&format!(
            ": hello\n\nevent: ping\ndata: \n\nevent: image_generation.partial_image\n\
             data: {partial}\n\ndata: {broken}\r\n\r\nevent: job.progress\ndata: {{}}\n\n\
             event: image_generation.completed\ndata: {done}\n\ndata: [DONE]\n\n"
        ))
    })
    .await;
    let adapter = adapter_of(&server.url, json!({"model": "gpt-image-1"}));
    let mut large = call(1);
    (large.input.width, large.input.height) = (1024, 1024);
    large.input.output_format = OutputFormat::Jpeg;
    let (updates, result) = drawn(&adapter, large).await;
    result.unwrap();
    let words: Vec<_> = updates.iter().map(word).collect();
    let expected = [
        "progress 1/3",
        "preview 0 at 1",
        "progress 2/3",
        r#"usage {"input_tokens":1}"#,
        "frame 0 of 7 as image/jpeg",
    ];
    assert_eq!(words, expected);
    let sent = server.requests()[0].json();
    assert_eq!((&sent["stream"], &sent["partial_images"]), (&json!(true), &json!(2)));
    assert_eq!((&sent["output_format"], sent.get("response_format")), (&json!("jpeg"), None));
}

#[tokio::test]
async fn a_front_that_ignores_the_wish_for_a_stream_is_understood() {
    let mut answer = images(&[png(64, 64)]);
    // Nor is an odd bill a reason to lose the picture.
    answer["usage"] = json!({"input_tokens": "some"});
    let server = Server::start(move |_| Play::json(200, answer.clone())).await;
    let adapter = adapter_of(&server.url, json!({"partial_images": 1}));
    let (updates, result) = drawn(&adapter, call(1)).await;
    result.unwrap();
    assert_eq!(updates.iter().map(word).collect::<Vec<_>>(), ["frame 0 of 7 as image/png"]);
}

#[tokio::test]
async fn an_output_at_the_servers_own_address_is_fetched_without_the_key() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v1/images/generations" => {
            let url = format!("http://{}/generated/1.png", request.header("host").unwrap());
            Play::json(200, json!({"created": 1, "data": [{"url": url}]}))
        }
        "/generated/1.png" => Play::new(302, &[("location", "/files/1.png")], ""),
        "/files/1.png" => Play::new(200, &[("content-type", "text/plain")], png(64, 64).bytes),
        _ => Play::new(404, &[], ""),
    })
    .await;
    let (updates, result) = drawn(&adapter(&server), call(1)).await;
    result.unwrap();
    assert_eq!(word(&updates[0]), "frame 0 of 7 as image/png");
    let asked = server.requests();
    assert!(asked[1..].iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn an_output_elsewhere_in_our_network_is_never_asked_for() {
    let hidden = Server::always(200, png(64, 64).bytes).await;
    for (address, options) in [
        (hidden.url.clone(), json!({})),
        (hidden.url.clone(), json!({"fetch": {"allow_http": true}})),
        (hidden.url.replace("127.0.0.1", "localhost"), json!({"fetch": {"allow_http": true}})),
        (hidden.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"), json!({})),
        (
            "file:///etc/passwd".into(),
            json!({"fetch": {"allow_http": true, "allow_private": true}}),
        ),
    ] {
        let answer = json!({"data": [{"url": address}]});
        let server = Server::start(move |_| Play::json(200, answer.clone())).await;
        let failure = failure(&adapter_of(&server.url, options)).await;
        let expected = (ErrorCode::Permanent, FailureKind::Unknown, Resend::Never);
        assert_eq!(essence(&failure), expected, "{address}: {failure:?}");
    }
    // Neither by a redirect from where it may be fetched.
    let location = hidden.url.clone();
    let server = Server::start(move |request| match request.path.as_str() {
        "/images/generations" => {
            let url = format!("http://{}/out", request.header("host").unwrap());
            Play::json(200, json!({"data": [{"url": url}]}))
        }
        _ => Play::new(302, &[("location", &location)], ""),
    })
    .await;
    let failure = failure(&adapter_of(&server.url, json!({}))).await;
    assert_eq!(failure.code, ErrorCode::Permanent);
    assert_eq!(hidden.accepted(), 0, "the hidden server was asked");
    // With the settings' leave it is.
    let answer = json!({"data": [{"url": hidden.url}]});
    let server = Server::start(move |_| Play::json(200, answer.clone())).await;
    let leave = json!({"fetch": {"allow_http": true, "allow_private": true}});
    drawn(&adapter_of(&server.url, leave), call(1)).await.1.unwrap();
}

fn error(kind: &str, code: Value, message: &str) -> String {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

/// An answer, what it means, and the wait it asks for in milliseconds.
type Row = (u16, Headers, String, Essence, Option<u64>);

#[tokio::test]
async fn documented_errors_mean_what_they_say() {
    use ErrorCode::{AuthError, Permanent, RateLimit, Temporary, Timeout, Unknown};
    use FailureKind::{Client, Quota, Server as Broken};
    use Resend::{Freely, Never, Once};
    let request = "invalid_request_error";
    let rejected = "Your request was rejected as a result of our safety system. Your prompt …";
    let hint = "Rate limit reached. Please try again in 12s.";
    let rows: Vec<Row> = vec![
        (400, &[], error(request, json!("invalid_value"), "n"), (Permanent, Client, Never), None),
        (
            400,
            &[],
            error("image_generation_user_error", json!("moderation_blocked"), "x"),
            (Permanent, Client, Never),
            None,
        ),
        (400, &[], error(request, Value::Null, rejected), (Permanent, Client, Never), None),
        (
            400,
            &[],
            error(request, json!("billing_hard_limit_reached"), "x"),
            (RateLimit, Quota, Never),
            None,
        ),
        (
            401,
            &[],
            error(request, json!("invalid_api_key"), "Incorrect: sk-pr****ush"),
            (AuthError, Client, Never),
            None,
        ),
        (401, &[], error(request, Value::Null, "no member"), (AuthError, Client, Never), None),
        (
            403,
            &[],
            error(request, json!("unsupported_country"), "x"),
            (AuthError, Client, Never),
            None,
        ),
        (404, &[], error(request, json!("model_not_found"), "x"), (Permanent, Client, Never), None),
        (408, &[], String::new(), (Timeout, FailureKind::Timeout, Once), None),
        (409, &[], String::new(), (Temporary, Broken, Freely), None),
        (413, &[], "<html>too large".into(), (Permanent, Client, Never), None),
        (
            429,
            &[("retry-after", "20")],
            error("requests", json!("rate_limit_exceeded"), "x"),
            (RateLimit, Quota, Freely),
            Some(20_000),
        ),
        (
            429,
            &[("retry-after-ms", "250.5")],
            error("requests", Value::Null, "x"),
            (RateLimit, Quota, Freely),
            Some(250),
        ),
        (
            429,
            &[],
            error("requests", json!("rate_limit_exceeded"), hint),
            (RateLimit, Quota, Freely),
            Some(12_000),
        ),
        (
            429,
            &[],
            error("insufficient_quota", json!("insufficient_quota"), "x"),
            (RateLimit, Quota, Never),
            None,
        ),
        (500, &[], error("server_error", Value::Null, "x"), (Temporary, Broken, Freely), None),
        (
            500,
            &[("x-should-retry", "false")],
            error("server_error", Value::Null, "x"),
            (Temporary, Broken, Never),
            None,
        ),
        (
            503,
            &[("retry-after", "3")],
            error("service_unavailable_error", json!("server_is_overloaded"), "x"),
            (Temporary, Broken, Freely),
            Some(3_000),
        ),
        (502, &[], "<html><h1>Bad gateway</h1>".into(), (Temporary, Broken, Freely), None),
        (
            504,
            &[],
            error("server_error", json!("wait_timeout"), "x"),
            (Timeout, FailureKind::Timeout, Once),
            None,
        ),
        (524, &[], "<html>".into(), (Timeout, FailureKind::Timeout, Once), None),
        (
            500,
            &[],
            json!({"error": "generate_image returned no results"}).to_string(),
            (Temporary, Broken, Freely),
            None,
        ),
        (
            307,
            &[("location", "http://127.0.0.1:1/")],
            String::new(),
            (Unknown, FailureKind::Unknown, Once),
            None,
        ),
        (
            200,
            &[],
            error("server_error", json!("slow_down"), "x"),
            (RateLimit, Quota, Freely),
            None,
        ),
    ];
    for (status, headers, body, expected, wait_ms) in rows {
        let shown = format!("{status} {body}");
        let server = Server::start(move |_| Play::new(status, headers, &body)).await;
        let failure = failure(&adapter(&server)).await;
        assert_eq!(essence(&failure), expected, "{shown}: {failure:?}");
        let wait = failure.retry_after.map(|wait| wait.as_millis() as u64);
        assert_eq!(wait, wait_ms, "{shown}");
        assert_eq!(failure.origin.status, Some(status), "{shown}");
        assert!(!failure.detail.is_empty() && !failure.detail.contains("<h1>"), "{failure:?}");
        assert_eq!(server.requests().len(), 1, "{shown}: sent again, or elsewhere");
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_is_classified_like_one_outside() {
    let expect = |event: &'static str| async move {
        let server = Server::start(move |_| Play::events(event)).await;
        essence(&failure(&adapter(&server)).await)
    };
    let limit =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"code\":\"rate_limit_exceeded\"}}\n\n";
    let down = "event: error\ndata: {\"error\":{\"type\":\"server_error\",\"code\":null}}\n\n";
    let cut = "event: image_generation.partial_image\ndata: {\"type\":";
    assert_eq!(expect(limit).await, (ErrorCode::RateLimit, FailureKind::Quota, Resend::Freely));
    assert_eq!(expect(down).await, (ErrorCode::Temporary, FailureKind::Server, Resend::Freely));
    assert_eq!(expect(cut).await, (ErrorCode::Temporary, FailureKind::Server, Resend::Once));
}

#[tokio::test]
async fn a_success_that_is_none_is_asked_again_once_at_most() {
    let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    let two = images(&[png(64, 64), png(64, 64)]).to_string();
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":";
    for play in [
        Play::new(200, &[], ""),
        Play::new(200, &[("content-type", "text/html")], "<html>busy</html>"),
        Play::new(200, &[], r#"{"created":1}"#),
        Play::new(200, &[], r#"{"created":1,"data":[]}"#),
        Play::new(200, &[], r#"{"created":1,"data":[{}]}"#),
        Play::new(200, &[], r#"{"data":[{"b64_json":"%"}]}"#),
        Play::new(200, &[], json!({"data": [{"b64_json": STANDARD.encode(svg)}]}).to_string()),
        Play::new(200, &[], two),
        Play::Cut(short.into()),
        Play::Cut(Vec::new()),
        Play::Cut("SSH-2.0-nothing\r\n".into()),
        Play::Flood("HTTP/1.1 200 OK\r\ncontent-length: 500000000\r\n\r\n".into(), 0),
        Play::Flood("HTTP/1.1 200 OK\r\n\r\n".into(), 500_000_000),
        Play::Flood(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ".into(),
            500_000_000,
        ),
    ] {
        let play = std::sync::Mutex::new(Some(play));
        let server = Server::start(move |_| {
            play.lock().unwrap().take().unwrap_or_else(|| panic!("asked twice"))
        })
        .await;
        let failure = failure(&adapter(&server)).await;
        assert_eq!(failure.resend, Resend::Once, "{failure:?}");
        assert!(matches!(failure.code, ErrorCode::Unknown | ErrorCode::Temporary));
        let open = || server.open();
        until("the connection's end", async || (open() <= 1).then_some(())).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_may_be_asked_again_freely() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = failure(&adapter_of(&url, json!({}))).await;
    let expected = (ErrorCode::Temporary, FailureKind::Server, Resend::Freely);
    assert_eq!(essence(&failure), expected, "{failure:?}");
    assert!(failure.detail.contains("refused"), "{failure:?}");
}

#[tokio::test]
async fn the_key_is_in_no_failure_and_no_debug_form() {
    let echo = |request: &crate::scripted::Request| {
        let key = request.header("authorization").unwrap_or("none").to_owned();
        Play::new(400, &[("x-request-id", "req-1")], error(&key, json!(key), &format!("bad {key}")))
    };
    let server = Server::start(echo).await;
    let adapter = adapter(&server);
    let failure = failure(&adapter).await;
    for text in [format!("{failure:?}"), format!("{adapter:?}")] {
        assert!(!text.contains(KEY), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
    assert_eq!(failure.origin.request_id.as_deref(), Some("req-1"));
}

#[tokio::test]
async fn what_the_model_can_not_do_is_refused_without_a_request() {
    let server = Server::always(500, "").await;
    let adapter = adapter_of(&server.url, json!({"model": "dall-e-3"}));
    let failure = failure(&adapter).await;
    assert_eq!(failure.code, ErrorCode::Permanent);
    assert!(failure.message.contains("1024x1024"), "{failure:?}");
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_was_closed_costs_nothing() {
    let server = Server::start(|_| {
        let Play::Answer(bytes) = Play::json(200, images(&[png(64, 64)])) else { unreachable!() };
        Play::Answer(bytes)
    })
    .await;
    let kept = adapter(&server);
    for _ in 0..3 {
        drawn(&kept, call(1)).await.1.unwrap();
    }
    assert_eq!(server.accepted(), 1);

    let closing = Server::start(|_| {
        let Play::Answer(bytes) = Play::json(200, images(&[png(64, 64)])) else { unreachable!() };
        Play::Cut(bytes)
    })
    .await;
    let adapter = adapter(&closing);
    let before = alive_tasks();
    for times in 1..=3 {
        drawn(&adapter, call(1)).await.1.unwrap();
        // The client's task of the connection has seen its end.
        until("the end of the connection", async || (alive_tasks() <= before).then_some(())).await;
        assert_eq!(closing.accepted(), times);
    }
}

#[tokio::test]
async fn three_hundred_aborted_calls_close_their_sockets_and_leave_nothing() {
    // The head has come or not, the body has begun or not.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Play::Hang(match nth % 3 {
            0 => Vec::new(),
            1 => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".into(),
            _ => "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hi\n\n".into(),
        })
    })
    .await;
    let adapter = adapter(&server);
    let (fds_before, tasks_before) = (descriptors(), alive_tasks());
    let mut resident_before = 0;
    for round in 0..10 {
        if round == 3 {
            resident_before = resident_bytes();
        }
        let calls: Vec<_> = (0..30).map(|_| call(1)).collect();
        let stops: Vec<_> = calls.iter().map(|call| call.stop.clone()).collect();
        let (sender, _receiver) = mpsc::channel(1);
        let running = calls.into_iter().map(|call| adapter.generate(call, sender.clone()));
        let running = futures::future::join_all(running);
        let asked = until("the calls", async || {
            (server.requests().len() == (round + 1) * 30).then_some(())
        });
        // Half of the rounds cancel the token, the others drop the future.
        let mut running = Box::pin(running);
        tokio::select! {
            _ = &mut running => panic!("a call ended by itself"),
            () = asked => {}
        }
        let stopped_at = Instant::now();
        if round % 2 == 0 {
            stops.iter().for_each(tokio_util::sync::CancellationToken::cancel);
            assert!(running.await.iter().all(Result::is_err));
        } else {
            drop(running);
        }
        until("the sockets' end", async || (server.left() == (round + 1) * 30).then_some(())).await;
        assert!(stopped_at.elapsed() < Duration::from_secs(1), "{:?}", stopped_at.elapsed());
    }
    until("tasks and descriptors as before", async || {
        (server.open() == 0 && alive_tasks() <= tasks_before && descriptors() <= fds_before)
            .then_some(())
    })
    .await;
    let grown = resident_bytes().saturating_sub(resident_before);
    assert!(grown < RESIDENT_GROWTH_MAX, "210 aborted calls left {grown} bytes");
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_the_adapter_up_for_ever() {
    // Nobody takes the updates; a stop still ends the call.
    let server = Server::start(|_| Play::json(200, images(&vec![png(64, 64); 4]))).await;
    let adapter = adapter(&server);
    let (sender, mut receiver) = mpsc::channel(1);
    let stalled = call(4);
    let stop = stalled.stop.clone();
    let (result, ()) = tokio::join!(adapter.generate(stalled, sender), async {
        assert!(matches!(receiver.recv().await, Some(Update::Usage(_))));
        stop.cancel();
    });
    assert!(result.is_err());
}
