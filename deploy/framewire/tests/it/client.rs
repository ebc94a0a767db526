//! A user of the HTTP interface, with a session.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::events::Events;
use crate::launcher::DEADLINE;

/// A session at a gateway.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// Makes a session.
    pub(crate) async fn new(url: &str) -> Self {
        let http = reqwest::Client::new();
        let reply = http
            .post(format!("{url}/v1/sessions"))
            .json(&json!({}))
            .send()
            .await
            .expect("reach the gateway");
        assert_eq!(reply.status(), StatusCode::CREATED);
        let session: Value = reply.json().await.expect("a session");
        Self {
            http,
            url: url.to_owned(),
            token: session["token"].as_str().expect("a token").to_owned(),
        }
    }

    /// Goes on with the same session at a gateway that has another address now.
    pub(crate) fn at(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }

    /// Submits a job that takes `steps` times `step_ms`; gives its id.
    pub(crate) async fn submit(&self, prompt: &str, steps: u32, step_ms: u32) -> String {
        let input = json!({
            "prompt": prompt, "width": 128, "height": 64,
            "steps": steps, "step_ms": step_ms, "seed": 7,
        });
        self.submit_body(&json!({"model": "builtin", "input": input})).await
    }

    /// Submits any job; gives its id.
    pub(crate) async fn submit_body(&self, body: &Value) -> String {
        let request = self.http.post(format!("{}/v1/jobs", self.url));
        let reply = self.signed(request).json(body).send().await.expect("reach the gateway");
        assert_eq!(reply.status(), StatusCode::ACCEPTED);
        let job: Value = reply.json().await.expect("a job");
        job["id"].as_str().expect("an id").to_owned()
    }

    /// Uploads a picture; gives the file.
    pub(crate) async fn upload(&self, bytes: Vec<u8>) -> Value {
        let form = reqwest::multipart::Form::new();
        let form = form.part("file", reqwest::multipart::Part::bytes(bytes));
        let request = self.http.post(format!("{}/v1/files", self.url)).multipart(form);
        let reply = self.signed(request).send().await.expect("reach the gateway");
        assert_eq!(reply.status(), StatusCode::CREATED);
        reply.json().await.expect("a file")
    }

    /// Reads anything that needs no session.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let reply = self.http.get(format!("{}{path}", self.url)).send().await;
        reply.expect("reach the gateway").json().await.expect("JSON")
    }

    /// Asks for a job's cancellation.
    pub(crate) async fn cancel(&self, id: &str) {
        let request = self.http.post(format!("{}/v1/jobs/{id}/cancel", self.url));
        let reply = self.signed(request).send().await.expect("reach the gateway");
        assert!(reply.status().is_success(), "{}", reply.status());
    }

    /// Waits for a job's end; gives the job.
    pub(crate) async fn finished(&self, id: &str) -> Value {
        let ended = async {
            loop {
                let path = format!("/v1/jobs/{id}?wait=10");
                let job: Value = self.get(&path).await.json().await.expect("a job");
                if let Some("completed" | "failed" | "cancelled") = job["status"].as_str() {
                    return job;
                }
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.unwrap_or_else(|_| panic!("{id} does not end"))
    }

    /// Gets a job as it is.
    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.json().await.expect("a job")
    }

    /// Gets the bytes of a finished job's only frame; checks that they are a PNG of its size.
    pub(crate) async fn png(&self, job: &Value) -> Vec<u8> {
        let url = job["frames"][0]["url"].as_str().expect("a frame");
        let path = url.strip_prefix(&self.url).unwrap_or(url);
        let reply = self.get(path).await;
        assert_eq!(reply.headers()["content-type"], "image/png");
        let bytes = reply.bytes().await.expect("a frame's bytes").to_vec();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        // IHDR is the first chunk: length, name, width, height.
        assert_eq!(bytes[16..24], [0, 0, 0, 128, 0, 0, 0, 64]);
        assert_eq!(bytes[bytes.len() - 8..][..4], *b"IEND");
        assert_eq!(job["frames"][0]["bytes"], bytes.len());
        bytes
    }

    /// Opens the session's stream, from now or from after a cursor.
    pub(crate) async fn events(&self, after: Option<&str>) -> Events {
        let mut request = self.http.get(format!("{}/v1/events", self.url));
        if let Some(cursor) = after {
            request = request.header("Last-Event-ID", cursor);
        }
        let reply = self.signed(request).send().await.expect("reach the gateway");
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        Events::new(reply)
    }

    /// Opens the stream and waits until it is there: what happens from now on comes over it.
    pub(crate) async fn listen(&self) -> Events {
        let mut events = self.events(None).await;
        events.until("sync").await;
        events
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.url));
        let reply = self.signed(request).send().await.expect("reach the gateway");
        assert_eq!(reply.status(), StatusCode::OK, "{path}");
        reply
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.token)
    }
}
