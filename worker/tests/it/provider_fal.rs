//! The fal adapter against a server that plays the queue, and its traps.

use std::sync::atomic::{AtomicU32, Ordering};

use framewire_shared::domain::{ErrorCode, Failure, FailureKind, OutputFormat, Resend};
use framewire_shared::testing::until;
use framewire_worker::provider::fal::{Fal, FalOptions};
use serde_json::{Value, json};

use crate::scripted::{
    Essence, Headers, Play, Request, Server, call, drawn, essence, failure, word,
};
use crate::world::png;

fn adapter_of(server: &Server, more: Value) -> Fal {
    let mut options = json!({"name": "fal", "base_url": server.url, "key": "id:hush",
        "model": "fal-ai/flux/dev"});
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let options: FalOptions = serde_json::from_value(options).unwrap();
    Fal::new(options).unwrap()
}

fn adapter(server: &Server) -> Fal {
    adapter_of(server, json!({}))
}

const REQUEST: &str = "/fal-ai/flux/requests/r-1";

/// Plays the queue; a request's status and result are given.
async fn queue(
    status: impl Fn(&Request) -> Play + Send + Sync + 'static,
    result: impl Fn(&Request) -> Play + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", _) => Play::json(
            200,
            json!({"status": "IN_QUEUE", "request_id": "r-1",
            "status_url": "http://127.0.0.1:1/stolen", "queue_position": 0}),
        ),
        ("PUT", _) => Play::json(202, json!({"status": "CANCELLATION_REQUESTED"})),
        (_, path) if path == format!("{REQUEST}/status?logs=1") => status(request),
        (_, REQUEST) => result(request),
        (_, "/out.png") => Play::new(200, &[], png(64, 64).bytes),
        other => panic!("{other:?}"),
    })
    .await
}

fn completed(_: &Request) -> Play {
    Play::json(
        200,
        json!({"status": "COMPLETED", "logs": null, "metrics": {}, "request_id": "r-1"}),
    )
}

fn picture(request: &Request) -> Play {
    let url = format!("http://{}/out.png", request.header("host").unwrap());
    Play::json(
        200,
        json!({"images": [{"url": url, "width": 64, "height": 64,
        "content_type": "image/png"}], "seed": 42, "has_nsfw_concepts": [false]}),
    )
    .with("x-fal-billable-units", "0.5")
}

#[tokio::test]
async fn a_frame_is_a_request_that_is_looked_at_until_it_is_completed() {
    let looks = AtomicU32::new(0);
    let status = move |request: &Request| match looks.fetch_add(1, Ordering::SeqCst) {
        0 => Play::json(202, json!({"status": "IN_QUEUE", "queue_position": 3})),
        1 => Play::json(
            202,
            json!({"status": "IN_PROGRESS", "logs": [
            {"message": " 25%|##  | 5/20", "level": "INFO"}, {"message": "hello"}]}),
        ),
        _ => completed(request),
    };
    let server = queue(status, picture).await;
    let mut wanted = call(1);
    wanted.input.output_format = OutputFormat::Webp;
    let (updates, result) = drawn(&adapter(&server), wanted).await;
    result.unwrap();
    let words: Vec<_> = updates.iter().map(word).collect();
    let expected = [
        "checkpoint r-1",
        "progress 5/20",
        r#"usage {"billable_units":0.5}"#,
        "frame 0 of 42 as image/webp",
    ];
    assert_eq!(words, expected);
    let submit = &server.requests()[0];
    assert_eq!(submit.path, "/fal-ai/flux/dev");
    assert_eq!(submit.header("authorization"), Some("Key id:hush"));
    assert_eq!(submit.header("x-fal-no-retry"), Some("1"));
    let expected = json!({"prompt": "a red fox", "image_size": {"width": 64, "height": 64},
        "num_inference_steps": 20, "seed": 7, "output_format": "png", "num_images": 1});
    assert_eq!(submit.json(), expected);
    assert!(!server.asked().iter().any(|asked| asked.ends_with("/cancel")));
}

#[tokio::test]
async fn a_request_is_resumed_by_its_name_and_made_anew_only_when_it_is_unknown() {
    let server = queue(completed, picture).await;
    let mut resumed = call(1);
    resumed.checkpoint = Some("r-1".into());
    drawn(&adapter(&server), resumed).await.1.unwrap();
    assert!(!server.asked().iter().any(|asked| asked.starts_with("POST")), "it was paid for twice");

    let server = Server::start(|request| match request.path.as_str() {
        "/fal-ai/flux/requests/gone/status?logs=1" => Play::json(404, json!({"detail": "x"})),
        "/fal-ai/flux/dev" => Play::json(200, json!({"request_id": "r-1"})),
        "/out.png" => Play::new(200, &[], png(64, 64).bytes),
        REQUEST => picture(request),
        _ => completed(request),
    })
    .await;
    let mut forgotten = call(1);
    forgotten.checkpoint = Some("gone".into());
    let (updates, result) = drawn(&adapter(&server), forgotten).await;
    result.unwrap();
    assert_eq!(word(&updates[0]), "checkpoint r-1");
}

/// An answer, and what it means.
type Row = (u16, Headers, Value, Essence);

fn rows() -> Vec<Row> {
    use ErrorCode::{AuthError, Permanent, RateLimit, Temporary, Timeout, Unknown};
    use FailureKind::{Client, Quota, Server as Broken};
    use Resend::{Freely, Never, Once};
    let model = |kind: &str| {
        json!({"detail": [{"loc": ["body", "prompt"], "msg": "no",
        "type": kind, "input": "hush"}]})
    };
    let platform = |kind: &str| json!({"detail": "prose", "error_type": kind});
    let locked = json!({"detail": "User is locked. Reason: Exhausted balance. Top up at x"});
    let admin = json!({"detail": "User is locked. Reason: Admin lock"});
    vec![
        (504, &[], platform("generation_timeout"), (Timeout, FailureKind::Timeout, Once)),
        (504, &[], platform("startup_timeout"), (Timeout, FailureKind::Timeout, Freely)),
        (503, &[], platform("runner_disconnected"), (Temporary, Broken, Freely)),
        (500, &[("x-fal-error-type", "internal_error")], json!({}), (Temporary, Broken, Freely)),
        (422, &[], model("content_policy_violation"), (Permanent, Client, Never)),
        (422, &[], model("image_too_small"), (Permanent, Client, Never)),
        (422, &[], model("no_media_generated"), (Unknown, FailureKind::Unknown, Once)),
        (
            422,
            &[("x-fal-retryable", "true")],
            model("file_download_error"),
            (Temporary, Broken, Freely),
        ),
        (
            500,
            &[("x-fal-retryable", "false")],
            platform("internal_server_error"),
            (Temporary, Broken, Never),
        ),
        (400, &[], platform("downstream_service_error"), (Permanent, Client, Never)),
        (401, &[], platform("unauthorized"), (AuthError, Client, Never)),
        (403, &[], locked, (RateLimit, Quota, Never)),
        (403, &[], admin, (AuthError, Client, Never)),
        (402, &[], json!({}), (RateLimit, Quota, Never)),
        (
            429,
            &[("retry-after", "2")],
            json!({"detail": "queue is full"}),
            (RateLimit, Quota, Freely),
        ),
    ]
}

fn check(failure: &Failure, expected: Essence, shown: &str) {
    assert_eq!(essence(failure), expected, "{shown}: {failure:?}");
    assert!(!format!("{failure:?}").contains("hush"), "{failure:?}");
}

#[tokio::test]
async fn documented_errors_mean_what_they_say_at_the_submit() {
    for (status, headers, body, expected) in rows() {
        let (shown, text) = (format!("{status} {body}"), body.to_string());
        let server = Server::start(move |_| Play::new(status, headers, &text)).await;
        check(&failure(&adapter(&server)).await, expected, &shown);
        assert_eq!(server.requests().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn documented_errors_mean_the_same_behind_a_completed_status() {
    // Those with fal's own word are the request's; the others are of the way there.
    let own =
        |body: &Value| body["error_type"].is_string() || body["detail"][0]["type"].is_string();
    for (status, headers, body, expected) in rows().into_iter().filter(|row| own(&row.2)) {
        let (shown, text) = (format!("{status} {body}"), body.to_string());
        let server = queue(completed, move |_| Play::new(status, headers, &text)).await;
        check(&failure(&adapter(&server)).await, expected, &shown);
    }
    let told = |_: &Request| {
        Play::json(
            200,
            json!({"status": "COMPLETED", "error": "Runner disconnected",
            "error_type": "runner_disconnected", "metrics": {}}),
        )
    };
    let server = queue(told, picture).await;
    let expected = (ErrorCode::Temporary, FailureKind::Server, Resend::Freely);
    check(&failure(&adapter(&server)).await, expected, "COMPLETED with an error");
    assert!(!server.asked().contains(&format!("GET {REQUEST}")));
}

#[tokio::test]
async fn a_result_without_a_picture_is_no_success() {
    use ErrorCode::{Permanent, Unknown};
    let nonsense = (Unknown, FailureKind::Unknown, Resend::Once);
    for (result, expected) in [
        (json!({"images": []}), nonsense),
        (json!({}), nonsense),
        (json!("<html>"), nonsense),
        (json!({"images": [{"url": "data:image/png;base64,AAAA"}]}), nonsense),
        (
            json!({"images": [{"url": "data:image/png;base64,AAAA"}], "has_nsfw_concepts": [true]}),
            (Permanent, FailureKind::Client, Resend::Never),
        ),
    ] {
        let shown = result.to_string();
        let server = queue(completed, move |_| Play::json(200, result.clone())).await;
        check(&failure(&adapter(&server)).await, expected, &shown);
    }
}

#[tokio::test]
async fn a_stop_closes_the_socket_and_cancels_the_request() {
    let server = queue(|_| Play::Hang(Vec::new()), picture).await;
    let adapter = adapter(&server);
    let running = call(1);
    let stop = running.stop.clone();
    let stopping = async {
        until("the look", async || (server.asked().len() == 2).then_some(())).await;
        stop.cancel();
    };
    let ((_, result), ()) = tokio::join!(drawn(&adapter, running), stopping);
    assert!(result.is_err());
    until("the socket's end", async || (server.left() == 1).then_some(())).await;
    let cancel = format!("PUT {REQUEST}/cancel");
    until("the cancel", async || server.asked().contains(&cancel).then_some(())).await;
}

#[tokio::test]
async fn an_app_in_a_namespace_is_looked_at_below_its_owner() {
    let server = Server::start(|request| match request.path.as_str() {
        "/workflows/me/mine/deep" => Play::json(200, json!({"request_id": "r-1"})),
        "/workflows/me/mine/requests/r-1/status?logs=1" => completed(request),
        "/workflows/me/mine/requests/r-1" => picture(request),
        "/out.png" => Play::new(200, &[], png(64, 64).bytes),
        other => panic!("{other}"),
    })
    .await;
    let adapter = adapter_of(&server, json!({"model": "workflows/me/mine/deep"}));
    drawn(&adapter, call(1)).await.1.unwrap();
}
