//! Progressive loading: N frames wanted, those ready now at once, the rest queued, nothing twice.

use futures::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::http_files::{png, upload};
use crate::support::{Gateway, User, Worker, json_of, problem_of};

const NEXT: &str = "/v1/frames/next";
const SHIPPED: &str = "/v1/fallback.webp";

async fn send(user: &User<'_>, body: &Value) -> Response {
    user.ask(Method::POST, NEXT).json(body).send().await.unwrap()
}

async fn next(user: &User<'_>, body: &Value) -> Value {
    let answer = json_of(send(user, body).await, 200).await;
    assert_eq!(answer["object"], "list");
    answer
}

fn foxes(count: u32) -> Value {
    json!({"input": {"prompt": "a red fox"}, "count": count})
}

fn seen(count: u32, urls: &[&Value]) -> Value {
    json!({"input": {"prompt": "a red fox"}, "count": count, "seen": urls})
}

/// Lists what each of an answer's entries says of this.
fn all<'a>(answer: &'a Value, list: &str, member: &str) -> Vec<&'a Value> {
    answer[list].as_array().unwrap().iter().map(|it| &it[member]).collect()
}

fn counts(answer: &Value) -> (usize, usize) {
    (answer["frames"].as_array().unwrap().len(), answer["jobs"].as_array().unwrap().len())
}

async fn unfinished(user: &User<'_>) -> usize {
    user.get("/v1/jobs?active=1", 200).await["jobs"].as_array().unwrap().len()
}

#[tokio::test]
async fn frames_that_are_ready_come_at_once_until_they_were_seen_and_the_rest_is_queued() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let first = next(&user, &foxes(3)).await;
    assert_eq!(counts(&first), (0, 3));
    assert_eq!(first["fallback"], json!({"url": SHIPPED, "kind": "static"}));
    let jobs = all(&first, "jobs", "id");
    let seeds: std::collections::BTreeSet<u64> = first["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["input"]["seed"].as_u64().unwrap())
        .collect();
    assert_eq!(seeds.len(), 3, "each frame has a seed of its own");
    assert!(all(&first, "jobs", "input").iter().all(|input| input["n"] == 1));
    let again = next(&user, &foxes(3)).await;
    assert_eq!(all(&again, "jobs", "id"), jobs);

    let lease = worker.claim().await;
    let frame = worker.complete(&lease, b"0123456789").await;
    for _ in 0..2 {
        let answer = next(&user, &foxes(3)).await;
        assert_eq!(all(&answer, "frames", "job"), [jobs[0]]);
        assert_eq!(all(&answer, "frames", "url"), [&json!(frame.url())]);
        assert_eq!(
            (all(&answer, "jobs", "id"), &answer["fallback"]),
            (jobs[1..].to_vec(), &Value::Null)
        );
    }
    assert_eq!(unfinished(&user).await, 2);

    let answer = next(&user, &seen(3, &[&json!(frame.to_string())])).await;
    assert_eq!(counts(&answer), (0, 3));
    assert_eq!(all(&answer, "jobs", "id")[..2], jobs[1..]);
    // Named again, by its URL: that is no error, and what was seen stays so.
    let again = next(&user, &seen(3, &[&json!(frame.url())])).await;
    assert_eq!(all(&again, "jobs", "id"), all(&answer, "jobs", "id"));
    assert_eq!(counts(&next(&user, &foxes(1)).await), (0, 1), "never more than were asked for");
    assert_eq!(unfinished(&user).await, 3);
}

#[tokio::test]
async fn calls_at_the_same_time_order_no_more_than_one_would() {
    let gateway = Gateway::start_with(|settings| {
        settings.gateway.threads = 4.try_into().unwrap();
    })
    .await;
    let user = gateway.user().await;
    for count in [4, 9] {
        let body = foxes(count);
        let calls = (0..6).map(|_| next(&user, &body));
        for answer in join_all(calls).await {
            assert_eq!(counts(&answer), (0, count as usize));
        }
        assert_eq!(unfinished(&user).await, count as usize);
    }
}

#[tokio::test]
async fn only_the_same_request_of_the_same_session_shares_its_frames() {
    let gateway = Gateway::start().await;
    let (user, other) = (gateway.user().await, gateway.user().await);
    let mut worker = Worker::start(&gateway, 1).await;
    next(&user, &foxes(1)).await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"png").await;
    assert_eq!(counts(&next(&other, &foxes(1)).await), (0, 1));
    let wolf = json!({"input": {"prompt": "a grey wolf"}, "count": 1});
    assert_eq!(counts(&next(&user, &wolf).await), (0, 1));
    // However the model is named, and in whichever class the others wait.
    let same = json!({"model": "builtin", "priority": "high", "count": 1,
        "input": {"prompt": "a red fox", "width": 512}});
    assert_eq!(counts(&next(&user, &same).await), (1, 0));
}

#[tokio::test]
async fn with_a_seed_each_further_frame_has_the_next_one() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let mut body = json!({"input": {"prompt": "a red fox", "seed": 40}, "count": 2});
    let seeds = |answer: &Value| -> Vec<u64> {
        all(answer, "jobs", "input").iter().map(|it| it["seed"].as_u64().unwrap()).collect()
    };
    assert_eq!(seeds(&next(&user, &body).await), [40, 41]);
    let lease = worker.claim().await;
    body["seen"] = json!([worker.complete(&lease, b"png").await.url()]);
    assert_eq!(seeds(&next(&user, &body).await), [41, 42]);
}

#[tokio::test]
async fn a_full_session_gets_what_there_is_and_a_refusal_only_for_nothing() {
    let gateway = Gateway::start_with(|settings| {
        settings.queue.session_max = 2.try_into().unwrap();
    })
    .await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    assert_eq!(counts(&next(&user, &foxes(4)).await), (0, 2));
    let wolf = json!({"input": {"prompt": "a grey wolf"}, "count": 4});
    let refused = send(&user, &wolf).await;
    assert!(refused.headers().contains_key("retry-after"));
    let problem = problem_of(refused, 429, "session_full").await;
    assert_eq!(problem["fallback"]["kind"], "static");

    let lease = worker.claim().await;
    worker.complete(&lease, b"png").await;
    let lease = worker.claim().await;
    worker.fail(&lease).await;
    let answer = next(&user, &foxes(4)).await;
    assert_eq!(counts(&answer), (1, 2), "what failed makes room and is ordered anew");
    let refused = problem_of(send(&user, &wolf).await, 429, "session_full").await;
    assert_eq!(refused["fallback"]["kind"], "session");
}

#[tokio::test]
async fn frames_that_are_ready_are_handed_out_when_the_picture_they_start_from_is_gone() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let file = upload(&user, png(64, 64)).await;
    let mut body = json!({"input": {"prompt": "a fox", "image": file["id"]}, "count": 2});
    next(&user, &body).await;
    let lease = worker.claim().await;
    worker.complete(&lease, b"png").await;
    user.ask(Method::DELETE, file["url"].as_str().unwrap()).send().await.unwrap();
    body["count"] = json!(4);
    assert_eq!(counts(&next(&user, &body).await), (1, 1));
    body["input"]["prompt"] = json!("a wolf");
    let refused = problem_of(send(&user, &body).await, 422, "invalid_value").await;
    assert_eq!(refused["fallback"]["kind"], "session");
}

#[tokio::test]
async fn a_member_of_a_job_that_means_nothing_here_is_not_known_here() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    for member in ["cache", "metadata", "start_within_s"] {
        let mut body = foxes(1);
        body[member] = json!(true);
        let problem = problem_of(send(&user, &body).await, 422, "invalid_value").await;
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.starts_with("is not known here"), "{member}: {detail}");
    }
}

#[tokio::test]
async fn what_can_not_be_asked_for_is_named_by_field() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let job = format!("job_c0_{}", "0".repeat(32));
    let preview = format!("/v1/artifacts/{job}-1-0p3.webp");
    for (body, pointers) in [
        (json!({}), vec!["#/input", "#/count"]),
        (json!({"input": {"prompt": "x", "n": 1}, "count": 1}), vec!["#/input/n"]),
        (json!({"input": {"prompt": "x", "n": 9}, "count": 0}), vec!["#/input/n", "#/count"]),
        (
            json!({"input": {"prompt": "", "width": 9}, "count": 17}),
            vec!["#/input/prompt", "#/input/width", "#/count"],
        ),
        (
            json!({"input": {"prompt": "x"}, "count": 1, "seen": ["x", preview, job]}),
            vec!["#/seen/0", "#/seen/1", "#/seen/2"],
        ),
        (json!({"input": {"prompt": "x"}, "count": 1, "seen": vec!["x"; 65]}), vec!["#/seen"]),
        (
            json!({"input": {"prompt": "x"}, "count": "4", "start_within_s": 4}),
            vec!["#/count", "#/start_within_s"],
        ),
    ] {
        let problem = problem_of(send(&user, &body).await, 422, "invalid_value").await;
        let errors = problem["errors"].as_array().unwrap();
        let named: Vec<&str> =
            errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        let all = pointers.iter().all(|pointer| named.contains(pointer));
        assert!(all, "{named:?} instead of {pointers:?}");
        assert_eq!(problem["fallback"]["url"], SHIPPED);
    }
    assert_eq!(unfinished(&user).await, 0);
}
