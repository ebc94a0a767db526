//! The client of every service that speaks HTTP, and what its failures mean.
//!
//! Comes in: an adapter's request. Goes out: an `Answer` of bounded size, whatever its status, or
//! a classified failure of the way there. What an answer means only its adapter knows, and says it
//! with a `Verdict`.
//!
//! Invariant: no key leaves. Keys are sent to the base address alone, never after a redirect, and
//! are taken out of everything that a server echoes before it becomes part of a failure.
//!
//! A call has no time limit of its own while the provider draws: the attempt has one, and dropping
//! a future closes its socket. A kept connection that turns out to be closed costs nothing: what
//! was provably not written is sent again on a new one by hyper, and connections are given up
//! before servers usually do. A request that was written and not answered may have been paid for.

use std::error::Error;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use framewire_shared::domain::{Failure, Origin, Resend};
use futures::{Stream, TryStreamExt};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, FramedRead};
use tokio_util::io::StreamReader;
use url::{Url, form_urlencoded};

use super::secrets::Secrets;
use super::verdict::{Told, Verdict, retry_after};

/// Longest time until a connection stands, name and TLS included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: less than the 5 s of Node and uvicorn, so that we are the
/// one who closes it.
const KEPT_IDLE: Duration = Duration::from_secs(4);
/// Longest silence in the middle of a body.
pub(super) const BODY_IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest silence between two events of a stream; models think between two looks at a picture.
const EVENT_IDLE_MAX: Duration = Duration::from_secs(120);
/// Longest time of a call that draws nothing: create, look, cancel.
pub(super) const ASK_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest answer without pictures in it; some echo their input and its logs.
pub(super) const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How much of a failure's body is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
const USER_AGENT: &str = concat!("framewire/", env!("CARGO_PKG_VERSION"));

/// Why an adapter can't be made of its options. Names no secret.
#[derive(Debug, thiserror::Error)]
pub enum Misconfigured {
    /// The base address can't be used.
    #[error("use the base address: {0}")]
    Base(&'static str),
    /// A header has bytes that a header can't have.
    #[error("send the header {0}: its name or value is not allowed in HTTP")]
    Header(String),
    /// An option says something that has no meaning.
    #[error("read `{0}`: {1}")]
    Option(&'static str, &'static str),
    /// TLS is not available.
    #[error("make an HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A provider's HTTP interface.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    base: Url,
    headers: HeaderMap,
    secrets: Secrets,
}

/// An answer with any status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What the body is, in a few words without our secrets.
    glimpse: String,
}

/// Starts a client with our limits; it follows no redirect.
pub(super) fn client() -> ClientBuilder {
    Client::builder()
        .connect_timeout(CONNECT_TIME_MAX)
        .pool_idle_timeout(KEPT_IDLE)
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(USER_AGENT)
}

impl Http {
    /// Makes a client for a base address, with headers for every request. Values are secrets.
    pub(super) fn new<'a>(
        base_url: &str,
        headers: impl IntoIterator<Item = (&'a str, SecretString)>,
    ) -> Result<Self, Misconfigured> {
        let base = Url::parse(base_url).map_err(|_| Misconfigured::Base("it is no URL"))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(Misconfigured::Base("it must begin with http:// or https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Misconfigured::Base("it must not have a user and password in it"));
        }
        let mut map = HeaderMap::new();
        let mut secrets = Secrets::default();
        for (name, value) in headers {
            let bad = || Misconfigured::Header(name.to_owned());
            let mut header = HeaderValue::from_str(value.expose_secret()).map_err(|_| bad())?;
            header.set_sensitive(true);
            map.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, header);
            secrets.add(&value);
        }
        let client = client().build().map_err(Misconfigured::Client)?;
        Ok(Self { client, base, headers: map, secrets })
    }

    /// Takes another secret out of what a server echoes.
    pub(super) fn hiding(mut self, secret: Option<&SecretString>) -> Self {
        secret.into_iter().for_each(|secret| self.secrets.add(secret));
        self
    }

    /// Gives the base address.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Gives the client without its credentials.
    pub(super) fn bare_client(&self) -> &Client {
        &self.client
    }

    /// Starts a request to a path, and maybe a query, below the base address, with our headers.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        if let Some(query) = query {
            url.query_pairs_mut().extend_pairs(form_urlencoded::parse(query.as_bytes()));
        }
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        self.client.request(method, url).headers(self.headers.clone())
    }

    /// Sends a request and gives the answer when its head is there.
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.broken(&error))
    }

    /// Sends a request that draws nothing and reads its whole answer.
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let response = self.open(request.timeout(ASK_TIME_MAX)).await?;
        self.read(response, TEXT_BYTES_MAX).await
    }

    /// Reads an answer whole: up to `bytes_max`, or the beginning of one that tells of a failure.
    pub(super) async fn read(
        &self,
        response: Response,
        bytes_max: usize,
    ) -> Result<Answer, Failure> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = if status.is_success() {
            read_body(response, bytes_max).await.map_err(|error| self.unread(&error))?
        } else {
            read_start(response).await
        };
        let glimpse = self.glimpse(&body);
        Ok(Answer { status: status.as_u16(), headers, body, glimpse })
    }

    /// Reads the events of a stream, up to `bytes_max` in all; a longer one ends there.
    pub(super) fn events(
        response: Response,
        bytes_max: usize,
    ) -> impl Stream<Item = Result<russe::Event, russe::Error>> + Unpin {
        let chunks = response.bytes_stream().map_err(std::io::Error::other);
        let reader = StreamReader::new(Box::pin(chunks)).take(bytes_max as u64);
        FramedRead::new(reader, Events::default())
    }

    /// Waits for the next event; `None` at the end of the stream, however it ended.
    pub(super) async fn next_event(
        events: &mut (impl Stream<Item = Result<russe::Event, russe::Error>> + Unpin),
    ) -> Result<Option<russe::Event>, Failure> {
        match timeout(EVENT_IDLE_MAX, events.try_next()).await {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(_)) => Ok(None),
            Err(_) => Err(Verdict::Slow.failure().detail("the stream fell silent")),
        }
    }

    /// Makes a failure of a verdict and the provider's own words.
    pub(super) fn failure(&self, verdict: Verdict, told: Told) -> Failure {
        let status = told.status.map_or(String::new(), |status| format!("HTTP {status} "));
        let code = told.code.as_deref().unwrap_or_default();
        let scrub = |text: &str| self.secrets.scrub(text);
        let detail = scrub(&format!("{status}{code} {}", told.message));
        let [code, request_id] = [told.code, told.request_id].map(|it| it.as_deref().map(scrub));
        let origin = Origin { status: told.status, code, request_id };
        let mut failure = verdict.failure().detail(detail).from_provider(origin);
        if matches!(verdict, Verdict::Throttled | Verdict::Down) {
            failure.retry_after = told.retry_after;
        }
        failure
    }

    /// Makes the failure of an answer that says success and is not what was promised.
    pub(super) fn nonsense(&self, answer: &Answer, what: &str) -> Failure {
        let told = Told { message: format!("{what}: {}", answer.glimpse), ..answer.told() };
        self.failure(Verdict::Nonsense, told)
    }

    /// Makes the failure of a request that got no answer.
    fn broken(&self, error: &reqwest::Error) -> Failure {
        let failure = match (error.is_connect(), error.is_timeout()) {
            (true, true) => Verdict::Slow.failure().resend(Resend::Freely),
            (true, false) => Verdict::Down.failure(),
            (false, true) => Verdict::Slow.failure(),
            (false, false) => Verdict::Cut.failure(),
        };
        failure.detail(self.secrets.scrub(&chain(error)))
    }

    fn unread(&self, error: &Unread) -> Failure {
        let verdict = match error {
            Unread::TooLarge(_) => Verdict::Nonsense,
            Unread::Silent => Verdict::Slow,
            Unread::Broken(error) if error.is_timeout() => Verdict::Slow,
            Unread::Broken(_) => Verdict::Cut,
        };
        verdict.failure().detail(self.secrets.scrub(&chain(error)))
    }

    /// Says in a few words what a body is; never a whole page.
    fn glimpse(&self, body: &[u8]) -> String {
        const CHARS_MAX: usize = 200;
        let text = String::from_utf8_lossy(&body[..body.len().min(4 * CHARS_MAX)]);
        match self.secrets.hide(text.trim_start()).as_str() {
            "" => "an empty body".into(),
            text if text.starts_with('<') => "a page of HTML".into(),
            text => text.chars().take(CHARS_MAX).collect(),
        }
    }
}

/// Decodes events, looking at every byte once: a picture in base64 is one line of megabytes, and
/// comes in hundreds of pieces.
#[derive(Default)]
struct Events {
    inner: russe::Decoder,
    /// Bytes of the buffer that are known to end no event.
    seen: usize,
    /// Whether the decoder may have another event without more bytes.
    more: bool,
}

impl Decoder for Events {
    type Item = russe::Event;
    type Error = russe::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        let fresh = &buffer[self.seen.min(buffer.len())..];
        if !self.more && !fresh.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            self.seen = buffer.len();
            return Ok(None);
        }
        let event = self.inner.decode(buffer)?;
        self.more = event.is_some();
        self.seen = if self.more { 0 } else { buffer.len() };
        Ok(event)
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Gives a header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads the body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Gives what can be said of a failure without knowing the provider.
    pub(super) fn told(&self) -> Told {
        Told {
            status: Some(self.status),
            message: self.glimpse.clone(),
            request_id: self.header("x-request-id").map(str::to_owned),
            retry_after: retry_after(&self.headers, SystemTime::now()),
            code: None,
        }
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error("the body fell silent")]
    Silent,
    #[error("the body broke off")]
    Broken(#[source] reqwest::Error),
}

/// Reads a body of up to `bytes_max`; one that is announced larger is not begun.
pub(super) async fn read_body(mut response: Response, bytes_max: usize) -> Result<Bytes, Unread> {
    let announced = response.content_length().unwrap_or_default();
    if announced > bytes_max as u64 {
        return Err(Unread::TooLarge(bytes_max));
    }
    let mut body = BytesMut::with_capacity(announced as usize);
    loop {
        match timeout(BODY_IDLE_MAX, response.chunk()).await {
            Err(_) => return Err(Unread::Silent),
            Ok(Err(error)) => return Err(Unread::Broken(error)),
            Ok(Ok(None)) => return Ok(body.freeze()),
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > bytes_max => {
                return Err(Unread::TooLarge(bytes_max));
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
        }
    }
}

/// Reads what there is of a failure's body; the status says enough without it.
async fn read_start(mut response: Response) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Ok(Some(chunk))) = timeout(BODY_IDLE_MAX, response.chunk()).await {
        body.extend_from_slice(&chunk);
        if body.len() >= ERROR_BYTES_MAX {
            body.truncate(ERROR_BYTES_MAX);
            break;
        }
    }
    body.freeze()
}

/// Writes an error and its causes in one line, without the address.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = match error.downcast_ref::<reqwest::Error>() {
            // Its own words repeat the address; its causes say more.
            Some(error) if error.source().is_some() => String::new(),
            _ => error.to_string(),
        };
        if !said.is_empty() {
            text = if text.is_empty() { said } else { format!("{text}: {said}") };
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(base: &str) -> Http {
        Http::new(base, [("authorization", SecretString::from("Bearer sk-hush"))]).unwrap()
    }

    #[test]
    fn paths_are_put_behind_the_base_whatever_its_end() {
        let looked = http("http://h/?a=1").request(Method::GET, "b/c?d=2").build().unwrap();
        assert_eq!(looked.url().as_str(), "http://h/b/c?a=1&d=2");
        for (base, expected) in [
            ("http://h/v1", "http://h/v1/images/edits"),
            ("http://h/v1/", "http://h/v1/images/edits"),
            ("http://h", "http://h/images/edits"),
            ("http://h/a/b?api-version=1", "http://h/a/b/images/edits?api-version=1"),
        ] {
            let request = http(base).request(Method::GET, "images/edits").build().unwrap();
            assert_eq!(request.url().as_str(), expected);
        }
    }

    #[test]
    fn a_base_that_can_not_be_used_is_refused_without_saying_its_secrets() {
        for base in ["", "nonsense", "ftp://h", "data:x", "http://me:hush@h/"] {
            let error = Http::new(base, []).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
        let broken = [("authorization", SecretString::from("Bearer hush\n"))];
        let error = Http::new("http://h", broken).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"));
    }

    #[test]
    fn no_half_of_a_key_is_left_where_a_long_body_is_cut() {
        let http = http("http://h");
        let body = format!("{}sk-hush and more", "x".repeat(197));
        assert_eq!(http.glimpse(body.as_bytes()), format!("{}[ke", "x".repeat(197)));
        assert!(!format!("{http:?}").contains("sk-hush"));
    }
}
