//! What is shown where there is no frame, over HTTP; and deleting, after which it must not lead
//! to what is gone.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Gateway, User, Worker, job_id, json_of, problem_of};

const SHIPPED: &str = "/v1/fallback.webp";
/// More than this is no stand-in any more.
const SHIPPED_BYTES_MAX: usize = 40_000;

fn shipped() -> Value {
    json!({"url": SHIPPED, "kind": "static"})
}

fn session(url: &str) -> Value {
    json!({"url": url, "kind": "session"})
}

fn fox() -> Value {
    json!({"input": {"prompt": "a red fox"}})
}

/// Has a job completed; gives its name and its frame's URL.
async fn frame(user: &User<'_>, worker: &mut Worker<'_>) -> (String, String) {
    let job = user.job("a fox").await;
    let lease = worker.claim().await;
    assert_eq!(lease.job.as_str(), job);
    (job, worker.complete(&lease, b"0123456789").await.url())
}

async fn submit(user: &User<'_>, body: &Value) -> Response {
    user.ask(Method::POST, "/v1/jobs").json(body).send().await.unwrap()
}

#[tokio::test]
async fn the_picture_that_ships_is_there_for_anybody_for_good_and_without_redis() {
    let mut gateway = Gateway::start().await;
    gateway.redis.kill();
    let response = gateway.ask(Method::GET, SHIPPED).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "image/webp");
    assert_eq!(header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cross-origin-resource-policy"), "cross-origin");
    let etag = header("etag");
    let bytes = response.bytes().await.unwrap();
    assert!(bytes.len() <= SHIPPED_BYTES_MAX, "{} bytes", bytes.len());
    // Lossy WebP: RIFF, WEBP, VP8, then width and height in 14 bits each.
    assert_eq!((&bytes[..4], &bytes[8..16]), (&b"RIFF"[..], &b"WEBPVP8 "[..]));
    let side = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) & 0x3fff;
    assert_eq!((side(26), side(28)), (512, 512));
    let kept = gateway.ask(Method::GET, SHIPPED).header("if-none-match", etag);
    assert_eq!(kept.send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn every_refusal_of_a_submit_shows_the_sessions_last_frame_or_what_ships() {
    let gateway = Gateway::start_with(|settings| {
        settings.queue.session_max = 2.try_into().unwrap();
        settings.queue.queue_max = 4.try_into().unwrap();
    })
    .await;
    let (mine, new) = (gateway.user().await, gateway.user().await);
    let mut worker = Worker::start(&gateway, 1).await;
    let (_, url) = frame(&mine, &mut worker).await;
    let faulty = json!({"model": "builtin", "input": {"prompt": ""}});
    let unknown = json!({"model": "x", "input": {"prompt": "x"}});
    for (user, body, fallback) in [
        (&mine, &faulty, session(&url)),
        (&mine, &json!({}), session(&url)),
        (&mine, &unknown, shipped()),
        (&mine, &json!({"model": 7}), shipped()),
        (&new, &faulty, shipped()),
    ] {
        let problem = problem_of(submit(user, body).await, 422, "invalid_value").await;
        assert_eq!(problem["fallback"], fallback, "{body}");
    }

    for user in [&mine, &new] {
        assert_eq!(submit(user, &fox()).await.status(), 202);
        assert_eq!(submit(user, &fox()).await.status(), 202);
    }
    for (user, fallback) in [(&mine, session(&url)), (&new, shipped())] {
        let refused = submit(user, &fox()).await;
        let retry_s: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&retry_s), "{retry_s}");
        let problem = problem_of(refused, 429, "session_full").await;
        assert_eq!(problem["fallback"], fallback);
    }
    let refused = submit(&gateway.user().await, &fox()).await;
    assert_eq!(problem_of(refused, 503, "queue_full").await["fallback"], shipped());
}

#[tokio::test]
async fn a_full_queue_says_when_it_should_have_room_by_its_recent_pace() {
    let gateway = Gateway::start_with(|settings| {
        settings.queue.queue_max = 1.try_into().unwrap();
    })
    .await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    frame(&user, &mut worker).await;
    user.job("waits").await;
    for (service_ms, retry_after) in [("7200", "8"), ("0.5", "1"), ("900000", "60")] {
        gateway.redis_cli(&["HSET", "fw:{c0}:pool:default", "service_ms", service_ms]);
        let refused = submit(&user, &fox()).await;
        assert_eq!(refused.headers()["retry-after"], retry_after, "{service_ms}");
        problem_of(refused, 503, "queue_full").await;
    }
}

#[tokio::test]
async fn a_job_shows_a_fallback_until_it_has_a_frame_and_when_it_ended_without() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let (done, url) = frame(&user, &mut worker).await;
    assert_eq!(user.get(&format!("/v1/jobs/{done}"), 200).await["fallback"], Value::Null);

    let waiting = user.submit(&fox(), 202).await;
    assert_eq!(waiting["fallback"], session(&url));
    let path = format!("/v1/jobs/{}", waiting["id"].as_str().unwrap());
    assert_eq!(user.get(&path, 200).await["fallback"], session(&url));
    let active = user.get("/v1/jobs?active=1", 200).await;
    assert_eq!(active["jobs"][0]["fallback"], session(&url));
    assert_eq!(user.ask(Method::GET, &url).send().await.unwrap().status(), 200);

    let lease = worker.claim().await;
    worker.fail(&lease).await;
    let failed = user.get(&path, 200).await;
    assert_eq!((&failed["status"], &failed["fallback"]), (&json!("failed"), &session(&url)));
}

#[tokio::test]
async fn what_is_not_there_and_a_redis_that_is_away_still_give_something_to_show() {
    let mut gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let (job, url) = frame(&user, &mut worker).await;
    let (job, token) = (job_id(&job), user.token.clone());
    let nobody = format!("/v1/jobs/job_c0_{}", "0".repeat(32));
    let refused = user.ask(Method::GET, &nobody).send().await.unwrap();
    assert_eq!(problem_of(refused, 404, "job_not_found").await["fallback"], shipped());
    gateway.blobs.remove_job(&job).await.unwrap();
    let refused = user.ask(Method::GET, &url).send().await.unwrap();
    assert_eq!(problem_of(refused, 404, "artifact_not_found").await["fallback"], shipped());

    gateway.redis.kill();
    for body in [fox(), json!({})] {
        let request = gateway.ask(Method::POST, "/v1/jobs").bearer_auth(&token).json(&body);
        let problem = json_of_any(request.send().await.unwrap()).await;
        assert_eq!(problem["fallback"], shipped(), "{problem}");
    }
    // Nobody can say who this is, so it is the door that refuses.
    let stranger = gateway.ask(Method::POST, "/v1/jobs").bearer_auth(token.replace('.', ".x"));
    let refused = stranger.json(&fox()).send().await.unwrap();
    assert_eq!(problem_of(refused, 503, "unavailable").await["fallback"], shipped());
}

async fn json_of_any(response: Response) -> Value {
    let status = response.status().as_u16();
    json_of(response, status).await
}

#[tokio::test]
async fn a_deleted_job_is_gone_with_its_frames_and_stands_in_for_none() {
    let gateway = Gateway::start().await;
    let (user, other) = (gateway.user().await, gateway.user().await);
    let mut worker = Worker::start(&gateway, 1).await;
    let (job, url) = frame(&user, &mut worker).await;
    let path = format!("/v1/jobs/{job}");
    let delete = |user: &User<'_>, path: &str| user.ask(Method::DELETE, path).send();
    problem_of(delete(&other, &path).await.unwrap(), 404, "job_not_found").await;

    let waiting = user.submit(&fox(), 202).await;
    assert_eq!(waiting["fallback"], session(&url));
    let unfinished = format!("/v1/jobs/{}", waiting["id"].as_str().unwrap());
    let refused = delete(&user, &unfinished).await.unwrap();
    let problem = problem_of(refused, 409, "job_not_finished").await;
    assert!(problem["detail"].as_str().unwrap().contains("cancel it first"), "{problem}");

    let deleted = delete(&user, &path).await.unwrap();
    assert_eq!((deleted.status().as_u16(), deleted.text().await.unwrap()), (204, String::new()));
    let refused = delete(&user, &path).await.unwrap();
    problem_of(refused, 404, "job_not_found").await;
    for path in [&path, &url] {
        assert_eq!(user.ask(Method::GET, path).send().await.unwrap().status(), 404, "{path}");
    }
    let frame: framewire_shared::domain::ArtifactId =
        url.rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(gateway.blobs.size(&frame).await.unwrap(), None);
    assert_eq!(user.get(&unfinished, 200).await["fallback"], shipped());
    let listed = user.get("/v1/jobs", 200).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}
