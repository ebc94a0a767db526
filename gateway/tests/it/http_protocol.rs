//! Paths, methods, bodies and headers as strangers send them.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gateway, problem_of};

/// Sends bytes as they are; gives what comes back until the gateway closes.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let address = gateway.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The gateway may refuse and close before it has read all of it.
    drop(socket.write_all(bytes).await);
    drop(socket.shutdown().await);
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems_too() {
    let gateway = Gateway::start().await;
    for path in ["/nope", "/v1", "/v1/jobs/", "/studio/../x", "//", "/v1/sessions/x", "/.env"] {
        let response = gateway.ask(Method::GET, path).send().await.unwrap();
        problem_of(response, 404, "route_not_found").await;
    }
    for (method, path, allow) in [
        (Method::DELETE, "/v1/jobs", "POST, GET, HEAD"),
        (Method::GET, "/v1/sessions", "POST"),
        (Method::POST, "/v1/events", "GET"),
        (Method::HEAD, "/v1/events", "GET"),
        (Method::OPTIONS, "/v1/jobs/x", "GET, HEAD, DELETE"),
        (Method::PUT, "/studio/studio.js", "GET, HEAD"),
        (Method::TRACE, "/healthz", "GET, HEAD"),
    ] {
        let response = gateway.ask(method.clone(), path).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allow, "{method} {path}");
        if method == Method::HEAD {
            assert_eq!(response.status(), 405);
        } else {
            problem_of(response, 405, "method_not_allowed").await;
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let body = json!({"input": {"prompt": "x".repeat(100_000)}}).to_string();
    let declared = user.ask(Method::POST, "/v1/jobs").header("content-type", "application/json");
    let response = declared.body(body.clone()).send().await.unwrap();
    insta::assert_json_snapshot!(problem_of(response, 413, "payload_too_large").await);
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        body.into_bytes().chunks(1_000).map(|chunk| Ok(chunk.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let chunked = user.ask(Method::POST, "/v1/jobs").header("content-type", "application/json");
    let response = chunked.body(stream).send().await.unwrap();
    problem_of(response, 413, "payload_too_large").await;
    user.job("a user who sent too much is served again").await;
}

#[tokio::test]
async fn only_plain_json_is_taken_for_json() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let body = r#"{"input":{"prompt":"x"}}"#;
    for bad in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]
    {
        let request = user.ask(Method::POST, "/v1/jobs").header("content-type", bad).body(body);
        problem_of(request.send().await.unwrap(), 415, "unsupported_media_type").await;
    }
    let request = user.ask(Method::POST, "/v1/jobs").body(body);
    problem_of(request.send().await.unwrap(), 415, "unsupported_media_type").await;
    let request = user.ask(Method::POST, "/v1/jobs").header("content-encoding", "gzip");
    let request = request.header("content-type", "application/json").body(body);
    problem_of(request.send().await.unwrap(), 415, "unsupported_media_type").await;
    for good in ["application/json; charset=utf-8", "Application/JSON"] {
        let request = user.ask(Method::POST, "/v1/jobs").header("content-type", good).body(body);
        assert_eq!(request.send().await.unwrap().status(), 202, "{good}");
    }
}

#[tokio::test]
async fn a_request_has_an_id_and_a_harmless_one_is_the_callers() {
    let gateway = Gateway::start().await;
    let ask = |id: &str| gateway.ask(Method::GET, "/nope").header("x-request-id", id).send();
    assert_eq!(ask("mine-1.2_3").await.unwrap().headers()["x-request-id"], "mine-1.2_3");
    for bad in ["", "a b", "<script>", &"x".repeat(65)] {
        let drawn = ask(bad).await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(drawn.len() == 16 && drawn.bytes().all(|c| c.is_ascii_hexdigit()), "{drawn}");
    }
}

#[tokio::test]
async fn what_is_no_http_gets_a_short_answer_and_harms_nobody() {
    let gateway = Gateway::start().await;
    let huge = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(300_000));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    for (bytes, wanted) in [
        (huge.as_bytes(), "431"),
        (many.as_bytes(), "4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        (b"GET /healthz HTTP/1.1\r\nBad Header\r\n\r\n", "400"),
        (b"GET /healthz HTTP/1.1\r\nX: a\x00b\r\n\r\n", "400"),
        (b"POST /v1/sessions HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400"),
        (b"POST /v1/sessions HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (
            b"POST /v1/sessions HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
    ] {
        let answer = raw(&gateway, bytes).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let status = answer.strip_prefix("HTTP/1.1 ").unwrap_or(&answer);
        assert!(status.starts_with(wanted), "{shown:?} was answered with {answer:?}");
    }
    assert_eq!(gateway.ask(Method::GET, "/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_that_breaks_off_makes_no_job() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{{\"input\":{{\"prompt\":\"x\"}}}}",
        user.token
    );
    let answer = raw(&gateway, head.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(user.get("/v1/jobs", 200).await["data"], json!([]));
}
