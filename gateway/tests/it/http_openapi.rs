//! The description of the API, compared with the API.

use std::collections::BTreeSet;

use framewire_gateway::http::ROUTES;
use framewire_gateway::http::openapi::Api;
use framewire_shared::domain::input::{Fault, OutputFormat};
use framewire_shared::domain::{
    Artifact, ErrorCode, Fallback, FallbackKind, FrameInput, InputFault, MediaType, Preview,
    Priority, Progress, State, Strength, Timings,
};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use crate::support::{Gateway, Worker};

fn document() -> Value {
    serde_json::from_slice(&Api::document()).unwrap()
}

/// Visits every value of a document.
fn visit(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Object(members) => members.values().for_each(|member| visit(member, look)),
        Value::Array(items) => items.iter().for_each(|item| visit(item, look)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_served_as_it_is_generated() {
    let gateway = Gateway::start().await;
    let response = gateway.ask(Method::GET, "/openapi.json").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let etag = response.headers()["etag"].clone();
    assert_eq!(response.json::<Value>().await.unwrap(), document());
    let again = gateway.ask(Method::GET, "/openapi.json").header("if-none-match", etag);
    assert_eq!(again.send().await.unwrap().status(), 304);
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let api = document();
    let mut described = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let mut routed = BTreeSet::new();
    for (path, methods) in ROUTES {
        for method in *methods {
            let method = if *method == "STREAM" { "GET" } else { method };
            routed.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(described, routed);
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_own_id() {
    let api = document();
    assert_eq!(api["openapi"], "3.1.0");
    assert_eq!(api["info"]["title"], "Framewire");
    assert_eq!(api["info"]["license"]["identifier"], "Apache-2.0 OR MIT");
    assert!(!api.to_string().contains("utoipa"));
    let mut references = 0;
    visit(&api, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(api.pointer(pointer).is_some(), "{reference} leads nowhere");
            references += 1;
        }
    });
    assert!(references > 30, "{references}");
    let mut ids = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} stands twice");
            let placeholders = path.matches('{').count();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.count(), placeholders, "{path}");
            assert!(operation["summary"].is_string() && operation["responses"].is_object());
            let problem = "/default/content/application~1problem+json/schema/$ref";
            let problem = operation["responses"].pointer(problem);
            assert_eq!(problem.unwrap(), "#/components/schemas/Problem", "{path}");
        }
    }
}

#[test]
fn security_is_said_for_the_whole_and_lifted_where_nobody_needs_a_session() {
    let api = document();
    let schemes = api["components"]["securitySchemes"].as_object().unwrap();
    assert_eq!(schemes.keys().collect::<Vec<_>>(), ["bearer", "cookie"]);
    assert_eq!(api["security"].as_array().unwrap().len(), 2);
    for (path, item) in api["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let open = !path.starts_with("/v1/")
                || ["/v1/models", "/v1/sessions", "/v1/fallback.webp"].contains(&&**path);
            assert_eq!(operation.get("security").is_some(), open, "{path}");
        }
    }
}

/// Compares a schema's members with those that the real type writes.
fn same_members(schema: &str, real: &Value) {
    let api = document();
    let schema = &api["components"]["schemas"][schema];
    let described: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let written: BTreeSet<&String> = real.as_object().unwrap().keys().collect();
    assert_eq!(described, written);
}

/// Compares a schema's words with those that the real type writes.
fn same_words(schema: &str, real: &[impl Serialize]) {
    let api = document();
    let described = api["components"]["schemas"][schema]["enum"].clone();
    assert_eq!(described, serde_json::to_value(real).unwrap(), "{schema}");
}

#[test]
fn the_mirrors_show_what_the_domain_writes() {
    let input = FrameInput {
        negative_prompt: "x".into(),
        seed: Some(1),
        step_ms: Some(1),
        fault: Some(Fault::Hang),
        fault_attempts: Some(1),
        image: Some("https://a.example/x.png".parse().unwrap()),
        mask: Some("https://a.example/y.png".parse().unwrap()),
        strength: Some(Strength::default()),
        ..FrameInput::new("x")
    };
    let progress =
        Progress { stage: State::Queued, step: 1, steps: 2, fraction: 0.5, eta_ms: Some(1) };
    let frame = Artifact {
        index: 0,
        url: String::new(),
        content_type: MediaType::Png,
        width: 64,
        height: 64,
        bytes: 1,
        sha256: String::new(),
        seed: 1,
    };
    let timings = Timings { queue_ms: 1, generate_ms: 1, upload_ms: 1, total_ms: 1 };
    let value = |real: &dyn erased::Json| real.json();
    same_members("Input", &value(&input));
    same_members("Progress", &value(&progress));
    same_members("Frame", &value(&frame));
    same_members("Timings", &value(&timings));
    same_members("Preview", &value(&Preview { index: 0, url: String::new(), step: 1 }));
    same_members("FieldFault", &value(&InputFault::new("#", "x")));
    same_members("Fallback", &value(&Fallback::shipped()));
    same_words("FallbackKind", &FallbackKind::ALL);
    same_words("State", &State::ALL);
    same_words("Priority", &Priority::ALL);
    same_words("ErrorCode", &ErrorCode::ALL);
    same_words("OutputFormat", &[OutputFormat::Png, OutputFormat::Webp, OutputFormat::Jpeg]);
    let faults = [
        Fault::Temporary,
        Fault::Permanent,
        Fault::RateLimit,
        Fault::Auth,
        Fault::Hang,
        Fault::Garbage,
        Fault::SlowBody,
    ];
    same_words("Fault", &faults);
}

/// Any type that can be written as JSON.
mod erased {
    pub(super) trait Json {
        fn json(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> serde_json::Value {
            serde_json::to_value(self).unwrap()
        }
    }
}

#[tokio::test]
async fn real_answers_have_the_members_that_are_described() {
    let gateway = Gateway::start().await;
    let session = gateway.ask(Method::POST, "/v1/sessions").send().await.unwrap();
    same_members("Session", &session.json().await.unwrap());
    let user = gateway.user().await;
    let id = user.job("a fox").await;
    let mut worker = Worker::start(&gateway, 1).await;
    let lease = worker.claim().await;
    worker.fail(&lease).await;
    let job = user.get(&format!("/v1/jobs/{id}"), 200).await;
    same_members("Job", &job);
    same_members("JobError", &job["error"]);
    same_members("JobUrls", &job["urls"]);
    same_members("JobPage", &user.get("/v1/jobs", 200).await);
    same_members("ActiveJobs", &user.get("/v1/jobs?active=1", 200).await);
    let problem = user.submit(&serde_json::json!({}), 422).await;
    same_members("Problem", &problem);
    same_members("OpenAiError", &problem["error"]);
}

#[test]
fn the_request_and_the_job_are_described_in_full() {
    let api = document();
    insta::assert_json_snapshot!(api["paths"]["/v1/jobs"]["post"]);
    insta::assert_json_snapshot!(api["components"]["schemas"]["Job"]);
}
