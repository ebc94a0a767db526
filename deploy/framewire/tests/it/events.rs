//! Server-Sent Events, read line by line (HTML standard, section 9.2.6; what we need of it).

use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

use crate::launcher::DEADLINE;

/// One event as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Its `event:`.
    pub(crate) name: String,
    /// Its `id:`, which only durable events have.
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// An open stream.
pub(crate) struct Events {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    unread: Vec<u8>,
}

impl Events {
    pub(crate) fn new(reply: reqwest::Response) -> Self {
        let bytes = reply.bytes_stream().map(|part| part.map(|bytes| bytes.to_vec()));
        Self { bytes: bytes.boxed(), unread: Vec::new() }
    }

    /// Reads the next event; `None` when the stream has ended or broken.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let next = async {
            loop {
                if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                    let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                    if let Some(event) = parse(&String::from_utf8_lossy(&block)) {
                        return Some(event);
                    }
                    continue;
                }
                self.unread.extend(self.bytes.next().await?.ok()?);
            }
        };
        tokio::time::timeout(DEADLINE, next).await.expect("the stream says nothing")
    }

    /// Reads on until an event of this name; gives all that were read, it last.
    pub(crate) async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut read = Vec::new();
        loop {
            let event = self.next().await;
            let event = event.unwrap_or_else(|| panic!("the stream ended before {name}: {read:?}"));
            let is_it = event.name == name;
            read.push(event);
            if is_it {
                return read;
            }
        }
    }
}

/// Reads one block; `None` for one without data, like a comment or a bare `retry:`.
fn parse(block: &str) -> Option<Event> {
    let (mut name, mut id, mut data) = (String::from("message"), None, None);
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "id" => id = Some(value.to_owned()),
            "data" => data = Some(serde_json::from_str(value).expect("one line of JSON")),
            _ => {}
        }
    }
    data.map(|data| Event { name, id, data })
}

/// Gives the names of durable events, in order.
pub(crate) fn durable(events: &[Event]) -> Vec<&str> {
    let with_id = events.iter().filter(|event| event.id.is_some() && is_of_a_job(event));
    with_id.map(|event| event.name.as_str()).collect()
}

/// Tells a job's events from the connection's own.
pub(crate) fn is_of_a_job(event: &Event) -> bool {
    !matches!(event.name.as_str(), "sync" | "ping" | "bye")
}

/// Gives the positions of durable events: an id is `<position>-<nonce>`.
pub(crate) fn positions(events: &[Event]) -> Vec<u64> {
    let of_jobs = events.iter().filter(|event| is_of_a_job(event));
    let ids = of_jobs.filter_map(|event| event.id.as_ref());
    ids.map(|id| id.split('-').next().and_then(|n| n.parse().ok()).expect("a position")).collect()
}

/// Fails unless positions follow each other without a gap and without a repetition.
pub(crate) fn assert_dense(positions: &[u64]) {
    assert!(positions.is_sorted_by(|a, b| a + 1 == *b), "not dense: {positions:?}");
}
