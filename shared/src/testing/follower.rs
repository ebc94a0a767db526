//! A reader of a session's stream that does what a browser's page does, and remembers what it saw.
//!
//! It goes on after its last `id` whenever a stream ends: after what `bye` says, or after a moment of
//! its own when a connection breaks. It speaks HTTP/1.1 by hand, so that thousands of them cost little.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::domain::Cursor;

/// Wait after a connection that broke, or never was, in milliseconds.
const AGAIN_MS: std::ops::RangeInclusive<u64> = 100..=1_000;

/// One reader.
#[derive(Debug, Default)]
pub struct Follower {
    /// The numbers of the durable events that it saw, in order.
    pub seen: Vec<u64>,
    /// Streams that began, by their modes.
    pub modes: Vec<String>,
    /// Reasons that streams gave for ending, and when the reader meant to be back.
    pub byes: Vec<(String, Instant)>,
    /// Streams that ended without a word.
    pub breaks: usize,
    cursor: String,
}

impl Follower {
    /// Makes one that has seen everything up to this position.
    pub fn after(cursor: &Cursor) -> Self {
        Self { cursor: cursor.to_string(), ..Self::default() }
    }

    /// Reads until it has seen the event of this number, however many streams that takes; says by
    /// `arrived` when it has seen its first.
    pub async fn follow(
        &mut self,
        gateway: SocketAddr,
        token: &str,
        last: u64,
        arrived: &mpsc::Sender<()>,
    ) {
        while self.seen.last().is_none_or(|n| *n < last) {
            let wait = match self.stream(gateway, token, last, arrived).await {
                Ok(Some(wait)) => wait,
                Ok(None) => return,
                Err(_) => {
                    self.breaks += 1;
                    Duration::from_millis(rand::random_range(AGAIN_MS))
                }
            };
            sleep(wait).await;
        }
    }

    /// Reads one stream; gives the wait that it asks for at its end, and nothing if all was seen.
    async fn stream(
        &mut self,
        gateway: SocketAddr,
        token: &str,
        last: u64,
        arrived: &mpsc::Sender<()>,
    ) -> std::io::Result<Option<Duration>> {
        let mut socket = BufReader::with_capacity(1024, TcpStream::connect(gateway).await?);
        let cursor = &self.cursor;
        let request = format!(
            "GET /v1/events HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
             Last-Event-ID: {cursor}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        let (mut line, mut event, mut id) = (String::new(), String::new(), String::new());
        loop {
            line.clear();
            if socket.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            // Lines of the head and sizes of chunks have no such words before the colon.
            match line.trim_end().split_once(": ") {
                Some(("event", word)) => word.clone_into(&mut event),
                Some(("id", word)) => word.clone_into(&mut id),
                Some(("data", data)) => {
                    match &*event {
                        "sync" => self.modes.push(word_of(data, "mode")),
                        "ping" => {}
                        "bye" => {
                            let ms = word_of(data, "retry_ms").parse().unwrap_or_default();
                            let wait = Duration::from_millis(ms);
                            self.byes.push((word_of(data, "reason"), Instant::now() + wait));
                            return Ok(Some(wait));
                        }
                        _ if id.is_empty() => {}
                        _ => {
                            let n = id.split('-').next().and_then(|n| n.parse().ok());
                            if self.seen.is_empty() {
                                arrived.send(()).await.ok();
                            }
                            self.seen.push(n.unwrap_or_default());
                        }
                    }
                    if !id.is_empty() {
                        self.cursor = std::mem::take(&mut id);
                    }
                    if self.seen.last().is_some_and(|n| *n >= last) {
                        return Ok(None);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Gives a member of a line of JSON as text.
fn word_of(data: &str, member: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
    match &value[member] {
        serde_json::Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}
