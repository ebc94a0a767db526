//! Stopping in order.

use reqwest::Method;

use crate::support::{Gateway, Worker, problem_of};

#[tokio::test]
async fn a_drain_fails_readiness_first_and_ends_the_process_at_last() {
    let gateway = Gateway::start_with(|settings| {
        settings.gateway.drain = std::time::Duration::from_secs(5);
    })
    .await;
    let user = gateway.user().await;
    let id = user.job("a fox").await;
    // A stream that is open keeps the gateway serving while it drains.
    let stream = user.ask(Method::GET, "/v1/events").send().await.unwrap();
    gateway.shutdown.drain.cancel();
    let refused = gateway.ask(Method::GET, "/readyz").send().await.unwrap();
    let problem = problem_of(refused, 503, "not_ready").await;
    assert!(problem["detail"].as_str().unwrap().starts_with("drain:"), "{problem}");
    assert_eq!(user.get(&format!("/v1/jobs/{id}"), 200).await["status"], "queued");
    let text = stream.text().await.unwrap();
    assert!(text.contains("event: bye"), "{text}");
    gateway.running.await.unwrap().unwrap();
    assert!(gateway.shutdown.stop.is_cancelled());
}

#[tokio::test]
async fn who_waits_for_a_job_is_answered_before_the_gateway_goes() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut worker = Worker::start(&gateway, 1).await;
    let id = user.job("a fox").await;
    let _lease = worker.claim().await;
    let path = format!("/v1/jobs/{id}?wait=60");
    let (job, ()) = tokio::join!(user.get(&path, 200), async {
        gateway.until_followed(&user.session()).await;
        gateway.shutdown.drain.cancel();
    });
    assert_eq!(job["status"], "processing");
    gateway.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let gateway = Gateway::start_with(|settings| {
        settings.gateway.drain = std::time::Duration::from_secs(600);
    })
    .await;
    let user = gateway.user().await;
    let stream = user.ask(Method::GET, "/v1/events").send().await.unwrap();
    gateway.shutdown.drain.cancel();
    gateway.shutdown.stop.cancel();
    gateway.running.await.unwrap().unwrap();
    drop(stream);
}
