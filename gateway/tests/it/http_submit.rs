//! Submitting, and everything that can be wrong with it.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Gateway, Worker, job_id, json_of, problem_of};

fn fox() -> Value {
    json!({"model": "builtin", "input": {"prompt": "a red fox"}})
}

/// Gives the pointers of a 422's errors.
fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().unwrap();
    errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_submit_is_answered_with_the_job_as_it_is_stored() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let body = json!({
        "model": "builtin",
        "input": {"prompt": "a red fox", "width": 640, "height": 64, "steps": 3, "n": 2},
        "priority": "high", "start_within_s": 600, "metadata": {"order": "1234", "paid": true},
    });
    let response = user.ask(Method::POST, "/v1/jobs").json(&body).send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let job = json_of(response, 202).await;
    assert_eq!(location, format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
    assert_eq!(user.get(&location, 200).await, job, "the answer is not what is stored");
    assert_eq!(job["metadata"], body["metadata"]);
    assert_eq!((&job["status"], &job["v"]), (&json!("queued"), &json!(1)));
    let seed = job["input"]["seed"].as_u64().expect("a drawn seed");
    assert!(seed < 1 << 32);
    let row = gateway.store.job(&job_id(job["id"].as_str().unwrap())).await.unwrap().unwrap();
    assert!(row.job.input.contains(&format!("\"seed\":{seed}")));
    assert_eq!(row.job.run_by, Some(row.job.created_at + 600_000));
}

#[tokio::test]
async fn a_chosen_seed_is_kept_and_drawn_ones_differ() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let body = json!({"input": {"prompt": "x", "seed": 9_007_199_254_740_991_u64}});
    let job = user.submit(&body, 202).await;
    assert_eq!(job["input"]["seed"], 9_007_199_254_740_991_u64);
    let mut seeds = HashSet::new();
    for _ in 0..4 {
        seeds.insert(user.submit(&fox(), 202).await["input"]["seed"].as_u64().unwrap());
    }
    assert_eq!(seeds.len(), 4);
}

#[tokio::test]
async fn all_faulty_fields_are_named_at_once_with_what_would_be_right() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let body = json!({
        "model": 7, "webhook": {"url": "https://example.org"}, "start_within_s": 0,
        "priority": "urgent", "metadata": {"deep": {"er": 1}},
        "input": {"prompt": " ", "width": "512", "height": -1, "steps": 1e9, "n": 5,
            "colour": "red", "output_format": "gif"},
    });
    let mut problem = user.submit(&body, 422).await;
    problem["errors"].as_array_mut().unwrap().sort_by_key(|error| error["pointer"].to_string());
    insta::assert_json_snapshot!(problem);
}

#[tokio::test]
async fn each_bad_value_is_refused_by_its_pointer() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let long = "x".repeat(4_001);
    let cases = [
        (json!({"width": 0}), "#/input/width"),
        (json!({"width": 513}), "#/input/width"),
        (json!({"width": 4096}), "#/input/width"),
        (json!({"width": -1}), "#/input/width"),
        (json!({"width": 1e9}), "#/input/width"),
        (json!({"width": 512.5}), "#/input/width"),
        (json!({"width": "512"}), "#/input/width"),
        (json!({"width": null}), "#/input/width"),
        (json!({"width": [512]}), "#/input/width"),
        (json!({"width": 18_446_744_073_709_551_615_u64}), "#/input/width"),
        (json!({"seed": -1}), "#/input/seed"),
        (json!({"seed": 1_u64 << 53}), "#/input/seed"),
        (json!({"prompt": ""}), "#/input/prompt"),
        (json!({"prompt": 5}), "#/input/prompt"),
        (json!({"prompt": null}), "#/input/prompt"),
        (json!({"prompt": long}), "#/input/prompt"),
        (json!({"prompt": "nul \u{0} here"}), "#/input/prompt"),
        (json!({"prompt": "bell \u{7} here"}), "#/input/prompt"),
        (json!({"step_ms": 5_001}), "#/input/step_ms"),
        (json!({"fault": "temporary"}), "#/input/fault"),
        (json!({"fault": "nonsense"}), "#/input/fault"),
        (json!({"a/b~c": 1}), "#/input/a~1b~0c"),
    ];
    for (fields, pointer) in cases {
        let mut input = json!({"prompt": "x"});
        input.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let problem = user.submit(&json!({"input": input}), 422).await;
        assert_eq!(pointers(&problem), [pointer], "{fields}");
    }
    let cases = [
        (json!({}), "#/input"),
        (json!([]), "#"),
        (json!("x"), "#"),
        (json!({"input": null}), "#/input"),
        (json!({"input": {}}), "#/input/prompt"),
        (json!({"input": {"prompt": "x"}, "model": "dall-e"}), "#/model"),
        (json!({"input": {"prompt": "x"}, "webhook": {}}), "#/webhook"),
        (json!({"input": {"prompt": "x"}, "start_within_s": 86_401}), "#/start_within_s"),
        (json!({"input": {"prompt": "x"}, "metadata": [1]}), "#/metadata"),
        (json!({"input": {"prompt": "x"}, "metadata": {"a": null}}), "#/metadata/a"),
        (json!({"input": {"prompt": "x"}, "metadata": {"a": "b".repeat(4_096)}}), "#/metadata"),
    ];
    for (body, pointer) in cases {
        let problem = user.submit(&body, 422).await;
        assert_eq!(pointers(&problem), [pointer], "{body}");
    }
    assert!(gateway.store.jobs(&user.session(), None, 10).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn an_unknown_model_is_refused_with_those_that_exist() {
    let gateway = Gateway::start_with(|settings| {
        let first = settings.models.0.get_mut("builtin").unwrap();
        first.default = false;
        let second = first.clone();
        settings.models.0.insert("second".into(), second);
    })
    .await;
    let user = gateway.user().await;
    for body in [json!({"input": {"prompt": "x"}}), json!({"model": "x", "input": {"prompt": "x"}})]
    {
        let problem = user.submit(&body, 422).await;
        assert_eq!(pointers(&problem), ["#/model"]);
        assert!(problem["detail"].as_str().unwrap().contains("builtin, second"), "{problem}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_told_where_it_breaks() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut shown = Vec::new();
    for body in [
        "",
        "{",
        r#"{"input":{"prompt":"x""#,
        r#"{"input":{"prompt":"x","width":NaN}}"#,
        r#"{"input":{"prompt":"x","width":1e999}}"#,
        r#"{"input":{"prompt":"\ud800"}}"#,
        "{'input':{}}",
        r#"{"input":{"prompt":"x"}} trailing"#,
        r#"{"input":{"prompt":5}, oops}"#,
        "\u{feff}{}",
    ] {
        let request = user.ask(Method::POST, "/v1/jobs").header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        let problem = problem_of(response, 400, "malformed_json").await;
        shown.push(format!("{body:40} {}", problem["detail"].as_str().unwrap()));
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [b"\xff\xfe{}".to_vec(), deep.into_bytes()] {
        let request = user.ask(Method::POST, "/v1/jobs").header("content-type", "application/json");
        problem_of(request.body(body).send().await.unwrap(), 400, "malformed_json").await;
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn a_member_that_stands_twice_is_refused() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let body = r#"{"input":{"prompt":"a","prompt":"b"}}"#;
    let request = user.ask(Method::POST, "/v1/jobs").header("content-type", "application/json");
    let problem = problem_of(request.body(body).send().await.unwrap(), 422, "invalid_value").await;
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("prompt"), "{problem}");
}

#[tokio::test]
async fn fifty_identical_submits_with_one_key_make_one_job() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let submit = || async {
        let request = user.ask(Method::POST, "/v1/jobs").header("idempotency-key", "key-1");
        let response = request.json(&fox()).send().await.unwrap();
        let replayed = response.headers().contains_key("idempotent-replayed");
        (json_of(response, 202).await, replayed)
    };
    let answers = futures::future::join_all((0..50).map(|_| submit())).await;
    let ids: HashSet<&str> = answers.iter().map(|(job, _)| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1);
    assert_eq!(user.get("/v1/jobs", 200).await["data"].as_array().unwrap().len(), 1);
    let seeds: HashSet<u64> =
        answers.iter().map(|(job, _)| job["input"]["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 1, "a replay shows another seed than the job has");
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_session() {
    let gateway = Gateway::start().await;
    let (one, other) = (gateway.user().await, gateway.user().await);
    let send = |user: &crate::support::User<'_>, body: &str| {
        user.ask(Method::POST, "/v1/jobs")
            .header("idempotency-key", "k")
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
    };
    let first = r#"{"model":"builtin","input":{"prompt":"x","width":512}}"#;
    let id = json_of(send(&one, first).await.unwrap(), 202).await["id"].clone();
    let respelled = r#" { "input" : {"width":512, "prompt":"\u0078"}, "model":"builtin" } "#;
    let again = json_of(send(&one, respelled).await.unwrap(), 202).await;
    assert_eq!(again["id"], id, "spaces and order of members made another request");
    let changed = r#"{"model":"builtin","input":{"prompt":"y"}}"#;
    let problem =
        problem_of(send(&one, changed).await.unwrap(), 422, "idempotency_key_reused").await;
    assert!(!problem.to_string().contains("job_c0"), "{problem}");
    let others = json_of(send(&other, first).await.unwrap(), 202).await;
    assert_ne!(others["id"], id);
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let long = "k".repeat(129);
    for key in ["", "with space", "tab\there", "kö", &long] {
        let request = user.ask(Method::POST, "/v1/jobs").header("idempotency-key", key.as_bytes());
        let response = request.json(&fox()).send().await.unwrap();
        let problem = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(problem["error"]["param"], "Idempotency-Key");
    }
    let twice = user.ask(Method::POST, "/v1/jobs");
    let twice = twice.header("idempotency-key", "a").header("idempotency-key", "b");
    problem_of(twice.json(&fox()).send().await.unwrap(), 400, "invalid_parameter").await;
}

#[tokio::test]
async fn a_full_session_gets_429_and_a_full_queue_503_both_with_retry_after() {
    let gateway = Gateway::start_with(|settings| {
        settings.queue.session_max = 2.try_into().unwrap();
        settings.queue.queue_max = 3.try_into().unwrap();
    })
    .await;
    let (one, other) = (gateway.user().await, gateway.user().await);
    let kept = one.job("1").await;
    one.job("2").await;
    let refused = one.ask(Method::POST, "/v1/jobs").json(&fox()).send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    problem_of(refused, 429, "session_full").await;
    other.job("3").await;
    let refused = other.ask(Method::POST, "/v1/jobs").json(&fox()).send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    problem_of(refused, 503, "queue_full").await;
    one.post(&format!("/v1/jobs/{kept}/cancel"), 200).await;
    one.job("after a cancel there is room").await;
}

#[tokio::test]
async fn prefer_wait_answers_200_at_the_end_and_202_without_one() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let submit = |wait: &'static str| {
        user.ask(Method::POST, "/v1/jobs").header("prefer", wait).json(&fox()).send()
    };
    let (response, ()) = tokio::join!(submit("respond-async, wait=60"), async {
        let lease = worker.claim().await;
        worker.complete(&lease, b"png").await;
    });
    let response = response.unwrap();
    assert_eq!(response.headers()["preference-applied"], "wait=60");
    assert_eq!(json_of(response, 200).await["status"], "completed");
    let response = submit("wait=1").await.unwrap();
    assert_eq!(response.headers()["preference-applied"], "wait=1");
    assert_eq!(json_of(response, 202).await["status"], "queued");
    for ignored in ["wait=soon", "wait=0", "wait=-1", "wait", "respond-async"] {
        let response = submit(ignored).await.unwrap();
        assert!(!response.headers().contains_key("preference-applied"), "{ignored}");
        json_of(response, 202).await;
    }
}
