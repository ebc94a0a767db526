//! The very same asked for twice: one drawing, a job and events for each, and a frame each may fetch.

use std::collections::BTreeMap;

use framewire_shared::domain::Cell;
use framewire_shared::service::settings::{PoolSettings, Settings, WhenClosed};
use framewire_shared::store::share::Sharer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Gateway, User, Worker, job_id, json_of, pool, problem_of};

/// A request that shares.
fn fox() -> Value {
    json!({"input": {"prompt": "a red fox", "seed": 7}, "cache": true})
}

/// Asks with a change.
fn fox_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = fox();
    change(&mut body);
    body
}

/// Does what the leader's worker does after its completion.
async fn serve(gateway: &Gateway) -> u32 {
    let sharer = Sharer { store: gateway.store.clone(), blobs: gateway.blobs.clone() };
    let landed = gateway.redis_cli(&["ZRANGE", "fw:{c0}:landed", "0", "0"]);
    sharer.serve(Cell::FIRST, Some(&landed)).await.unwrap()
}

async fn bytes(user: &User<'_>, job: &Value) -> Vec<u8> {
    let url = job["frames"][0]["url"].as_str().unwrap();
    let response = user.ask(Method::GET, url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.bytes().await.unwrap().to_vec()
}

async fn told(gateway: &Gateway, user: &User<'_>) -> Vec<String> {
    let zero = "0-00000000".parse().unwrap();
    let replay = gateway.store.replay(&user.session(), Some(&zero)).await.unwrap();
    replay.events.iter().map(|text| text.split(' ').nth(2).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_was_drawn_answers_the_same_request_at_once_with_a_frame_of_its_own() {
    let gateway = Gateway::start().await;
    let (ann, ben) = (gateway.user().await, gateway.user().await);
    let mut worker = Worker::start(&gateway, 1).await;
    let first = ann.submit(&fox(), 202).await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"a fox").await;

    let request = ben.ask(Method::POST, "/v1/jobs").header("Idempotency-Key", "k").json(&fox());
    let second = json_of(request.send().await.unwrap(), 200).await;
    assert_eq!((&second["status"], &second["cached"]), (&json!("completed"), &json!(true)));
    assert_ne!(second["id"], first["id"]);
    let url = second["frames"][0]["url"].as_str().unwrap();
    assert!(url.contains(second["id"].as_str().unwrap()), "{url} is another's");
    assert_eq!(bytes(&ben, &second).await, b"a fox");
    assert_eq!(told(&gateway, &ben).await, ["queued", "frame-ready", "completed"]);
    let again = ben.ask(Method::POST, "/v1/jobs").header("Idempotency-Key", "k").json(&fox());
    assert_eq!(json_of(again.send().await.unwrap(), 202).await["id"], second["id"]);

    // Its source goes, and what was given stays.
    let path = format!("/v1/jobs/{}", first["id"].as_str().unwrap());
    let deleted = ann.ask(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_eq!(bytes(&ben, &second).await, b"a fox");
    assert_eq!(ben.submit(&fox(), 202).await["status"], "queued");
}

#[tokio::test]
async fn frames_whose_bytes_are_gone_are_a_miss_and_the_job_is_drawn() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    user.submit(&fox(), 202).await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"a fox").await;
    gateway.blobs.remove_job(&lease.job).await.unwrap();
    let second = user.submit(&fox(), 202).await;
    assert_eq!((&second["status"], &second["cached"]), (&json!("queued"), &json!(false)));
    assert_eq!(worker.claim().await.job, job_id(second["id"].as_str().unwrap()));
}

#[tokio::test]
async fn only_those_who_want_it_name_a_seed_and_mean_the_same_share() {
    let shares = |settings: &mut Settings| {
        settings.models.0.get_mut("builtin").unwrap().cache = true;
    };
    let gateway = Gateway::start_with(shares).await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let plain = fox_with(|body| drop(body.as_object_mut().unwrap().remove("cache")));
    user.submit(&plain, 202).await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"a fox").await;
    // Said in other words, by a wish or by the model's settings.
    let spelt = fox_with(|body| {
        body["model"] = json!("builtin");
        body["priority"] = json!("high");
        body["metadata"] = json!({"order": 1});
        body["input"]["width"] = json!(512);
    });
    for body in [&plain, &fox(), &spelt] {
        user.submit(body, 200).await;
    }
    let others = [
        fox_with(|body| body["cache"] = json!(false)),
        fox_with(|body| body["input"]["seed"] = json!(8)),
        fox_with(|body| body["input"]["width"] = json!(64)),
        fox_with(|body| drop(body["input"].as_object_mut().unwrap().remove("seed"))),
    ];
    for body in others {
        user.submit(&body, 202).await;
    }
    let problem = user.submit(&fox_with(|body| body["cache"] = json!("yes")), 422).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/cache");
}

#[tokio::test]
async fn without_a_wish_and_without_the_setting_nothing_is_shared() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let plain = fox_with(|body| drop(body.as_object_mut().unwrap().remove("cache")));
    user.submit(&plain, 202).await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"a fox").await;
    user.submit(&plain, 202).await;
    user.submit(&fox(), 202).await;
    assert_eq!(gateway.redis_cli(&["EXISTS", "fw:{c0}:landed"]), "0");
}

#[tokio::test]
async fn of_two_that_wait_for_one_drawing_each_can_be_cancelled_without_the_other() {
    for leader_leaves in [false, true] {
        let gateway = Gateway::start().await;
        let (ann, ben) = (gateway.user().await, gateway.user().await);
        let mut worker = Worker::start(&gateway, 2).await;
        let first = ann.submit(&fox(), 202).await;
        let second = ben.submit(&fox(), 202).await;
        assert_eq!(second["queue_position"], first["queue_position"]);
        let mut lease = worker.claim().await;
        let path = |job: &Value| format!("/v1/jobs/{}", job["id"].as_str().unwrap());
        let (leaves, stays) = match leader_leaves {
            true => ((&ann, &first), (&ben, &second)),
            false => ((&ben, &second), (&ann, &first)),
        };
        leaves.0.post(&format!("{}/cancel", path(leaves.1)), 200).await;
        if leader_leaves {
            gateway.store.cancelled_by_worker(&lease).await.unwrap();
            lease = worker.claim().await;
        }
        worker.complete(&lease, b"a fox").await;
        assert_eq!(leaves.0.get(&path(leaves.1), 200).await["status"], "cancelled");
        let job = stays.0.get(&path(stays.1), 200).await;
        assert_eq!(job["status"], "completed");
        assert_eq!(bytes(stays.0, &job).await, b"a fox");
        assert_eq!(told(&gateway, leaves.0).await.last().unwrap(), "cancelled");
    }
}

#[tokio::test]
async fn who_waits_for_a_drawing_is_answered_when_it_is_shared() {
    let gateway = Gateway::start().await;
    let (ann, ben) = (gateway.user().await, gateway.user().await);
    let mut worker = Worker::start(&gateway, 1).await;
    ann.submit(&fox(), 202).await;
    let waiting = ben.ask(Method::POST, "/v1/jobs").header("Prefer", "wait=30").json(&fox());
    let drawing = async {
        let lease = worker.claim().await;
        gateway.until_followed(&ben.session()).await;
        worker.complete(&lease, b"a fox").await;
        assert_eq!(serve(&gateway).await, 1);
    };
    let (response, ()) = tokio::join!(waiting.send(), drawing);
    let job = json_of(response.unwrap(), 200).await;
    assert_eq!((&job["status"], &job["cached"]), (&json!("completed"), &json!(true)));
    assert_eq!(job["timings"]["generate_ms"], 0);
    assert_eq!(bytes(&ben, &job).await, b"a fox");
}

#[tokio::test]
async fn a_closed_pool_that_refuses_still_answers_with_what_was_drawn() {
    let refuses = |settings: &mut Settings| {
        let its = PoolSettings { cap: None, when_closed: WhenClosed::Refuse };
        settings.pools = BTreeMap::from([(pool(), its)]);
    };
    let gateway = Gateway::start_with(refuses).await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    user.submit(&fox(), 202).await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"a fox").await;
    worker.close().await;
    user.submit(&fox(), 200).await;
    let other = fox_with(|body| body["input"]["seed"] = json!(8));
    let refused = user.ask(Method::POST, "/v1/jobs").json(&other).send().await.unwrap();
    problem_of(refused, 503, "pool_closed").await;
}
