//! The Replicate adapter against a server that plays predictions, and their traps.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use framewire_shared::domain::{ErrorCode, FailureKind, OutputFormat, Resend};
use framewire_shared::testing::until;
use framewire_worker::provider::replicate::{Replicate, ReplicateOptions};
use framewire_worker::provider::{Picture, Provider, Source};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::scripted::{
    Play, Request, Server, alive_tasks, call, descriptors, drawn, essence, failure, word,
};
use crate::world::png;

fn adapter_of(server: &Server, more: Value) -> Replicate {
    let mut options = json!({
        "name": "replicate", "base_url": format!("{}/v1", server.url), "key": "r8_hush",
        "model": "black-forest-labs/flux-dev", "side_step_px": 8,
        "input": {"prompt": "$prompt", "seed": "$seed", "output_format": "$format",
            "image": "$image", "prompt_strength": "$strength", "go_fast": true},
    });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let options: ReplicateOptions = serde_json::from_value(options).unwrap();
    Replicate::new(options).unwrap()
}

fn adapter(server: &Server) -> Replicate {
    adapter_of(server, json!({}))
}

/// Plays the API: names are p0, p1 and so on; `look` says what a prediction is.
async fn api(look: impl Fn(&str, &Request) -> Play + Send + Sync + 'static) -> Server {
    let created = AtomicU32::new(0);
    Server::start(move |request| {
        let path = request.path.as_str();
        match (request.method.as_str(), path.strip_prefix("/v1/predictions/")) {
            ("POST", Some(cancel)) if cancel.ends_with("/cancel") => Play::json(200, json!({})),
            ("GET", Some(id)) => look(id, request),
            ("GET", None) => Play::new(200, &[], png(64, 64).bytes),
            _ => {
                let id = format!("p{}", created.fetch_add(1, Ordering::SeqCst));
                Play::json(201, json!({"id": id, "status": "starting", "logs": "", "urls": {}}))
            }
        }
    })
    .await
}

fn succeeded(request: &Request) -> Play {
    let url = format!("http://{}/out.png", request.header("host").unwrap());
    Play::json(
        200,
        json!({"id": "p", "status": "succeeded", "output": [url], "error": null,
        "logs": "100%|###| 20/20", "metrics": {"predict_time": 1.5}}),
    )
}

#[tokio::test]
async fn a_frame_is_a_prediction_that_is_looked_at_until_it_is_done() {
    let looks = AtomicU32::new(0);
    let server = api(move |id, request| match looks.fetch_add(1, Ordering::SeqCst) {
        0 => Play::json(200, json!({"id": id, "status": "starting", "logs": null})),
        // A look that fails is no reason to give up what is paid for.
        1 => Play::new(502, &[], "<html>"),
        2 => Play::json(
            200,
            json!({"id": id, "status": "processing",
            "logs": "  0%|   | 0/20\r 50%|###| 10/20 [00:01<00:01]\n"}),
        ),
        _ => succeeded(request),
    })
    .await;
    let mut wanted = call(2);
    wanted.input.output_format = OutputFormat::Jpeg;
    wanted.input.seed = Some(u64::from(u32::MAX));
    let (updates, result) = drawn(&adapter(&server), wanted).await;
    result.unwrap();
    let words: Vec<_> = updates.iter().map(word).collect();
    let expected = [
        "checkpoint p0",
        "checkpoint p0,p1",
        "progress 10/40",
        r#"usage {"predict_s":1.5}"#,
        "frame 0 of 4294967295 as image/jpeg",
        r#"usage {"predict_s":1.5}"#,
        "frame 1 of 0 as image/jpeg",
    ];
    assert_eq!(words, expected);
    let requests = server.requests();
    assert_eq!(requests[0].path, "/v1/models/black-forest-labs/flux-dev/predictions");
    let input = json!({"input": {"prompt": "a red fox", "seed": u32::MAX, "output_format": "jpg",
        "go_fast": true}});
    assert_eq!(requests[0].json(), input);
    assert_eq!(requests[2].header("authorization"), Some("Bearer r8_hush"));
    let output = requests.iter().find(|request| request.path == "/out.png").unwrap();
    assert_eq!(output.header("authorization"), None);
    assert!(!server.asked().iter().any(|asked| asked.ends_with("/cancel")));
}

#[tokio::test]
async fn an_attempt_after_a_lost_worker_goes_on_with_the_predictions_there_are() {
    let server = api(|id, request| match id {
        "known" => succeeded(request),
        "removed" => {
            Play::json(200, json!({"id": id, "status": "succeeded", "data_removed": true}))
        }
        "p0" | "p1" | "p2" => succeeded(request),
        _ => Play::json(404, json!({"detail": "Not found."})),
    })
    .await;
    let mut resumed = call(4);
    resumed.checkpoint = Some("known,forgotten,removed".into());
    let (updates, result) = drawn(&adapter(&server), resumed).await;
    result.unwrap();
    let words: Vec<_> =
        updates.iter().map(word).filter(|word| word.starts_with("checkpoint")).collect();
    let expected = [
        "checkpoint known,forgotten,removed,p0",
        "checkpoint known,p1,removed,p0",
        "checkpoint known,p1,p2,p0",
    ];
    assert_eq!(words, expected);
    let seeds: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| request.json()["input"]["seed"].clone())
        .collect();
    assert_eq!(seeds, [10, 8, 9], "a frame was drawn from another's seed");
}

#[tokio::test]
async fn a_large_picture_is_uploaded_and_a_small_one_goes_along() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v1/files" => Play::json(201, json!({"id": "f", "urls": {"get": "https://files/f"}})),
        _ => Play::new(422, &[], ""),
    })
    .await;
    let adapter = adapter(&server);
    let large = Picture { bytes: vec![0; 300_000].into(), ..png(64, 64) };
    for (picture, expected) in [(large, "https://files/f"), (png(64, 64), "data:image/png;base64,")]
    {
        let mut edit = call(1);
        edit.source = Some(Source { picture, mask: None, strength: 0.5 });
        assert!(drawn(&adapter, edit).await.1.is_err());
        let input = server.requests().last().unwrap().json()["input"].clone();
        assert!(input["image"].as_str().unwrap().starts_with(expected), "{input}");
        assert_eq!(input["prompt_strength"], json!(0.5));
    }
    let mut masked = call(1);
    masked.source = Some(Source { picture: png(64, 64), mask: Some(png(64, 64)), strength: 0.5 });
    let refused = drawn(&adapter, masked).await.1.unwrap_err();
    assert!(refused.message.contains("mask"), "a mask was dropped silently: {refused:?}");
}

#[tokio::test]
async fn refusals_to_create_mean_what_they_say() {
    use ErrorCode::{AuthError, Permanent, RateLimit, Temporary, Timeout, Unknown};
    use FailureKind::{Client, Quota, Server as Broken};
    use Resend::{Freely, Never, Once};
    let throttled = json!({"detail": "Request was throttled. Your rate limit resets in ~30s.",
        "status": 429});
    for (status, body, expected, wait_s) in [
        (401, json!({"title": "Unauthenticated", "detail": "x"}), (AuthError, Client, Never), None),
        (402, json!({"title": "Insufficient credit"}), (RateLimit, Quota, Never), None),
        (403, json!({}), (AuthError, Client, Never), None),
        (404, json!({"detail": "no such model"}), (Permanent, Client, Never), None),
        (
            422,
            json!({"title": "Input validation failed", "detail": "- input.prompt is required"}),
            (Permanent, Client, Never),
            None,
        ),
        (429, throttled, (RateLimit, Quota, Freely), Some(30)),
        (500, json!("<html>"), (Temporary, Broken, Freely), None),
        (504, json!("<html>"), (Timeout, FailureKind::Timeout, Once), None),
        (201, json!({"id": ""}), (Unknown, FailureKind::Unknown, Once), None),
        (201, json!({"id": "../../v1/files"}), (Unknown, FailureKind::Unknown, Once), None),
        (201, json!("<html>"), (Unknown, FailureKind::Unknown, Once), None),
    ] {
        let server = Server::always(status, body.to_string()).await;
        let failure = failure(&adapter(&server)).await;
        assert_eq!(essence(&failure), expected, "{status} {body}: {failure:?}");
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), wait_s, "{status} {body}");
        assert_eq!(server.requests().len(), 1, "{status} {body}");
    }
}

#[tokio::test]
async fn ends_of_a_prediction_mean_what_they_say() {
    use ErrorCode::{Permanent, Temporary, Timeout, Unknown};
    use FailureKind::{Client, Server as Broken};
    use Resend::{Freely, Never, Once};
    let failed = |error: &str| json!({"id": "p0", "status": "failed", "error": error});
    for (prediction, expected) in [
        (failed("NSFW content detected. Try a different prompt"), (Permanent, Client, Never)),
        (
            failed("The input or output was flagged as sensitive. (E005)"),
            (Permanent, Client, Never),
        ),
        (failed("CUDA out of memory (E1001)"), (Temporary, Broken, Once)),
        (failed("director: unexpected error handling prediction"), (Temporary, Broken, Freely)),
        (failed("E6716: failed to start"), (Temporary, Broken, Freely)),
        (failed("ValueError: width must be even"), (Permanent, Client, Never)),
        (failed("something else"), (Unknown, FailureKind::Unknown, Once)),
        (json!({"id": "p0", "status": "failed"}), (Unknown, FailureKind::Unknown, Once)),
        (json!({"id": "p0", "status": "aborted"}), (Timeout, FailureKind::Timeout, Freely)),
        (json!({"id": "p0", "status": "canceled"}), (Temporary, Broken, Freely)),
        (
            json!({"id": "p0", "status": "succeeded", "output": null}),
            (Unknown, FailureKind::Unknown, Once),
        ),
        (
            json!({"id": "p0", "status": "succeeded", "output": []}),
            (Unknown, FailureKind::Unknown, Once),
        ),
    ] {
        let shown = prediction.to_string();
        let server = api(move |_, _| Play::json(200, prediction.clone())).await;
        let failure = failure(&adapter(&server)).await;
        assert_eq!(essence(&failure), expected, "{shown}: {failure:?}");
        assert!(!server.asked().iter().any(|it| it.ends_with("/cancel")), "{shown}: it had ended");
    }
}

#[tokio::test]
async fn what_is_under_way_is_cancelled_at_a_stop_but_not_when_another_worker_goes_on() {
    for (handed_on, dropped) in [(false, false), (false, true), (true, false), (true, true)] {
        let server = api(|_, _| Play::Hang(Vec::new())).await;
        let adapter = adapter(&server);
        let before = alive_tasks();
        let running = call(2);
        let (stop, passed) = (running.stop.clone(), running.handed_on.clone());
        let mut generating = Box::pin(drawn(&adapter, running));
        tokio::select! {
            _ = &mut generating => panic!("it ended by itself"),
            () = until("the look", async || (server.asked().len() == 3).then_some(())) => {}
        }
        if handed_on {
            passed.cancel();
        }
        if !dropped {
            stop.cancel();
            assert!((&mut generating).await.1.is_err());
        }
        drop(generating);
        until("the socket's end", async || (server.left() == 1).then_some(())).await;
        let cancels = || server.asked().iter().filter(|it| it.ends_with("/cancel")).count();
        if !handed_on {
            until("the cancels", async || (cancels() == 2).then_some(())).await;
        }
        // Kept connections have a task at each end.
        until("the end of our tasks", async || (alive_tasks() <= before + 4).then_some(())).await;
        assert_eq!(cancels(), if handed_on { 0 } else { 2 });
    }
}

/// Begins a call, leaves it when the server has been asked, and does something right after that.
async fn left_at_create(
    server: &Server,
    adapter: &Replicate,
    dropped: bool,
    then: impl FnOnce(),
) -> Instant {
    let running = call(1);
    let stop = running.stop.clone();
    let mut generating = Box::pin(drawn(adapter, running));
    tokio::select! {
        _ = &mut generating => panic!("it ended by itself"),
        () = until("the request", async || (server.asked().len() == 1).then_some(())) => {}
    }
    let left_at = Instant::now();
    if dropped {
        drop(generating);
        then();
    } else {
        stop.cancel();
        then();
        assert!(generating.await.1.is_err());
    }
    left_at
}

#[tokio::test]
async fn a_prediction_whose_create_is_answered_after_the_stop_is_cancelled_too() {
    for dropped in [false, true] {
        let gate = Arc::new(Notify::new());
        let late = gate.clone();
        let server = Server::start(move |request| {
            if request.path.ends_with("/cancel") {
                return Play::json(200, json!({}));
            }
            Play::After(late.clone(), Box::new(Play::json(201, json!({"id": "p0"}))))
        })
        .await;
        let adapter = adapter(&server);
        left_at_create(&server, &adapter, dropped, || gate.notify_one()).await;
        let cancel = "POST /v1/predictions/p0/cancel".to_owned();
        until("the cancel", async || server.asked().contains(&cancel).then_some(())).await;
        assert_eq!(server.asked().len(), 2, "it was looked at: {:?}", server.asked());
    }
}

#[tokio::test]
async fn a_create_that_is_never_answered_keeps_its_socket_less_than_a_second_after_the_stop() {
    for dropped in [false, true] {
        let server = Server::start(|_| Play::Hang(Vec::new())).await;
        let adapter = adapter(&server);
        let before = alive_tasks();
        let left_at = left_at_create(&server, &adapter, dropped, || {}).await;
        until("the socket's end", async || (server.left() == 1).then_some(())).await;
        assert!(left_at.elapsed() < Duration::from_secs(1), "{:?}", left_at.elapsed());
        until("the end of our tasks", async || (alive_tasks() <= before).then_some(())).await;
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_prediction_that_the_next_worker_can_not_know_of_is_not_left_to_it() {
    let server = api(|_, _| panic!("it was looked at")).await;
    let adapter = adapter(&server);
    let running = call(1);
    let (stop, handed_on) = (running.stop.clone(), running.handed_on.clone());
    // Nobody takes the checkpoint.
    let (sender, receiver) = mpsc::channel(8);
    let mut generating = adapter.generate(running, sender);
    tokio::select! {
        _ = &mut generating => panic!("it ended by itself"),
        () = until("the checkpoint", async || (receiver.len() == 1).then_some(())) => {}
    }
    handed_on.cancel();
    stop.cancel();
    assert!(generating.await.is_err());
    let cancel = "POST /v1/predictions/p0/cancel".to_owned();
    until("the cancel", async || server.asked().contains(&cancel).then_some(())).await;
}

#[tokio::test]
async fn three_hundred_aborted_calls_leave_nothing() {
    let server = Server::start(|request| match request.path.ends_with("/cancel") {
        true => Play::new(200, &[("connection", "close")], "{}"),
        false if request.method == "POST" => {
            Play::new(201, &[("connection", "close")], r#"{"id":"p0","status":"starting"}"#)
        }
        false => Play::Hang(Vec::new()),
    })
    .await;
    let adapter = adapter(&server);
    let (fds_before, tasks_before) = (descriptors(), alive_tasks());
    for round in 1..=10 {
        let calls: Vec<_> = (0..30).map(|_| call(1)).collect();
        let running = calls.into_iter().map(|call| drawn(&adapter, call));
        let mut running = Box::pin(futures::future::join_all(running));
        let count = |end: &'static str| {
            let server = &server;
            move || server.requests().iter().filter(|it| it.path.ends_with(end)).count()
        };
        let (looked, cancelled) = (count("/p0"), count("/p0/cancel"));
        tokio::select! {
            _ = &mut running => panic!("a call ended by itself"),
            () = until("the looks", async || (looked() == round * 30).then_some(())) => {}
        }
        drop(running);
        until("the ends", async || {
            (server.left() == round * 30 && cancelled() == round * 30).then_some(())
        })
        .await;
    }
    until("tasks and descriptors as before", async || {
        (alive_tasks() <= tasks_before && descriptors() <= fds_before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_token_is_in_no_failure_and_no_debug_form() {
    let server = Server::start(|request| {
        let key = request.header("authorization").unwrap().to_owned();
        Play::json(400, json!({"title": key, "detail": format!("bad {key}")}))
    })
    .await;
    let adapter = adapter(&server);
    let failure = failure(&adapter).await;
    assert!(!format!("{failure:?} {adapter:?}").contains("hush"), "{failure:?}");
}

#[tokio::test]
async fn an_output_that_is_slow_to_appear_is_fetched_again_and_a_missing_one_is_paid_for() {
    let missing = Mutex::new(2);
    let server = Server::start(move |request| match request.path.as_str() {
        "/out.png" => {
            let mut missing = missing.lock().unwrap();
            if *missing == 0 {
                return Play::new(200, &[], png(64, 64).bytes);
            }
            *missing -= 1;
            Play::new(404, &[], "")
        }
        "/v1/predictions/p0" => succeeded(request),
        _ => Play::json(201, json!({"id": "p0"})),
    })
    .await;
    drawn(&adapter(&server), call(1)).await.1.unwrap();
    let server = Server::start(move |request| match request.path.as_str() {
        "/out.png" => Play::new(404, &[], ""),
        "/v1/predictions/p0" => succeeded(request),
        _ => Play::json(201, json!({"id": "p0"})),
    })
    .await;
    let failure = failure(&adapter(&server)).await;
    assert_eq!(essence(&failure), (ErrorCode::Temporary, FailureKind::Server, Resend::Once));
}
