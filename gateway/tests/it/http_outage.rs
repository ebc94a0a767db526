//! Redis away, back, unfit, or full.

use std::time::Duration;

use framewire_gateway::app::{App, AppError};
use framewire_shared::domain::Cell;
use framewire_shared::testing::{RedisCluster, RedisServer, until};
use reqwest::Method;
use serde_json::json;

use crate::support::{Gateway, problem_of, set_redis, settings};

#[tokio::test]
async fn a_gateway_that_starts_before_redis_serves_as_soon_as_it_is_there() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut gateway = Gateway::start_on(redis, |_| ()).await;
    let alive = gateway.ask(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(alive.status(), 200);
    let refused = gateway.ask(Method::GET, "/readyz").send().await.unwrap();
    let problem = problem_of(refused, 503, "not_ready").await;
    assert!(problem["detail"].as_str().unwrap().starts_with("redis:"), "{problem}");
    let refused = gateway.ask(Method::POST, "/v1/sessions").send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    problem_of(refused, 503, "unavailable").await;
    gateway.redis.restart();
    gateway.until_ready().await;
    gateway.user().await.job("after all").await;
}

#[tokio::test]
async fn a_redis_that_dies_midway_costs_503s_and_no_job() {
    let mut gateway = Gateway::start().await;
    let token = gateway.user().await.token;
    let ask = |gateway: &Gateway, method: Method, path: &str| {
        gateway.ask(method, path).bearer_auth(&token)
    };
    let body = json!({"input": {"prompt": "before"}});
    let before = ask(&gateway, Method::POST, "/v1/jobs").json(&body).send().await.unwrap();
    let before: serde_json::Value = before.json().await.unwrap();
    let id = before["id"].as_str().unwrap();
    // AOF is written every second; what is asked here is that we lose nothing of what it kept.
    gateway.set_redis("appendfsync", "always");
    gateway.redis.kill();
    let key = "sent-until-accepted";
    for path in ["/v1/jobs", &format!("/v1/jobs/{id}"), "/v1/jobs?active=1"] {
        let refused = ask(&gateway, Method::GET, path).send().await.unwrap();
        assert!(refused.headers().contains_key("retry-after"), "{path}");
        problem_of(refused, 503, "unavailable").await;
    }
    let submit = |gateway: &Gateway| {
        ask(gateway, Method::POST, "/v1/jobs").header("idempotency-key", key).json(&body).send()
    };
    let refused = submit(&gateway).await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    insta::assert_json_snapshot!(problem_of(refused, 503, "unavailable").await);
    gateway.redis.restart();
    gateway.until_ready().await;
    assert_eq!(submit(&gateway).await.unwrap().status(), 202);
    let listed = ask(&gateway, Method::GET, "/v1/jobs").send().await.unwrap();
    let listed: serde_json::Value = listed.json().await.unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    assert_eq!(listed["data"][1]["id"], id);
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_at_start() {
    let redis = RedisServer::start();
    set_redis(&redis, "maxmemory-policy", "allkeys-lru");
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let built = App::build(settings(&redis, folder.path(), |_| ()), listener).await;
    let error = built.expect_err("it started on a Redis that evicts");
    assert!(matches!(error, AppError::Redis(_)));
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("allkeys-lru") && reason.contains("noeviction"), "{reason}");
}

#[tokio::test]
async fn a_redis_that_comes_back_evicting_is_not_trusted_until_it_is_mended() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut gateway = Gateway::start_on(redis, |_| ()).await;
    gateway.redis.restart();
    gateway.set_redis("maxmemory-policy", "allkeys-lru");
    let asking = async {
        loop {
            let refused = gateway.ask(Method::GET, "/readyz").send().await.unwrap();
            let problem: serde_json::Value = refused.json().await.unwrap();
            if problem["detail"].as_str().is_some_and(|text| text.contains("allkeys-lru")) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("noticed within 20 s");
    gateway.set_redis("maxmemory-policy", "noeviction");
    gateway.until_ready().await;
}

#[tokio::test]
async fn of_several_nodes_one_that_is_away_is_named_and_the_rest_is_served() {
    let cluster = RedisServer::Cluster(RedisCluster::start(3));
    let mut gateway = Gateway::start_on(cluster, |settings| {
        settings.redis.cells = std::num::NonZeroU16::new(12);
        settings.redis.call_timeout = Duration::from_secs(1);
    })
    .await;
    let ready = async |gateway: &Gateway| -> serde_json::Value {
        gateway.ask(Method::GET, "/readyz").send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(ready(&gateway).await, json!({"status": "ready"}));
    let RedisServer::Cluster(cluster) = &mut gateway.redis else { unreachable!() };
    let dead = cluster.master_of(Cell(1));
    cluster.masters[dead].kill();
    let named = json!({"status": "ready", "cells_without_redis": ["c1", "c5", "c9"]});
    until("the cells to be named", async || (ready(&gateway).await == named).then_some(())).await;
    // A new session goes where Redis is, mostly at the first try and else at the second.
    let session = until("a session", async || {
        let answer = gateway.ask(Method::POST, "/v1/sessions").send().await.unwrap();
        (answer.status() == 201).then_some(answer)
    })
    .await;
    let session: serde_json::Value = session.json().await.unwrap();
    let body = json!({"input": {"prompt": "all the same"}});
    let token = session["token"].as_str().unwrap();
    let submit = gateway.ask(Method::POST, "/v1/jobs").bearer_auth(token).json(&body);
    assert_eq!(submit.send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn a_redis_without_memory_is_503_and_its_words_stay_with_the_operator() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    user.job("fits").await;
    gateway.set_redis("maxmemory", "1mb");
    let submit = || {
        user.ask(Method::POST, "/v1/jobs").json(&json!({"input": {"prompt": "does not"}})).send()
    };
    let refused = submit().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    let problem = problem_of(refused, 503, "unavailable").await;
    assert!(!problem.to_string().contains("maxmemory"), "{problem}");
    gateway.set_redis("maxmemory", "0");
    assert_eq!(submit().await.unwrap().status(), 202);
    assert_eq!(user.get("/v1/jobs", 200).await["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_session_cap_of_the_settings_reaches_redis() {
    let gateway = Gateway::start_with(|settings| {
        settings.queue.session_cap = 1.try_into().unwrap();
    })
    .await;
    let user = gateway.user().await;
    let mut worker = crate::support::Worker::start(&gateway, 4).await;
    let first = user.job("runs").await;
    user.job("has to wait").await;
    let other = gateway.user().await.job("runs beside it").await;
    assert_eq!(worker.claim().await.job.as_str(), first);
    assert_eq!(worker.claim().await.job.as_str(), other);
}
