//! The studio's files.

use reqwest::Method;

use crate::support::{Gateway, problem_of};

#[tokio::test]
async fn the_page_and_its_files_are_served_under_a_policy_of_their_own() {
    let gateway = Gateway::start().await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/studio", "text/html; charset=utf-8"),
        ("/studio/index.html", "text/html; charset=utf-8"),
        ("/studio/studio.css", "text/css; charset=utf-8"),
        ("/studio/studio.js", "text/javascript; charset=utf-8"),
    ] {
        let response = gateway.ask(Method::GET, path).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header("content-type"), content_type);
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("cache-control").contains("no-cache"));
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'self'; img-src 'self' data: blob:"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let again = gateway.ask(Method::GET, path).header("if-none-match", header("etag"));
        assert_eq!(again.send().await.unwrap().status(), 304);
        assert!(!response.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn everything_that_the_page_names_is_there() {
    let gateway = Gateway::start().await;
    let page = gateway.ask(Method::GET, "/").send().await.unwrap().text().await.unwrap();
    let named: Vec<&str> =
        page.split('"').filter(|text| text.starts_with("/studio/") && text.contains('.')).collect();
    assert!(!named.is_empty());
    for path in named {
        assert_eq!(gateway.ask(Method::GET, path).send().await.unwrap().status(), 200, "{path}");
    }
    assert!(!page.contains("<script>") && !page.contains(" style=\""), "the policy forbids it");
}

#[tokio::test]
async fn nothing_beside_the_studios_folder_can_be_reached() {
    let gateway = Gateway::start().await;
    for path in [
        "/studio/nope.js",
        "/studio/..%2F..%2FCargo.toml",
        "/studio/..%2F..%2Fsrc%2Fmain.rs",
        "/studio/%2Fetc%2Fpasswd",
        "/studio/..%2Fstudio%2Findex.html",
        "/studio/index",
    ] {
        let response = gateway.ask(Method::GET, path).send().await.unwrap();
        problem_of(response, 404, "route_not_found").await;
    }
}
