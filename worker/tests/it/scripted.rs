//! A provider's server that plays what a test tells it to, and sees what a client does.
//!
//! It speaks HTTP/1.1 by hand over TCP on the loopback, because the traps are below what a web
//! framework lets one do: bodies that are cut, never end or never begin, answers that are no HTTP.
//! Beside it is what every adapter's test needs: a call, and everything that it yields.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use framewire_shared::domain::{ErrorCode, Failure, FailureKind, FrameInput, Resend};
use framewire_worker::provider::{Call, Provider, Update};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the server has been asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the server does about a request.
pub(crate) enum Play {
    /// Sends these bytes and keeps the connection.
    Answer(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Cut(Vec<u8>),
    /// Sends these bytes and nothing more, until the client leaves.
    Hang(Vec<u8>),
    /// Sends these bytes and then so many zeros, unless the client leaves.
    Flood(Vec<u8>, usize),
    /// Waits for a sign, unless the client leaves.
    After(Arc<Notify>, Box<Play>),
}

impl Play {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status} Word\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        Self::Answer([(bytes + "\r\n").as_bytes(), body].concat())
    }

    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::new(status, &[("content-type", "application/json")], body.to_string())
    }

    /// Adds a header to an answer.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let Self::Answer(bytes) = self else { panic!("no answer to add a header to") };
        let first = bytes.iter().position(|byte| *byte == b'\n').expect("a first line") + 1;
        let header = format!("{name}: {value}\r\n");
        Self::Answer([&bytes[..first], header.as_bytes(), &bytes[first..]].concat())
    }

    /// A stream of events that ends with the connection.
    pub(crate) fn events(events: &str) -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";
        Self::Cut(format!("{head}{events}").into_bytes())
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    /// Connections accepted, open, and left by the client while it waited for an answer.
    accepted: AtomicUsize,
    open: AtomicUsize,
    left: AtomicUsize,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Request) -> Play + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let script = Arc::new(script);
        let accepting = tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    seen.accepted.fetch_add(1, Ordering::SeqCst);
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    let (seen, script) = (seen.clone(), script.clone());
                    tokio::spawn(async move {
                        serve(socket, &seen, script.as_ref()).await;
                        seen.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self { url, seen, accepting }
    }

    /// A server that answers one thing to everything.
    pub(crate) async fn always(status: u16, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref().to_vec();
        Self::start(move |_| Play::new(status, &[], &body)).await
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Requests by method and path, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let one = |request: &Request| format!("{} {}", request.method, request.path);
        self.requests().iter().map(one).collect()
    }

    /// Connections ever made.
    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Clients that closed their socket while an answer was due.
    pub(crate) fn left(&self) -> usize {
        self.seen.left.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut socket: TcpStream, seen: &Seen, script: &(dyn Fn(&Request) -> Play + Sync)) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut socket, &mut buffer).await {
        let mut play = script(&request);
        seen.requests.lock().unwrap().push(request);
        while let Play::After(sign, then) = play {
            tokio::select! {
                () = sign.notified() => play = *then,
                () = client_leaves(&mut socket) => {
                    seen.left.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
        match play {
            Play::Answer(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Play::Cut(bytes) => {
                drop(socket.write_all(&bytes).await);
                return;
            }
            Play::Hang(bytes) => {
                drop(socket.write_all(&bytes).await);
                client_leaves(&mut socket).await;
                seen.left.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Play::Flood(bytes, zeros) => {
                drop(socket.write_all(&bytes).await);
                let chunk = vec![0; 64 * 1024];
                for _ in 0..zeros / chunk.len() {
                    if socket.write_all(&chunk).await.is_err() {
                        seen.left.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                }
                return;
            }
            Play::After(..) => unreachable!("waited for above"),
        }
    }
}

/// Waits until the client closes its side; it sends nothing meanwhile.
async fn client_leaves(socket: &mut TcpStream) {
    let mut byte = [0];
    while socket.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}

/// Reads one request; `None` when the client has no more.
async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    assert!(headers.iter().all(|(name, _)| name != "transfer-encoding"), "a body of no length");
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let end = head_end + 4 + length;
    while buffer.len() < end {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end + 4..end].to_vec();
    buffer.drain(..end);
    Some(Request { method, path, headers, body })
}

/// A call for `n` frames of 64 by 64 pixels, from seed 7.
pub(crate) fn call(n: u32) -> Call {
    let mut input = FrameInput::new("a red fox");
    (input.width, input.height, input.n, input.seed) = (64, 64, n, Some(7));
    Call {
        id: "job-1".into(),
        input,
        source: None,
        attempt: 1,
        checkpoint: None,
        stop: CancellationToken::new(),
        handed_on: CancellationToken::new(),
    }
}

/// Runs a call and gives everything it yielded.
pub(crate) async fn drawn(
    provider: &dyn Provider,
    call: Call,
) -> (Vec<Update>, Result<(), Failure>) {
    let (sender, mut receiver) = mpsc::channel(4);
    let gather = async {
        let mut updates = Vec::new();
        while let Some(update) = receiver.recv().await {
            updates.push(update);
        }
        updates
    };
    tokio::join!(gather, provider.generate(call, sender))
}

/// Runs a call of one frame that must fail.
pub(crate) async fn failure(provider: &dyn Provider) -> Failure {
    drawn(provider, call(1)).await.1.expect_err("a failure")
}

/// The part of a failure that others decide by.
pub(crate) type Essence = (ErrorCode, FailureKind, Resend);
/// Headers of an answer in a table.
pub(crate) type Headers = &'static [(&'static str, &'static str)];

pub(crate) fn essence(failure: &Failure) -> Essence {
    (failure.code, failure.kind, failure.resend)
}

/// Gives an update in a word, and what it says.
pub(crate) fn word(update: &Update) -> String {
    match update {
        Update::Progress { step, steps } => format!("progress {step}/{steps}"),
        Update::Preview { index, step, .. } => format!("preview {index} at {step}"),
        Update::Frame { index, seed, picture } => {
            format!("frame {index} of {seed} as {}", picture.media_type.as_str())
        }
        Update::FrameFailed { index, failure } => {
            format!("frame {index} failed: {}", failure.message)
        }
        Update::Checkpoint(handle) => format!("checkpoint {handle}"),
        Update::Usage(usage) => format!("usage {}", serde_json::to_string(usage).unwrap()),
    }
}

/// Tasks of this runtime, the servers' included.
pub(crate) fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Descriptors of this process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory of this process that is in use.
pub(crate) fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE_BYTES
}
