//! Pages of other origins: what they may read, and what they may cause.

use framewire_shared::service::settings::Settings;
use reqwest::{Method, Response};

use crate::support::{Gateway, problem_of};

const LISTED: &str = "https://app.example";

fn listed(settings: &mut Settings) {
    settings.gateway.cors_origins = vec![LISTED.parse().unwrap()];
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn preflight(gateway: &Gateway, origin: &str, method: &str, headers: &str) -> Response {
    let request = gateway.ask(Method::OPTIONS, "/v1/jobs").header("origin", origin);
    let request = request.header("access-control-request-method", method);
    request.header("access-control-request-headers", headers).send().await.unwrap()
}

#[tokio::test]
async fn nothing_is_readable_from_another_origin_unless_it_is_listed() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    for path in ["/v1/jobs", "/v1/events", "/v1/models", "/openapi.json", "/nope"] {
        let answer = user.ask(Method::GET, path).header("origin", LISTED).send().await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), None, "{path}");
        assert_eq!(header(&answer, "cross-origin-resource-policy"), Some("same-origin"), "{path}");
    }
    let picture = gateway.ask(Method::GET, "/v1/fallback.webp").send().await.unwrap();
    assert_eq!(header(&picture, "cross-origin-resource-policy"), Some("cross-origin"));
    let asked = preflight(&gateway, LISTED, "POST", "content-type").await;
    assert_eq!(asked.status(), 405);
    assert_eq!(header(&asked, "access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_listed_origin_reads_answers_errors_and_streams_and_no_other_does() {
    let gateway = Gateway::start_with(listed).await;
    let user = gateway.user().await;
    for (path, status) in
        [("/v1/jobs", 200), ("/v1/events", 200), ("/v1/jobs/x", 404), ("/no", 404)]
    {
        let from = async |origin: &str| {
            user.ask(Method::GET, path).header("origin", origin).send().await.unwrap()
        };
        let answer = from(LISTED).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(LISTED), "{path}");
        assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"), "{path}");
        assert!(header(&answer, "vary").is_some_and(|vary| vary.contains("Origin")), "{path}");
        let read = header(&answer, "access-control-expose-headers").unwrap().to_lowercase();
        for name in ["location", "retry-after", "idempotent-replayed", "etag", "x-request-id"] {
            assert!(read.contains(name), "{name} is missing in {read}");
        }
        for other in
            ["https://app.example.evil", "http://app.example", "https://app.example:8443", "null"]
        {
            let answer = from(other).await;
            assert_eq!(header(&answer, "access-control-allow-origin"), None, "{other}");
        }
    }
    // The same page without a session reads what is wrong.
    let bare = gateway.ask(Method::GET, "/v1/jobs").header("origin", LISTED).send().await.unwrap();
    assert_eq!(header(&bare, "access-control-allow-origin"), Some(LISTED));
    problem_of(bare, 401, "invalid_token").await;
}

#[tokio::test]
async fn a_browser_that_asks_first_is_told_what_a_listed_page_may_send() {
    let gateway = Gateway::start_with(listed).await;
    let sent = "authorization, content-type, idempotency-key, last-event-id, prefer";
    for method in ["POST", "DELETE", "GET"] {
        let answer = preflight(&gateway, LISTED, method, sent).await;
        assert!(answer.status().is_success(), "{method}: {}", answer.status());
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(LISTED));
        assert!(header(&answer, "access-control-allow-methods").unwrap().contains(method));
        let allowed = header(&answer, "access-control-allow-headers").unwrap().to_lowercase();
        assert!(sent.split(", ").all(|name| allowed.contains(name)), "{allowed}");
        assert_eq!(header(&answer, "access-control-max-age"), Some("600"));
    }
    for (origin, method, headers) in
        [("https://evil.example", "POST", sent), (LISTED, "PUT", sent), (LISTED, "POST", "x-evil")]
    {
        let answer = preflight(&gateway, origin, method, headers).await;
        assert_eq!(answer.status(), 400, "{origin} {method} {headers}");
    }
    // Who does not come from a page is not concerned.
    let plain = gateway.ask(Method::OPTIONS, "/v1/jobs").send().await.unwrap();
    problem_of(plain, 405, "method_not_allowed").await;
}

#[tokio::test]
async fn a_cookie_is_honoured_for_a_listed_page_and_for_no_other() {
    let gateway = Gateway::start_with(listed).await;
    let token = gateway.user().await.token;
    let job = gateway.user().await.job("another's").await;
    for (method, path, good) in [
        (Method::GET, "/v1/jobs".to_owned(), 200),
        (Method::POST, "/v1/stream-tickets".to_owned(), 201),
        (Method::POST, format!("/v1/jobs/{job}/cancel"), 404),
    ] {
        let ask = async |origin: Option<&str>, site: &str| {
            let request = gateway.ask(method.clone(), &path).header("sec-fetch-site", site);
            let request = request.header("cookie", format!("framewire={token}"));
            let request = match origin {
                Some(origin) => request.header("origin", origin),
                None => request,
            };
            request.send().await.unwrap()
        };
        for site in ["same-site", "cross-site"] {
            assert_eq!(ask(Some(LISTED), site).await.status(), good, "{method} {path} {site}");
            for foreign in [Some("https://evil.example"), Some("null"), None] {
                problem_of(ask(foreign, site).await, 403, "cross_site").await;
            }
        }
    }
}
