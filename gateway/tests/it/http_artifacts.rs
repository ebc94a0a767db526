//! The frames' bytes.

use reqwest::{Method, Response};

use crate::support::{Gateway, User, Worker, problem_of};

const BYTES: &[u8] = b"0123456789";

async fn frame(gateway: &Gateway, user: &User<'_>) -> String {
    let mut worker = Worker::start(gateway, 1).await;
    user.job("a fox").await;
    let lease = worker.claim().await;
    worker.complete(&lease, BYTES).await.url()
}

async fn ask(user: &User<'_>, url: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = user.ask(Method::GET, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_frame_may_be_kept_for_ever_and_is_never_taken_for_anything_else() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let url = frame(&gateway, &user).await;
    let response = ask(&user, &url, &[]).await;
    let name = url.rsplit('/').next().unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "image/png");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(header("accept-ranges"), "bytes");
    assert_eq!(header("content-length"), "10");
    assert_eq!(header("content-disposition"), format!("inline; filename=\"{name}\""));
    let etag = header("etag").to_owned();
    assert_eq!(response.bytes().await.unwrap(), BYTES);
    let kept = ask(&user, &url, &[("if-none-match", &etag)]).await;
    assert_eq!((kept.status().as_u16(), kept.headers()["etag"].to_str().unwrap()), (304, &*etag));
    let head = user.ask(Method::HEAD, &url).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"10".parse().unwrap())
    );
    assert_eq!(head.bytes().await.unwrap(), b""[..]);
}

#[tokio::test]
async fn a_range_is_answered_with_exactly_its_bytes() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let url = frame(&gateway, &user).await;
    for (range, content_range, bytes) in [
        ("bytes=0-0", "bytes 0-0/10", &BYTES[..1]),
        ("bytes=2-5", "bytes 2-5/10", &BYTES[2..6]),
        ("bytes=7-", "bytes 7-9/10", &BYTES[7..]),
        ("bytes=-3", "bytes 7-9/10", &BYTES[7..]),
        ("bytes=5-99999999999", "bytes 5-9/10", &BYTES[5..]),
        ("bytes=-99", "bytes 0-9/10", BYTES),
    ] {
        let response = ask(&user, &url, &[("range", range)]).await;
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(response.headers()["content-range"], content_range);
        assert_eq!(response.bytes().await.unwrap(), bytes, "{range}");
    }
    for range in ["bytes=10-", "bytes=99-100", "bytes=-0"] {
        let response = ask(&user, &url, &[("range", range)]).await;
        assert_eq!(response.headers()["content-range"], "bytes */10", "{range}");
        problem_of(response, 416, "range_not_satisfiable").await;
    }
    for ignored in ["bytes=0-1,3-4", "lines=1-2", "bytes=5-2", "bytes=x", "", "bytes=--1"] {
        let response = ask(&user, &url, &[("range", ignored)]).await;
        assert_eq!(response.status(), 200, "{ignored}");
        assert_eq!(response.bytes().await.unwrap(), BYTES, "{ignored}");
    }
    let stale = ask(&user, &url, &[("range", "bytes=0-0"), ("if-range", "\"other\"")]).await;
    assert_eq!(stale.status(), 200);
}

#[tokio::test]
async fn a_name_that_is_not_exactly_a_frames_is_404() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let url = frame(&gateway, &user).await;
    let (stem, _) = url.rsplit_once('.').unwrap();
    for bad in [
        format!("{stem}.jpg"),
        format!("{stem}.gif"),
        format!("{url}%00"),
        format!("{url}%2F..%2F"),
        url.replace("-1-0", "-2-0"),
        url.replace("-1-0", "-01-0"),
        "/v1/artifacts/..%2F..%2F..%2Fetc%2Fpasswd".into(),
        "/v1/artifacts/x".into(),
    ] {
        let response = ask(&user, &bad, &[]).await;
        problem_of(response, 404, "artifact_not_found").await;
    }
}
