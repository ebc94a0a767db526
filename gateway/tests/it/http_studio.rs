//! The studio's files, the client's and the examples'.

use reqwest::Method;

use crate::support::{Gateway, problem_of};

#[tokio::test]
async fn the_page_and_its_files_are_served_under_a_policy_of_their_own() {
    let gateway = Gateway::start().await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/studio", "text/html; charset=utf-8"),
        ("/studio/index.html", "text/html; charset=utf-8"),
        ("/studio/base.css", "text/css; charset=utf-8"),
        ("/studio/studio.js", "text/javascript; charset=utf-8"),
        ("/client/framewire.js", "text/javascript; charset=utf-8"),
        ("/examples/morph/", "text/html; charset=utf-8"),
        ("/examples/morph/morph.js", "text/javascript; charset=utf-8"),
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
async fn everything_that_a_page_names_is_there() {
    let gateway = Gateway::start().await;
    for (page, folder) in [("/", "/studio/"), ("/examples/morph/", "/examples/morph/")] {
        let page = gateway.ask(Method::GET, page).send().await.unwrap().text().await.unwrap();
        let named: Vec<&str> =
            page.split('"').filter(|text| text.starts_with(folder) && text.contains('.')).collect();
        assert!(!named.is_empty());
        for path in named {
            let answer = gateway.ask(Method::GET, path).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
        }
        assert!(!page.contains("<script>") && !page.contains(" style=\""), "the policy forbids it");
    }
}

#[tokio::test]
async fn an_example_is_found_without_its_slash() {
    let gateway = Gateway::start().await;
    let ask = gateway.ask(Method::GET, "/examples/morph?seconds=5").send().await.unwrap();
    assert_eq!(ask.status(), 200);
    assert_eq!(ask.url().path(), "/examples/morph/");
    assert_eq!(ask.url().query(), Some("seconds=5"));
}

#[tokio::test]
async fn every_module_that_the_client_imports_is_there() {
    let gateway = Gateway::start().await;
    let mut modules = vec!["framewire.js".to_owned()];
    let mut next = 0;
    while let Some(module) = modules.get(next).cloned() {
        next += 1;
        let response = gateway.ask(Method::GET, &format!("/client/{module}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{module}");
        let text = response.text().await.unwrap();
        for import in text.split(" from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
            if !modules.iter().any(|known| known == import) {
                modules.push(import.to_owned());
            }
        }
    }
    assert!(modules.iter().any(|module| module == "stream.js"), "{modules:?}");
}

#[tokio::test]
async fn nothing_beside_the_three_folders_can_be_reached() {
    let gateway = Gateway::start().await;
    for path in [
        "/studio/nope.js",
        "/studio/..%2F..%2FCargo.toml",
        "/studio/..%2F..%2Fsrc%2Fmain.rs",
        "/studio/%2Fetc%2Fpasswd",
        "/studio/..%2Fstudio%2Findex.html",
        "/studio/index",
        "/client/..%2Fstudio%2Findex.html",
        "/client/index.html",
        "/examples/nope",
        "/examples/nope/",
        "/examples/morph/nope.js",
        "/examples/..%2Fstudio/index.html",
        "/examples/..%2Fstudio/",
        "/examples/morph/..%2F..%2Fstudio%2Findex.html",
        "/examples/morph%2Findex.html",
    ] {
        let response = gateway.ask(Method::GET, path).send().await.unwrap();
        problem_of(response, 404, "route_not_found").await;
    }
}
