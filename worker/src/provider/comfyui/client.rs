//! ComfyUI's routes, one method each.
//!
//! Comes in: ids, workflows, bytes. Goes out: typed answers, or a failure that already says what it
//! means. Every call has an end in time and every body one in size, so that a server that hangs or
//! floods costs neither a task nor memory. Headers are for a proxy's key: they go to this server
//! only (redirects are not followed) and appear in no text. Retrying is for the callers.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use framewire_shared::domain::Failure;

use super::catalog::Catalog;
use super::failure;
use super::history::{Entry, Image};
use crate::picture_check::PICTURE_BYTES_MAX;
use crate::provider::secrets::Secrets;
use crate::provider::verdict::retry_after;

/// Longest wait for a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer that costs the server nothing.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a prompt to be accepted: the server checks it against its lists of files.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a picture, up or down.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the catalog: the server asks every class for its inputs.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle connections kept to one server, and for how long: between looks, not between jobs.
const IDLE_MAX: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is one record; a failed node's history quotes its inputs.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Largest `/queue`, which quotes every waiting workflow; largest catalog, with many custom nodes.
const LIST_BYTES_MAX: usize = 64 << 20;
/// What is read of an error page.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Folder of uploads among the server's inputs.
const UPLOAD_FOLDER: &str = "framewire";

/// Why a server can't be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not `http` or `https`.
    #[error("use the URL {0}: it is not http:// or https://")]
    Scheme(Url),
    /// Something in it that would be lost or shown.
    #[error("use the URL: it has a user, a query or a fragment; credentials belong in headers")]
    Extras,
    /// Not a header; its value is not shown.
    #[error("use the header {0:?}")]
    Header(String),
    /// TLS could not be set up.
    #[error("make an HTTP client")]
    Http(#[from] reqwest::Error),
}

/// One ComfyUI server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// Marked as sensitive, so that their values are not in `Debug` either.
    headers: HeaderMap,
    /// Their values, to be taken out of what a server echoes.
    secrets: Secrets,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its version.
    pub version: String,
}

/// Where a prompt is in the server's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    Running,
    Waiting,
    Gone,
}

/// Where the server has a prompt.
#[derive(Debug)]
pub(super) enum Found {
    Ended(Entry),
    Queued,
    Nowhere,
}

/// What became of `POST /prompt`.
#[derive(Debug)]
pub(super) enum Submission {
    /// It is in the queue, under this id; of nodes that were left out, the server's words.
    Accepted { id: String, left_out: Value },
    /// It is not in the queue.
    Refused(Failure),
    /// Nobody knows.
    Unanswered(Failure),
}

impl Client {
    /// Makes a client for a server at a base URL, which may have a path.
    pub fn new(base: &Url, headers: &[(String, SecretString)]) -> Result<Self, ClientError> {
        if !matches!(base.scheme(), "http" | "https") {
            return Err(ClientError::Scheme(base.clone()));
        }
        let has_user = !base.username().is_empty() || base.password().is_some();
        if has_user || base.query().is_some() || base.fragment().is_some() {
            return Err(ClientError::Extras);
        }
        let mut base = base.clone();
        let folder = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&folder);
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        let mut secrets = Secrets::default();
        headers.iter().for_each(|(_, value)| secrets.add(value));
        Ok(Self { http, base, headers: sensitive(headers)?, secrets })
    }

    /// Asks whether the server is there, and which version it is.
    ///
    /// Errors: it can't be reached, refuses us, or is no ComfyUI.
    pub async fn health(&self) -> Result<Health, Failure> {
        #[derive(Deserialize)]
        struct Stats {
            system: System,
        }
        #[derive(Deserialize)]
        struct System {
            #[serde(default)]
            comfyui_version: Option<String>,
        }
        let request = self.request(Method::GET, "system_stats").timeout(LOOK_TIMEOUT);
        let stats: Stats = self.json(request, RECORD_BYTES_MAX).await?;
        let version = stats.system.comfyui_version.unwrap_or_else(|| "of unknown version".into());
        Ok(Health { version })
    }

    /// Asks for every node class and what it takes.
    pub async fn catalog(&self) -> Result<Catalog, Failure> {
        let request = self.request(Method::GET, "object_info").timeout(CATALOG_TIMEOUT);
        self.json(request, LIST_BYTES_MAX).await
    }

    /// Queues a workflow under an id of ours; its events go to the socket named by `client_id`.
    pub(super) async fn submit(&self, workflow: &Value, id: &str, client_id: &str) -> Submission {
        #[derive(Deserialize)]
        struct Answer {
            prompt_id: String,
            #[serde(default)]
            node_errors: Value,
        }
        let body = json!({ "prompt": workflow, "client_id": client_id, "prompt_id": id });
        let request = self.request(Method::POST, "prompt").json(&body).timeout(SUBMIT_TIMEOUT);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                return Submission::Refused(failure::unreached(error));
            }
            Err(error) => return Submission::Unanswered(failure::unreached(error)),
        };
        // A proxy may give up on a request that the server then takes.
        if response.status().is_server_error() {
            return Submission::Unanswered(self.refusal(response).await);
        }
        if !response.status().is_success() {
            return Submission::Refused(self.refusal(response).await);
        }
        match self.body_json::<Answer>(response, RECORD_BYTES_MAX).await {
            Ok(answer) => {
                Submission::Accepted { id: answer.prompt_id, left_out: answer.node_errors }
            }
            Err(failure) => Submission::Unanswered(failure),
        }
    }

    /// Asks what became of a prompt; `None` while it is not finished, and for unknown ones.
    async fn history(&self, id: &str) -> Result<Option<Entry>, Failure> {
        let request = self.request(Method::GET, &format!("history/{id}")).timeout(LOOK_TIMEOUT);
        let mut entries: std::collections::BTreeMap<String, Entry> =
            self.json(request, RECORD_BYTES_MAX).await?;
        Ok(entries.remove(id))
    }

    /// Asks where a prompt is in the queue.
    pub(super) async fn queued(&self, id: &str) -> Result<Queued, Failure> {
        /// Borrowed and unread: the workflows in it can be many megabytes.
        #[derive(Deserialize)]
        struct Queue<'a> {
            #[serde(borrow)]
            queue_running: Vec<Vec<&'a RawValue>>,
            #[serde(borrow)]
            queue_pending: Vec<Vec<&'a RawValue>>,
        }
        let request = self.request(Method::GET, "queue").timeout(LOOK_TIMEOUT);
        let bytes = body(self.send(request).await?, LIST_BYTES_MAX).await?;
        let queue: Queue<'_> =
            serde_json::from_slice(&bytes).map_err(|error| self.unreadable(&error, &bytes))?;
        let wanted = format!("\"{id}\"");
        let has = |tickets: &[Vec<&RawValue>]| {
            tickets.iter().any(|ticket| ticket.get(1).is_some_and(|raw| raw.get() == wanted))
        };
        Ok(match (has(&queue.queue_running), has(&queue.queue_pending)) {
            (true, _) => Queued::Running,
            (_, true) => Queued::Waiting,
            _ => Queued::Gone,
        })
    }

    /// Looks for a prompt wherever the server may have it.
    ///
    /// History, queue, and history again: the server moves a prompt from the queue to history in one
    /// step, so what is in neither was never there or is lost, and did not slip through.
    pub(super) async fn find(&self, id: &str) -> Result<Found, Failure> {
        if let Some(entry) = self.history(id).await? {
            return Ok(Found::Ended(entry));
        }
        if self.queued(id).await? != Queued::Gone {
            return Ok(Found::Queued);
        }
        Ok(self.history(id).await?.map_or(Found::Nowhere, Found::Ended))
    }

    /// Takes a waiting prompt out of the queue; does nothing to others.
    pub(super) async fn delete(&self, id: &str) -> Result<(), Failure> {
        self.post("queue", &json!({ "delete": [id] })).await
    }

    /// Stops a running prompt. A server from before September 2025 stops whatever runs, so ask
    /// [`Client::queued`] first.
    pub(super) async fn interrupt(&self, id: &str) -> Result<(), Failure> {
        self.post("interrupt", &json!({ "prompt_id": id })).await
    }

    /// Has the server give back the memory of its models.
    pub(super) async fn free(&self) -> Result<(), Failure> {
        self.post("free", &json!({ "unload_models": true, "free_memory": true })).await
    }

    /// Stores a picture among the server's inputs; gives the name under which a node loads it.
    ///
    /// The server keeps the same bytes under the same name once, so a repetition costs no file.
    pub(super) async fn upload(&self, name: &str, bytes: Bytes) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Stored {
            name: String,
            #[serde(default)]
            subfolder: String,
        }
        let length = bytes.len() as u64;
        let part = Part::stream_with_length(bytes, length).file_name(name.to_owned());
        let form = Form::new().part("image", part).text("subfolder", UPLOAD_FOLDER);
        let request = self.request(Method::POST, "upload/image").multipart(form);
        let request = request.timeout(PICTURE_TIMEOUT);
        let stored: Stored = self.json(request, RECORD_BYTES_MAX).await?;
        Ok(match &*stored.subfolder {
            "" => stored.name,
            folder => format!("{folder}/{}", stored.name),
        })
    }

    /// Fetches a picture's bytes, whatever they are.
    pub(super) async fn view(&self, image: &Image) -> Result<Bytes, Failure> {
        let Image { filename, subfolder, kind } = image;
        let query = [("filename", filename), ("subfolder", subfolder), ("type", kind)];
        let mut url = self.url("view");
        url.query_pairs_mut().extend_pairs(query);
        let request = self.http.get(url).headers(self.headers.clone()).timeout(PICTURE_TIMEOUT);
        body(self.send(request).await?, PICTURE_BYTES_MAX).await
    }

    /// Gives what a socket's handshake needs: its address, for a client id, and our headers.
    pub(super) fn socket(&self, client_id: &str) -> (Url, &HeaderMap) {
        let mut url = self.url("ws");
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // Both are special schemes, between which a URL may always change.
        url.set_scheme(scheme).ok();
        url.query_pairs_mut().append_pair("clientId", client_id);
        (url, &self.headers)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(), Failure> {
        let request = self.request(Method::POST, path).json(body).timeout(LOOK_TIMEOUT);
        self.send(request).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        bytes_max: usize,
    ) -> Result<T, Failure> {
        self.body_json(self.send(request).await?, bytes_max).await
    }

    async fn body_json<T: DeserializeOwned>(
        &self,
        response: Response,
        bytes_max: usize,
    ) -> Result<T, Failure> {
        let bytes = body(response, bytes_max).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.unreadable(&error, &bytes))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(failure::unreached)?;
        let is_fine = response.status().is_success();
        if is_fine { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status().as_u16();
        let wait = retry_after(response.headers(), SystemTime::now());
        let bytes = body(response, ERROR_BYTES_MAX).await.unwrap_or_default();
        let text = self.secrets.hide(&String::from_utf8_lossy(&bytes));
        failure::refused(status, text.as_bytes(), wait)
    }

    fn unreadable(&self, error: &serde_json::Error, body: &[u8]) -> Failure {
        let begun = String::from_utf8_lossy(&body[..body.len().min(ERROR_BYTES_MAX)]);
        failure::unreadable(error, self.secrets.hide(&begun).as_bytes())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).headers(self.headers.clone())
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }
}

fn sensitive(headers: &[(String, SecretString)]) -> Result<HeaderMap, ClientError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = || ClientError::Header(name.clone());
        let key: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.expose_secret().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// Reads a body up to a size; more is an error, found before it is in memory.
async fn body(mut response: Response, bytes_max: usize) -> Result<Bytes, Failure> {
    let announced = response.content_length().unwrap_or_default();
    if announced > bytes_max as u64 {
        return Err(failure::flooded(bytes_max));
    }
    let mut bytes = BytesMut::with_capacity(announced as usize);
    while let Some(chunk) = response.chunk().await.map_err(failure::unreached)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(failure::flooded(bytes_max));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
