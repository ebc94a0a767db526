//! What may be named, what each model can do, and what is refused because it can't.

use std::collections::BTreeMap;
use std::time::Duration;

use framewire_shared::domain::{Abilities, WorkerId};
use framewire_shared::service::settings::{PoolSettings, Settings, WhenClosed};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Gateway, json_of, pool, problem_of};

fn with_gpt(settings: &mut Settings) {
    let mut gpt = settings.models.0["builtin"].clone();
    (gpt.default, gpt.abilities) = (false, Abilities::openai("gpt-image-1"));
    settings.models.0.insert("gpt".into(), gpt);
}

#[tokio::test]
async fn anybody_may_read_which_models_there_are_and_what_each_can_do() {
    let gateway = Gateway::start_with(with_gpt).await;
    let list = json_of(gateway.ask(Method::GET, "/v1/models").send().await.unwrap(), 200).await;
    insta::assert_json_snapshot!(list);
}

#[tokio::test]
async fn what_a_model_can_not_do_is_refused_by_field_and_its_size_replaces_ours() {
    let gateway = Gateway::start_with(with_gpt).await;
    let user = gateway.user().await;
    let input = json!({"prompt": "x", "width": 512, "negative_prompt": "rain"});
    let problem = user.submit(&json!({"model": "gpt", "input": input}), 422).await;
    let pointers = problem["errors"].as_array().unwrap().iter().map(|fault| &fault["pointer"]);
    assert_eq!(pointers.collect::<Vec<_>>(), ["#/input/width", "#/input/negative_prompt"]);
    for (model, side) in [("gpt", 1024), ("builtin", 512)] {
        let job = user.submit(&json!({"model": model, "input": {"prompt": "x"}}), 202).await;
        assert_eq!((&job["input"]["width"], &job["input"]["height"]), (&json!(side), &json!(side)));
    }
    let job = user.submit(&json!({"input": {"prompt": "x"}}), 202).await;
    assert_eq!(job["model"], "builtin", "the default one");
}

#[tokio::test]
async fn while_a_pool_is_closed_off_submits_wait_or_are_refused_as_configured() {
    for (when_closed, wanted) in [(WhenClosed::Wait, 202), (WhenClosed::Refuse, 503)] {
        let gateway = Gateway::start_with(|settings| {
            let its = PoolSettings { cap: None, when_closed };
            settings.pools = BTreeMap::from([(pool(), its)]);
        })
        .await;
        let user = gateway.user().await;
        let body = json!({"input": {"prompt": "x"}});
        user.submit(&body, 202).await;
        let worker = WorkerId::new(Uuid::new_v4());
        let (wait, hour) = (Duration::from_secs(30), Duration::from_secs(3_600));
        for cell in gateway.store.cells() {
            let store = &gateway.store;
            store.heartbeat_closed(cell, &pool(), &worker, wait, hour).await.unwrap();
        }
        let answer = user.ask(Method::POST, "/v1/jobs").json(&body).send().await.unwrap();
        if wanted == 202 {
            assert_eq!(json_of(answer, 202).await["status"], "queued");
            continue;
        }
        let retry_s: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((29..=30).contains(&retry_s), "{retry_s}");
        let problem = problem_of(answer, 503, "pool_closed").await;
        assert!(problem["fallback"]["url"].is_string(), "{problem}");
    }
}
