//! `/metrics` and `/internal/gen-health`: each number moves when its thing happens, and is there when
//! Redis is not.

use std::collections::BTreeMap;
use std::time::Duration;

use framewire_shared::domain::guard::{Outcome, Purpose};
use framewire_shared::domain::{ErrorCode, Failure, GuardOptions, GuardState};
use framewire_shared::service::settings::Settings;
use framewire_shared::testing::until;
use reqwest::Method;
use serde_json::json;

use crate::support::{Gateway, Worker, json_of, problem_of};

/// Values by name with labels, as a scrape reads them; every line is checked.
async fn scrape(gateway: &Gateway) -> BTreeMap<String, f64> {
    let response = gateway.ask(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    read(&response.text().await.unwrap())
}

fn read(text: &str) -> BTreeMap<String, f64> {
    let (mut types, mut values) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
            assert!(name.starts_with("framewire_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| bare.strip_suffix(end));
            let family = family.filter(|family| types.contains_key(*family)).unwrap_or(bare);
            assert!(types.contains_key(family), "{name} has no type");
            assert!(values.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name}");
        }
    }
    values
}

/// Waits until a value is this; readings of Redis are up to a second old.
async fn until_is(gateway: &Gateway, name: &str, wanted: f64) {
    until(name, async || (scrape(gateway).await.get(name) == Some(&wanted)).then_some(())).await;
}

fn with_provider(settings: &mut Settings) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("framewire.toml");
    std::fs::write(&file, "[openai]\nurl = \"http://127.0.0.1:9\"\n").unwrap();
    let loaded = Settings::load(Some(&file), std::iter::empty()).unwrap();
    (settings.providers, settings.models) = (loaded.providers, loaded.models);
}

#[tokio::test]
async fn a_streams_reader_is_counted_while_it_is_there_and_its_events_are() {
    let gateway = Gateway::start().await;
    let before = scrape(&gateway).await;
    assert_eq!(before["framewire_stream_readers"], 0.0);
    let user = gateway.user().await;
    let stream = user.ask(Method::GET, "/v1/events").send().await.unwrap();
    until_is(&gateway, "framewire_streams_opened_total{mode=\"fresh\"}", 1.0).await;
    assert_eq!(scrape(&gateway).await["framewire_stream_readers"], 1.0);
    user.job("a fox").await;
    until_is(&gateway, "framewire_stream_events_total{source=\"live\"}", 1.0).await;
    drop(stream);
    until_is(&gateway, "framewire_stream_readers", 0.0).await;
    assert_eq!(scrape(&gateway).await["framewire_streams_ended_total{reason=\"left\"}"], 1.0);
    let zero = user.ask(Method::GET, "/v1/events").header("last-event-id", "nonsense");
    let _stream = zero.send().await.unwrap();
    until_is(&gateway, "framewire_streams_opened_total{mode=\"reset\"}", 1.0).await;
}

#[tokio::test]
async fn jobs_that_are_ordered_ahead_are_counted_as_submits() {
    let gateway = Gateway::start_with(|settings| {
        settings.queue.session_max = 2.try_into().unwrap();
    })
    .await;
    let user = gateway.user().await;
    let body = json!({"input": {"prompt": "a fox"}, "count": 4});
    for _ in 0..2 {
        let request = user.ask(Method::POST, "/v1/frames/next").json(&body);
        json_of(request.send().await.unwrap(), 200).await;
    }
    let values = scrape(&gateway).await;
    let submits = |outcome| values[&format!("framewire_submits_total{{outcome=\"{outcome}\"}}")];
    assert_eq!((submits("accepted"), submits("session_full")), (2.0, 2.0));
}

#[tokio::test]
async fn submits_are_counted_by_what_became_of_them_and_requests_by_route_alone() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let body = json!({"input": {"prompt": "a fox"}});
    for _ in 0..2 {
        let request = user.ask(Method::POST, "/v1/jobs").header("idempotency-key", "k");
        json_of(request.json(&body).send().await.unwrap(), 202).await;
    }
    let id = user.job("another").await;
    user.submit(&json!({"input": {"prompt": 7}}), 422).await;
    user.get(&format!("/v1/jobs/{id}"), 200).await;
    user.get("/v1/jobs/job_c0_0123", 404).await;
    user.get("/v1/nothing/here", 404).await;
    let odd = Method::from_bytes(b"BREW").unwrap();
    user.ask(odd, "/v1/jobs").send().await.unwrap();
    let values = scrape(&gateway).await;
    let submits = |outcome| values[&format!("framewire_submits_total{{outcome=\"{outcome}\"}}")];
    assert_eq!(
        (submits("accepted"), submits("replayed"), submits("invalid_value")),
        (2.0, 1.0, 1.0)
    );
    let requests = |method: &str, route: &str, status: &str| {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        values[&format!("framewire_http_requests_total{{{labels}}}")]
    };
    assert_eq!(requests("POST", "/v1/jobs", "2xx"), 3.0);
    assert_eq!(requests("GET", "/v1/jobs/{id}", "2xx"), 1.0);
    assert_eq!(requests("GET", "/v1/jobs/{id}", "4xx"), 1.0);
    assert_eq!(requests("GET", "other", "4xx"), 1.0);
    assert_eq!(requests("other", "/v1/jobs", "4xx"), 1.0);
    assert_eq!(values["framewire_http_request_seconds_count{route=\"/v1/jobs\"}"], 5.0);
    let told = values.keys().any(|name| name.contains("job_") || name.contains("ses_"));
    assert!(!told, "an id in a label");
}

#[tokio::test]
async fn pools_are_told_as_they_stand_and_no_crowd_of_scrapes_reaches_redis() {
    let gateway = Gateway::start().await;
    let (mut worker, user) = (Worker::start(&gateway, 1).await, gateway.user().await);
    for prompt in ["first", "second", "third"] {
        user.job(prompt).await;
    }
    worker.claim().await;
    until_is(&gateway, "framewire_running_jobs{pool=\"default\"}", 1.0).await;
    let values = scrape(&gateway).await;
    assert_eq!(values["framewire_queue_jobs{pool=\"default\",priority=\"normal\"}"], 2.0);
    assert_eq!(values["framewire_queue_jobs{pool=\"default\",priority=\"low\"}"], 0.0);
    assert_eq!(values["framewire_pool_slots{pool=\"default\"}"], 1.0);
    assert_eq!(values["framewire_redis_up{cell=\"c0\"}"], 1.0);
    assert!(values["framewire_queue_oldest_seconds{pool=\"default\",priority=\"normal\"}"] > 0.0);
    let health =
        json_of(gateway.ask(Method::GET, "/internal/gen-health").send().await.unwrap(), 200).await;
    assert_eq!((&health["status"], &health["reasons"]), (&json!("ok"), &json!([])));
    assert_eq!(health["pools"]["default"]["queued"]["normal"], 2);

    gateway.redis_cli(&["CONFIG", "RESETSTAT"]);
    let began_at = std::time::Instant::now();
    for _ in 0..40 {
        scrape(&gateway).await;
    }
    let readings_max = began_at.elapsed().as_secs() + 2;
    let stats = gateway.redis_cli(&["INFO", "commandstats"]);
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).map_or(0, |rest| {
        rest.split(',').next().and_then(|count| count.parse::<u64>().ok()).unwrap()
    });
    assert!(calls <= readings_max, "{calls} scripts for 40 scrapes");
}

#[tokio::test]
async fn a_provider_that_is_closed_off_is_told_by_state_by_time_and_in_words() {
    let gateway = Gateway::start_with(with_provider).await;
    let before = scrape(&gateway).await;
    assert_eq!(before["framewire_breaker_state{provider=\"openai\",state=\"closed\"}"], 1.0);
    assert_eq!(before["framewire_breaker_open_seconds_total{provider=\"openai\"}"], 0.0);
    assert_eq!(before["framewire_budget_tokens{provider=\"openai\"}"], 5.0);
    let options = GuardOptions::paid();
    let failure = Failure::new(ErrorCode::AuthError, "who are you").detail("a secret prompt");
    let outcome = Outcome::Failed { failure, took: Duration::from_secs(1) };
    let step = |state: &mut GuardState, now| {
        state.acquire(&options, "a", Purpose::Job, now).unwrap();
        state.settle(&options, "a", &outcome, now);
    };
    gateway.store.step_guard("openai", step).await.unwrap();
    until_is(&gateway, "framewire_breaker_state{provider=\"openai\",state=\"open\"}", 1.0).await;
    let open = "framewire_breaker_open_seconds_total{provider=\"openai\"}";
    let then = scrape(&gateway).await[open];
    until("time goes on", async || (scrape(&gateway).await[open] > then).then_some(())).await;
    let values = scrape(&gateway).await;
    assert_eq!(values["framewire_breaker_state{provider=\"openai\",state=\"closed\"}"], 0.0);
    assert_eq!(values["framewire_provider_calls_total{outcome=\"4xx\",provider=\"openai\"}"], 1.0);
    assert_eq!(values["framewire_budget_tokens{provider=\"openai\"}"], 4.0);
    let health = gateway.ask(Method::GET, "/internal/gen-health").send().await.unwrap();
    let health = json_of(health, 200).await;
    assert_eq!(
        (&health["status"], &health["providers"]["openai"]["breaker"]),
        (&json!("down"), &json!("open"))
    );
    let reasons = health["reasons"].to_string();
    assert!(reasons.contains("provider openai is closed off (open for"), "{reasons}");
    assert!(reasons.contains("pool openai has no living worker"), "{reasons}");
    assert!(!health.to_string().contains("secret"), "{health}");
}

#[tokio::test]
async fn while_redis_is_away_what_the_process_knows_is_told_all_the_same() {
    let mut gateway = Gateway::start().await;
    gateway.user().await;
    gateway.redis.kill();
    until_is(&gateway, "framewire_redis_up{cell=\"c0\"}", 0.0).await;
    let values = scrape(&gateway).await;
    assert_eq!(values["framewire_stream_readers"], 0.0);
    assert!(values["framewire_redis_calls_failed_total{kind=\"unavailable\"}"] >= 1.0);
    assert!(!values.keys().any(|name| name.starts_with("framewire_queue_jobs")), "an old look");
    let health = gateway.ask(Method::GET, "/internal/gen-health").send().await.unwrap();
    let health = json_of(health, 200).await;
    assert_eq!(
        (&health["status"], &health["cells_without_redis"]),
        (&json!("down"), &json!(["c0"]))
    );
    gateway.redis.restart();
    until_is(&gateway, "framewire_redis_up{cell=\"c0\"}", 1.0).await;
}

#[tokio::test]
async fn where_a_key_is_set_only_who_has_it_is_told() {
    use framewire_shared::service::tenants::KeyDigest;
    let gateway = Gateway::start_with(|settings| {
        settings.gateway.internal_key_sha256 = Some(KeyDigest::of("sesame"));
    })
    .await;
    for path in ["/metrics", "/internal/gen-health"] {
        let none = gateway.ask(Method::GET, path).send().await.unwrap();
        assert!(none.headers().contains_key("www-authenticate"));
        problem_of(none, 401, "invalid_key").await;
        let wrong = gateway.ask(Method::GET, path).bearer_auth("sesam");
        problem_of(wrong.send().await.unwrap(), 401, "invalid_key").await;
        let right = gateway.ask(Method::GET, path).bearer_auth("sesame");
        assert_eq!(right.send().await.unwrap().status(), 200);
    }
    assert_eq!(gateway.ask(Method::GET, "/healthz").send().await.unwrap().status(), 200);
}
