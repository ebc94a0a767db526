//! Stream tickets: good once, soon, and for reading events alone.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use framewire_shared::testing::{RedisServer, until};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::support::{Gateway, User, json_of, problem_of};

async fn ticket(user: &User<'_>) -> String {
    user.post("/v1/stream-tickets", 201).await["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_ticket_opens_its_sessions_events_once_and_nothing_else() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let answer = user.ask(Method::POST, "/v1/stream-tickets").send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let answer = json_of(answer, 201).await;
    let url = answer["url"].as_str().unwrap();
    assert_eq!(url, format!("/v1/events?ticket={}", answer["ticket"].as_str().unwrap()));
    assert!(answer["expires_at"].as_str().unwrap().ends_with('Z'));

    let mut stream = gateway.ask(Method::GET, url).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert!(
        String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()).contains("event: sync")
    );
    let spent = gateway.ask(Method::GET, url).send().await.unwrap();
    let problem = problem_of(spent, 401, "invalid_ticket").await;
    assert!(problem["detail"].as_str().unwrap().contains("POST /v1/stream-tickets"), "{problem}");

    let job = user.job("a fox").await;
    for path in ["/v1/events/poll", &format!("/v1/jobs/{job}/events")] {
        let path = format!("{path}?ticket={}", ticket(&user).await);
        assert_eq!(gateway.ask(Method::GET, &path).send().await.unwrap().status(), 200, "{path}");
        problem_of(gateway.ask(Method::GET, &path).send().await.unwrap(), 401, "invalid_ticket")
            .await;
    }
    for path in ["/v1/jobs", &format!("/v1/jobs/{job}")] {
        let path = format!("{path}?ticket={}", ticket(&user).await);
        problem_of(gateway.ask(Method::GET, &path).send().await.unwrap(), 401, "invalid_token")
            .await;
    }
    // Another's job stays another's.
    let path = format!("/v1/jobs/{job}/events?ticket={}", ticket(&gateway.user().await).await);
    problem_of(gateway.ask(Method::GET, &path).send().await.unwrap(), 404, "job_not_found").await;
}

#[tokio::test]
async fn of_two_who_use_a_ticket_in_the_same_moment_one_is_refused() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    for _ in 0..20 {
        let path = format!("/v1/events/poll?ticket={}", ticket(&user).await);
        let ask = || async { gateway.ask(Method::GET, &path).send().await.unwrap().status() };
        let (one, other) = tokio::join!(ask(), ask());
        assert_eq!(u16::from(one) + u16::from(other), 200 + 401, "{one} {other}");
    }
}

#[tokio::test]
async fn a_ticket_lapses_and_redis_knows_it_by_its_digest_alone() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let ticket = ticket(&user).await;
    let key = gateway.redis_cli(&["--scan", "--pattern", "fw:{c0}:ticket:*"]);
    assert!(!key.contains(&ticket[7..]), "{key}");
    let lifetime_s: u32 = gateway.redis_cli(&["TTL", &key]).parse().unwrap();
    assert!((25..=30).contains(&lifetime_s), "{lifetime_s}");
    gateway.redis_cli(&["PEXPIRE", &key, "1"]);
    until("the ticket to lapse", async || {
        gateway.redis_cli(&["EXISTS", &key]).starts_with('0').then_some(())
    })
    .await;
    let path = format!("/v1/events?ticket={ticket}");
    problem_of(gateway.ask(Method::GET, &path).send().await.unwrap(), 401, "invalid_ticket").await;
}

#[tokio::test]
async fn what_is_no_ticket_opens_nothing() {
    let gateway = Gateway::start().await;
    let token = gateway.user().await.token;
    let (other_cell, long) = (format!("tkt_c9_{}", "A".repeat(43)), "x".repeat(5_000));
    for bad in ["", "tkt_", "tkt_c0_", "tkt_c0_*", &other_cell, &token, "%00", "..%2F", &long] {
        let path = format!("/v1/events?ticket={bad}");
        let refused = gateway.ask(Method::GET, &path).send().await.unwrap();
        problem_of(refused, 401, "invalid_ticket").await;
    }
}

#[tokio::test]
async fn a_ticket_is_in_no_log_however_much_is_logged() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_framewire-gateway"))
        .envs(redis.environment())
        .env("FRAMEWIRE_ARTIFACTS_PATH", folder.path())
        .env("FRAMEWIRE_GATEWAY_LISTEN", "127.0.0.1:0")
        .env("FRAMEWIRE_GATEWAY_DRAIN_MS", "10")
        .env("FRAMEWIRE_LOG_FILTER", "debug")
        .stderr(Stdio::piped())
        .spawn()
        .expect("start a gateway");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let url = loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
        if let Some((_, url)) = line.split_once("listening on ") {
            break url.trim().to_owned();
        }
    };
    let rest = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    let token = redis.store().create_session().await.unwrap().token;
    let http = Client::new();
    let answer = http.post(format!("{url}/v1/stream-tickets")).bearer_auth(&token).send();
    let answer: Value = json_of(answer.await.unwrap(), 201).await;
    let path = format!("{url}{}", answer["url"].as_str().unwrap());
    for status in [200, 401] {
        assert_eq!(http.get(&path).send().await.unwrap().status(), status);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let text = rest.join().unwrap().unwrap();
    assert!(text.contains("/v1/events"), "{text}");
    let secret = &answer["ticket"].as_str().unwrap()[7..];
    assert!(!text.contains(secret) && !text.contains(&token), "{text}");
}
