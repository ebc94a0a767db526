//! Who may see what.

use framewire_shared::service::settings::Settings;
use framewire_shared::service::tenants::{KeyDigest, TenantSettings};
use reqwest::Method;
use serde_json::json;

use crate::support::{Gateway, Worker, json_of, problem_of};

#[tokio::test]
async fn a_session_is_a_token_and_a_cookie_that_scripts_cannot_read() {
    let gateway = Gateway::start_with(|settings| settings.gateway.secure_cookie = true).await;
    let response = gateway.ask(Method::POST, "/v1/sessions").json(&json!({})).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let session = json_of(response, 201).await;
    let token = session["token"].as_str().unwrap();
    assert!(token.starts_with(session["id"].as_str().unwrap()));
    assert!(session["expires_at"].as_str().unwrap().ends_with('Z'));
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(pair, format!("framewire={token}"));
    let mut attributes: Vec<&str> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax", "Secure"]);
}

#[tokio::test]
async fn a_browser_that_asks_for_it_keeps_its_session_and_a_stranger_gets_a_new_one() {
    let gateway = Gateway::start().await;
    let keep = || gateway.ask(Method::POST, "/v1/sessions").json(&json!({"keep": true}));
    let made = json_of(keep().send().await.unwrap(), 201).await;
    let cookie = format!("framewire={}", made["token"].as_str().unwrap());

    let kept = keep().header("cookie", &cookie).send().await.unwrap();
    assert!(kept.headers()["set-cookie"].to_str().unwrap().starts_with(&cookie));
    let kept = json_of(kept, 200).await;
    assert_eq!((&kept["id"], kept.get("token")), (&made["id"], None));

    let other = keep().header("cookie", format!("{cookie}x")).send().await.unwrap();
    assert_ne!(json_of(other, 201).await["id"], made["id"]);
    let fresh = gateway.ask(Method::POST, "/v1/sessions").header("cookie", &cookie);
    assert_ne!(json_of(fresh.send().await.unwrap(), 201).await["id"], made["id"]);
}

#[tokio::test]
async fn a_session_request_with_anything_in_it_is_refused() {
    let gateway = Gateway::start().await;
    let response = gateway.ask(Method::POST, "/v1/sessions").json(&json!({"admin": true}));
    let problem = problem_of(response.send().await.unwrap(), 422, "invalid_value").await;
    assert_eq!(problem["errors"][0]["pointer"], "#/admin");
    let form = gateway.ask(Method::POST, "/v1/sessions").body("a=b");
    problem_of(form.send().await.unwrap(), 415, "unsupported_media_type").await;
    let foreign = gateway.ask(Method::POST, "/v1/sessions").header("sec-fetch-site", "cross-site");
    problem_of(foreign.send().await.unwrap(), 403, "cross_site").await;
}

/// Makes acme's key the only way in, or one of two.
fn with_acme(settings: &mut Settings, anonymous: bool) {
    settings.gateway.anonymous_sessions = anonymous;
    let acme = TenantSettings { key_sha256: KeyDigest::of("acme-secret") };
    settings.tenants.0.insert("acme".parse().unwrap(), acme);
}

/// Asks for a session with this header; gives the answer.
async fn session_by(gateway: &Gateway, header: Option<&str>) -> reqwest::Response {
    let request = gateway.ask(Method::POST, "/v1/sessions");
    let request = match header {
        Some(header) => request.header("authorization", header),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_session_belongs_to_the_tenant_whose_key_made_it_and_its_jobs_too() {
    let gateway = Gateway::start_with(|settings| with_acme(settings, true)).await;
    for (header, tenant) in [(Some("Bearer acme-secret"), "acme"), (None, "public")] {
        let session = json_of(session_by(&gateway, header).await, 201).await;
        assert!(session.get("tenant").is_none(), "{session}");
        let key = format!("fw:{{c0}}:session:{}", session["id"].as_str().unwrap());
        assert_eq!(gateway.redis_cli(&["HGET", &key, "tenant"]), tenant);
        let job = gateway.ask(Method::POST, "/v1/jobs");
        let job = job.bearer_auth(session["token"].as_str().unwrap());
        let job = job.json(&json!({"input": {"prompt": "a fox"}})).send().await.unwrap();
        let job = json_of(job, 202).await;
        let key = format!("fw:{{c0}}:job:{}", job["id"].as_str().unwrap());
        // The public's jobs name nobody.
        let named = if tenant == "public" { "" } else { tenant };
        assert_eq!(gateway.redis_cli(&["HGET", &key, "tenant"]), named);
    }
    // A key makes sessions and is none.
    let jobs = gateway.ask(Method::GET, "/v1/jobs").bearer_auth("acme-secret");
    problem_of(jobs.send().await.unwrap(), 401, "invalid_token").await;
}

#[tokio::test]
async fn a_key_that_is_nobodys_makes_no_session_even_where_none_is_needed() {
    let gateway = Gateway::start_with(|settings| with_acme(settings, true)).await;
    for header in ["Bearer acme-secre", "Bearer acme-secret2", "Bearer", "Basic acme-secret", ""] {
        let refused = session_by(&gateway, Some(header)).await;
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains("invalid_token"), "{challenge}");
        let problem = problem_of(refused, 401, "invalid_key").await;
        assert!(problem["detail"].as_str().unwrap().contains("leave the header out"), "{problem}");
    }
}

#[tokio::test]
async fn where_sessions_need_a_key_one_without_is_told_what_to_do() {
    let gateway = Gateway::start_with(|settings| with_acme(settings, false)).await;
    let refused = session_by(&gateway, None).await;
    assert_eq!(refused.headers()["www-authenticate"], r#"Bearer realm="framewire""#);
    let problem = problem_of(refused, 401, "invalid_key").await;
    assert!(problem["detail"].as_str().unwrap().contains("Have your backend send it"), "{problem}");
    json_of(session_by(&gateway, Some("Key acme-secret")).await, 201).await;
}

#[tokio::test]
async fn every_route_of_a_session_needs_one() {
    let gateway = Gateway::start().await;
    let id = gateway.user().await.job("a fox").await;
    let artifact = format!("{id}-1-0.png");
    let paths = [
        (Method::POST, "/v1/jobs".to_owned()),
        (Method::GET, "/v1/jobs".to_owned()),
        (Method::GET, "/v1/jobs?active=1".to_owned()),
        (Method::GET, format!("/v1/jobs/{id}")),
        (Method::POST, format!("/v1/jobs/{id}/cancel")),
        (Method::POST, format!("/v1/jobs/{id}/retry")),
        (Method::GET, format!("/v1/jobs/{id}/events")),
        (Method::GET, "/v1/events".to_owned()),
        (Method::GET, "/v1/events/poll".to_owned()),
        (Method::POST, "/v1/stream-tickets".to_owned()),
        (Method::GET, format!("/v1/artifacts/{artifact}")),
    ];
    let foreign = format!("ses_c0_{}.{}", "0".repeat(32), "A".repeat(43));
    for (method, path) in &paths {
        let bare = gateway.ask(method.clone(), path).send().await.unwrap();
        assert_eq!(bare.headers()["www-authenticate"], r#"Bearer realm="framewire""#, "{path}");
        problem_of(bare, 401, "invalid_token").await;
        let wrong = gateway.ask(method.clone(), path).bearer_auth(&foreign).send().await.unwrap();
        let challenge = wrong.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains("invalid_token"), "{path}");
        problem_of(wrong, 401, "invalid_token").await;
    }
}

#[tokio::test]
async fn hostile_credentials_open_nothing() {
    let gateway = Gateway::start().await;
    let token = gateway.user().await.token;
    let (id, _) = token.split_once('.').unwrap();
    let long = "x".repeat(10_000);
    let headers = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {token}"),
        format!("Bearer {id}"),
        format!("Bearer {id}."),
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {token}x"),
        format!("Bearer {}", token.to_uppercase()),
        format!("Bearer {long}"),
        "Bearer ../../*".into(),
    ];
    for header in &headers {
        let request = gateway.ask(Method::GET, "/v1/jobs").header("authorization", header);
        problem_of(request.send().await.unwrap(), 401, "invalid_token").await;
    }
    let request = gateway.ask(Method::GET, "/v1/jobs").header("authorization", &b"Bearer \xff"[..]);
    problem_of(request.send().await.unwrap(), 401, "invalid_token").await;
    for good in ["Bearer", "bearer", "Key", "KEY"] {
        let header = format!("{good}  {token} ");
        let request = gateway.ask(Method::GET, "/v1/jobs").header("authorization", header);
        json_of(request.send().await.unwrap(), 200).await;
    }
}

#[tokio::test]
async fn a_cookie_opens_the_session_among_others_but_never_for_another_site() {
    let gateway = Gateway::start().await;
    let token = gateway.user().await.token;
    let with = |cookie: String, site: Option<&'static str>| {
        let request = gateway.ask(Method::GET, "/v1/jobs").header("cookie", cookie);
        match site {
            Some(site) => request.header("sec-fetch-site", site),
            None => request,
        }
        .send()
    };
    let good = format!("a=b; framewire={token}; theme=\"dark\"");
    for site in [None, Some("same-origin"), Some("none")] {
        json_of(with(good.clone(), site).await.unwrap(), 200).await;
    }
    for site in ["cross-site", "same-site", "Same-Origin", ""] {
        problem_of(with(good.clone(), Some(site)).await.unwrap(), 403, "cross_site").await;
    }
    for bad in ["framewire=", "framewire=x", "notframewire=y", "=;=;;", &"a=b;".repeat(2_000)] {
        problem_of(with(bad.to_owned(), None).await.unwrap(), 401, "invalid_token").await;
    }
    let bearer = gateway.ask(Method::GET, "/v1/jobs").bearer_auth(&token);
    let bearer = bearer.header("sec-fetch-site", "cross-site");
    json_of(bearer.send().await.unwrap(), 200).await;
}

#[tokio::test]
async fn a_verified_token_is_remembered_for_a_while_and_a_wrong_one_never() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    user.get("/v1/jobs", 200).await;
    let key = format!("fw:{{c0}}:session:{}", user.session());
    assert_eq!(gateway.redis_cli(&["DEL", &key]), "1");
    user.get("/v1/jobs", 200).await;
    let stranger = gateway.user().await;
    let key = format!("fw:{{c0}}:session:{}", stranger.session());
    let digest = gateway.redis_cli(&["HGET", &key, "token_sha256"]);
    gateway.redis_cli(&["HSET", &key, "token_sha256", "x"]);
    stranger.get("/v1/jobs", 401).await;
    gateway.redis_cli(&["HSET", &key, "token_sha256", &digest]);
    stranger.get("/v1/jobs", 200).await;
}

#[tokio::test]
async fn what_is_anothers_does_not_exist() {
    let gateway = Gateway::start().await;
    let (owner, other) = (gateway.user().await, gateway.user().await);
    let mut worker = Worker::start(&gateway, 1).await;
    let id = owner.job("mine").await;
    let lease = worker.claim().await;
    let frame = worker.complete(&lease, b"mine").await;
    let waiting = owner.job("mine too").await;
    let missing = format!("/v1/jobs/job_c0_{}", "0".repeat(32));
    let unknown = other.get(&missing, 404).await;
    for job in [&id, &waiting] {
        let path = format!("/v1/jobs/{job}");
        let mut seen = other.get(&path, 404).await;
        seen["instance"] = unknown["instance"].clone();
        assert_eq!(seen, unknown, "another's job can be told from one that never was");
        other.get(&format!("{path}?wait=1"), 404).await;
        other.get(&format!("{path}/events"), 404).await;
        other.post(&format!("{path}/cancel"), 404).await;
        other.post(&format!("{path}/retry"), 404).await;
    }
    let seen = other.ask(Method::GET, &frame.url()).send().await.unwrap();
    problem_of(seen, 404, "artifact_not_found").await;
    assert_eq!(owner.ask(Method::GET, &frame.url()).send().await.unwrap().status(), 200);
    let listed = other.get(&format!("/v1/jobs?cursor={id}"), 200).await;
    assert_eq!(listed["data"], json!([]));
    assert_eq!(other.get("/v1/jobs?active=1", 200).await["jobs"], json!([]));
    assert_eq!(owner.get(&format!("/v1/jobs/{waiting}"), 200).await["status"], "queued");
}
