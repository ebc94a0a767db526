//! Reading, waiting for, listing, cancelling and retrying.

use framewire_shared::domain::{Progress, State};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Gateway, Worker, job_id, json_of, problem_of};

const MEMBERS: [&str; 28] = [
    "attempt_count",
    "cached",
    "cancel_requested",
    "created_at",
    "error",
    "estimated_wait_ms",
    "expires_at",
    "fallback",
    "finished_at",
    "frames",
    "id",
    "input",
    "metadata",
    "missing",
    "model",
    "object",
    "preview",
    "priority",
    "progress",
    "queue_position",
    "retry_at",
    "retry_count",
    "started_at",
    "status",
    "timings",
    "urls",
    "usage",
    "v",
];

#[tokio::test]
async fn a_jobs_members_are_the_same_from_queued_to_completed() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let id = user.job("a fox").await;
    let path = format!("/v1/jobs/{id}");
    let names = |job: &Value| job.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let queued = user.get(&path, 200).await;
    assert_eq!(names(&queued), MEMBERS);
    assert_eq!((&queued["queue_position"], &queued["error"]), (&json!(0), &Value::Null));
    let mut worker = Worker::start(&gateway, 1).await;
    let lease = worker.claim().await;
    let running = user.get(&path, 200).await;
    assert_eq!(
        (&running["status"], &running["queue_position"]),
        (&json!("processing"), &Value::Null)
    );
    let frame = worker.complete(&lease, b"0123456789").await;
    let completed = user.get(&path, 200).await;
    assert_eq!(names(&completed), MEMBERS);
    assert_eq!(completed["frames"][0]["url"], frame.url());
    assert_eq!(completed["frames"][0]["content_type"], "image/png");
    assert!(completed["v"].as_u64() > running["v"].as_u64());
    for moment in ["created_at", "started_at", "finished_at", "expires_at"] {
        let text = completed[moment].as_str().unwrap();
        assert!(text.len() == 24 && text.ends_with('Z') && &text[19..20] == ".", "{moment} {text}");
    }
    assert_eq!(completed["timings"]["upload_ms"], 1);
}

#[tokio::test]
async fn a_failed_job_says_why_and_keeps_the_operators_part_to_itself() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let id = user.job("a fox").await;
    let mut worker = Worker::start(&gateway, 1).await;
    let lease = worker.claim().await;
    worker.fail(&lease).await;
    let job = user.get(&format!("/v1/jobs/{id}"), 200).await;
    let error = json!({"code": "PERMANENT", "message": "The provider refuses the prompt.",
        "failure_stage": "processing", "retryable": false, "provider": "builtin",
        "provider_status": 400, "provider_code": "moderation_blocked", "provider_request_id": null});
    assert_eq!(job["error"], error);
    assert!(!job.to_string().contains("secret detail"));
    assert_eq!(job["usage"], Value::Null);
}

#[tokio::test]
async fn an_unchanged_job_is_304_and_a_changed_one_is_not() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let id = user.job("a fox").await;
    let show = |etag: String| {
        user.ask(Method::GET, &format!("/v1/jobs/{id}")).header("if-none-match", etag).send()
    };
    let response = show("\"other\"".into()).await.unwrap();
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(etag.starts_with("\"1-"), "{etag}");
    let unchanged = show(format!("\"x\", W/{etag}")).await.unwrap();
    assert_eq!(
        (unchanged.status().as_u16(), unchanged.text().await.unwrap()),
        (304, String::new())
    );
    user.post(&format!("/v1/jobs/{id}/cancel"), 200).await;
    let changed = show(etag).await.unwrap();
    assert_eq!(changed.status(), 200);
    assert!(!changed.headers().contains_key("retry-after"), "a job that has ended is not polled");
}

#[tokio::test]
async fn progress_alone_makes_another_version_for_who_polls() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let path = format!("/v1/jobs/{}", user.job("a fox").await);
    let mut worker = Worker::start(&gateway, 1).await;
    let lease = worker.claim().await;
    let first = user.ask(Method::GET, &path).send().await.unwrap();
    let etag = first.headers()["etag"].clone();
    let v = json_of(first, 200).await["v"].clone();
    let now =
        Progress { stage: State::Processing, step: 3, steps: 20, fraction: 0.15, eta_ms: None };
    gateway.store.progress(&lease, &now).await.unwrap();
    let second = user.ask(Method::GET, &path).header("if-none-match", etag);
    let job = json_of(second.send().await.unwrap(), 200).await;
    assert_eq!((&job["v"], &job["progress"]["step"]), (&v, &json!(3)));
}

#[tokio::test]
async fn a_long_poll_ends_with_the_job_and_not_before() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let id = user.job("a fox").await;
    let path = format!("/v1/jobs/{id}?wait=60");
    let mut worker = Worker::start(&gateway, 1).await;
    let lease = worker.claim().await;
    let (job, _) = tokio::join!(user.get(&path, 200), worker.complete(&lease, b"png"));
    assert_eq!(job["status"], "completed");
    assert_eq!(user.get(&path, 200).await["status"], "completed");
    let other = user.job("waits for ever").await;
    let job = user.get(&format!("/v1/jobs/{other}?wait=1"), 200).await;
    assert_eq!(job["status"], "queued");
    for bad in ["0", "61", "-1", "x", "", "1.5", "99999999999999999999"] {
        let path = format!("/v1/jobs/{id}?wait={bad}");
        let response = user.ask(Method::GET, &path).send().await.unwrap();
        let problem = problem_of(response, 400, "invalid_parameter").await;
        assert_eq!(problem["error"]["param"], "wait", "{bad}");
    }
}

#[tokio::test]
async fn a_list_turns_page_by_page_from_the_newest_to_the_oldest() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(user.job(&format!("job {number}")).await);
    }
    made.reverse();
    let (mut seen, mut path) = (Vec::new(), "/v1/jobs?limit=2".to_owned());
    let mut pages = 0;
    loop {
        let page = user.get(&path, 200).await;
        assert_eq!(page["object"], "list");
        let data = page["data"].as_array().unwrap();
        seen.extend(data.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/jobs?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (made, 3));
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=", "active=2"] {
        let response = user.ask(Method::GET, &format!("/v1/jobs?{bad}")).send().await.unwrap();
        problem_of(response, 400, "invalid_parameter").await;
    }
    user.get("/v1/jobs?unknown=1", 200).await;
}

#[tokio::test]
async fn the_active_jobs_come_with_the_position_that_they_reflect() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let empty = user.get("/v1/jobs?active=1", 200).await;
    assert_eq!((&empty["jobs"], &empty["more"]), (&json!([]), &json!(false)));
    let (ended, waiting) = (user.job("1").await, user.job("2").await);
    user.post(&format!("/v1/jobs/{ended}/cancel"), 200).await;
    let active = user.get("/v1/jobs?active=1", 200).await;
    let ids: Vec<&str> =
        active["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [waiting]);
    assert!(active["head"].as_str().unwrap().starts_with("3-"), "{active}");
}

#[tokio::test]
async fn a_cancel_may_be_repeated_and_reaches_a_running_job_through_its_worker() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let id = user.job("runs").await;
    let lease = worker.claim().await;
    let path = format!("/v1/jobs/{id}/cancel");
    for _ in 0..2 {
        let job = user.post(&path, 200).await;
        assert_eq!(
            (&job["status"], &job["cancel_requested"]),
            (&json!("processing"), &json!(true))
        );
    }
    gateway.store.cancelled_by_worker(&lease).await.unwrap();
    for _ in 0..2 {
        let job = user.post(&path, 200).await;
        assert_eq!(
            (&job["status"], &job["cancel_requested"]),
            (&json!("cancelled"), &json!(false))
        );
    }
}

#[tokio::test]
async fn only_a_failed_or_cancelled_job_is_retried() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let id = user.job("a fox").await;
    let path = format!("/v1/jobs/{id}/retry");
    let refused = user.ask(Method::POST, &path).send().await.unwrap();
    problem_of(refused, 409, "job_not_finished").await;
    user.post(&format!("/v1/jobs/{id}/cancel"), 200).await;
    let response = user.ask(Method::POST, &path).send().await.unwrap();
    assert_eq!(response.headers()["location"].to_str().unwrap(), format!("/v1/jobs/{id}"));
    let job = json_of(response, 202).await;
    assert_eq!((&job["status"], &job["retry_count"]), (&json!("queued"), &json!(1)));
    let mut worker = Worker::start(&gateway, 1).await;
    let lease = worker.claim().await;
    assert_eq!(lease.job, job_id(&id));
    worker.complete(&lease, b"png").await;
    let refused = user.ask(Method::POST, &path).send().await.unwrap();
    let problem = problem_of(refused, 409, "conflict").await;
    assert!(problem["detail"].as_str().unwrap().contains("completed"), "{problem}");
}

#[tokio::test]
async fn what_is_no_job_is_404_whatever_it_looks_like() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let gone = format!("job_c0_{}", "0".repeat(32));
    let long = "a".repeat(5_000);
    for name in [&*gone, "x", "..%2F..%2Fetc", "job_c9_x", "%00", "%ff", "job%0d%0aX:y", &long] {
        for (method, rest) in
            [(Method::GET, ""), (Method::POST, "/cancel"), (Method::POST, "/retry")]
        {
            let path = format!("/v1/jobs/{name}{rest}");
            let response = user.ask(method, &path).send().await.unwrap();
            assert_eq!(response.status(), 404, "{path}");
        }
    }
    let response = user.ask(Method::GET, &format!("/v1/jobs/{gone}")).send().await.unwrap();
    insta::assert_json_snapshot!(problem_of(response, 404, "job_not_found").await);
}
