//! Events as bytes of `text/event-stream`. Pure.
//!
//! Comes in: an event's words and its line of JSON. Goes out: one frame, ready for every reader.
//! Three rules are kept here and nowhere else. An `id:` never stands without `data:`, because
//! Firefox forgets the id of a frame that has none. An id is never empty, because that would clear
//! the reader's cursor. Data is one line, because a CR or LF in it would start another field: in
//! JSON they can only stand between tokens, so a space says the same.
//! Control frames are `sync` (always first), `ping` and `bye`. They are named events and not
//! comments, which a page's code cannot see.
//! Source: HTML Living Standard, section 9.2.6.

use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::Serialize;

/// Milliseconds after which a browser that reconnects by itself does so; drawn for each stream, so
/// that the readers of a gateway that died do not come back in one moment.
pub const RETRY_MS: RangeInclusive<u64> = 2_000..=5_000;

/// What would end the line of data, and begin another field.
const LINE_ENDS: [char; 2] = ['\r', '\n'];

/// How a stream relates to the position it was asked to continue from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No position was given: events from now on.
    Fresh,
    /// Every event after the position follows.
    Resumed,
    /// The position can't be honoured: take a snapshot; events from now on.
    Reset,
}

impl Mode {
    /// Gives the word used in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Resumed => "resumed",
            Self::Reset => "reset",
        }
    }
}

/// Why a position can't be honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is no position.
    Malformed,
    /// It is on no chain that survives: lost in a fail-over, evicted, or another session's.
    UnknownLineage,
    /// The events after it are not kept any more.
    Trimmed,
    /// More events follow it than are replayed.
    TooFar,
}

/// What the first frame says.
#[derive(Debug, Clone, Serialize)]
pub struct Sync {
    /// How the stream goes on.
    pub mode: Mode,
    /// Why it is a reset; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The position after which the frames of this stream begin.
    pub at: String,
    /// The newest position.
    pub head: String,
    /// Events between the two, which follow at once.
    pub replay: usize,
    /// How often the stream says `ping`.
    pub ping_ms: u64,
    /// How long this stream will live.
    pub max_age_ms: u64,
}

/// Why a stream is ended on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bye {
    /// The gateway is being stopped; another one, or its successor, goes on.
    Drain,
    /// Streams are renewed now and then, which spreads them over gateways again.
    MaxAge,
    /// The session has as many streams here as it may.
    Limit,
    /// The reader's address has as many streams here as it may; on the wire the same.
    AddressLimit,
    /// The gateway has as many streams as it may.
    Overloaded,
    /// The reader took its frames slower than they came; what it missed waits in Redis.
    Slow,
    /// The stream lost its place too often in a row.
    Lagged,
    /// Redis does not answer.
    BackendDown,
    /// The job has ended; nothing will follow.
    Done,
}

impl Bye {
    /// Gives the range from which the wait before the next attempt is drawn, in milliseconds.
    pub fn retry_ms(self) -> RangeInclusive<u64> {
        match self {
            Self::Drain => 200..=3_000,
            Self::MaxAge | Self::Slow => 100..=1_000,
            Self::Lagged => 1_000..=4_000,
            Self::BackendDown => 2_000..=10_000,
            Self::Overloaded => 5_000..=15_000,
            Self::Limit | Self::AddressLimit => 20_000..=40_000,
            Self::Done => 0..=0,
        }
    }

    /// Gives the word that readers, logs and metrics are told.
    pub fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::MaxAge => "max_age",
            Self::Limit | Self::AddressLimit => "limit",
            Self::Overloaded => "overloaded",
            Self::Slow => "slow",
            Self::Lagged => "lagged",
            Self::BackendDown => "backend_down",
            Self::Done => "done",
        }
    }

    /// Tells whether coming back makes no sense.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Makes the frame of an event; with a place in the stream it carries an `id:`.
pub fn event(id: Option<&str>, kind: &str, data: &str) -> Bytes {
    encode(None, id, kind, data)
}

/// Makes what a poll answers of an event: a member of a list in JSON.
pub fn object(id: Option<&str>, kind: &str, data: &str) -> Bytes {
    let id = id.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
    format!(r#"{{"id":{id},"event":"{kind}","data":{data}}}"#).into()
}

/// Makes a stream's first frame.
pub fn sync(sync: &Sync, retry_ms: u64) -> Bytes {
    encode(Some(retry_ms), Some(&sync.at), "sync", &json(sync))
}

/// Makes the first frame of a job's stream: the job as the HTTP API shows it, under its version.
pub fn snapshot(v: u64, job: &serde_json::Value, retry_ms: u64) -> Bytes {
    encode(Some(retry_ms), Some(&v.to_string()), "snapshot", &job.to_string())
}

/// Makes a sign of life that carries the connection's own position.
///
/// `live` is false while the gateway cannot vouch that nothing is missing. `t` is epoch ms.
pub fn ping(at: &str, live: bool, t: u64) -> Bytes {
    #[derive(Serialize)]
    struct Ping<'a> {
        at: &'a str,
        live: bool,
        t: u64,
    }
    encode(None, Some(at), "ping", &json(&Ping { at, live, t }))
}

/// Makes the frame before a deliberate end.
pub fn bye(reason: Bye, retry_ms: u64) -> Bytes {
    #[derive(Serialize)]
    struct Farewell {
        reason: &'static str,
        retry_ms: u64,
        r#final: bool,
    }
    let farewell = Farewell { reason: reason.word(), retry_ms, r#final: reason.is_final() };
    encode(None, None, "bye", &json(&farewell))
}

pub(super) fn json(value: &impl Serialize) -> String {
    // Our own structs of numbers and words: there is nothing in them that JSON can't say.
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("{error}"))
}

fn encode(retry_ms: Option<u64>, id: Option<&str>, kind: &str, data: &str) -> Bytes {
    let mut text = String::with_capacity(64 + kind.len() + data.len());
    if let Some(retry_ms) = retry_ms {
        text.push_str("retry: ");
        text.push_str(&retry_ms.to_string());
        text.push('\n');
    }
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        text.push_str("id: ");
        text.push_str(id);
        text.push('\n');
    }
    text.push_str("event: ");
    text.push_str(kind);
    text.push_str("\ndata: ");
    if data.contains(LINE_ENDS) {
        text.push_str(&data.replace(LINE_ENDS, " "));
    } else {
        text.push_str(data);
    }
    text.push_str("\n\n");
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Bytes) -> &str {
        std::str::from_utf8(frame).unwrap()
    }

    fn resumed() -> Sync {
        Sync {
            mode: Mode::Resumed,
            cause: None,
            at: "41-k3v9x2ma".into(),
            head: "43-p0q8w1zz".into(),
            replay: 2,
            ping_ms: 15_000,
            max_age_ms: 870_000,
        }
    }

    #[test]
    fn a_durable_event_has_its_id_before_its_name_and_its_data() {
        let frame = event(Some("42-b7d1m4xo"), "started", r#"{"job":"job_c0_1","v":2}"#);
        insta::assert_snapshot!(text(&frame), @r#"
        id: 42-b7d1m4xo
        event: started
        data: {"job":"job_c0_1","v":2}
        "#);
        assert!(frame.ends_with(b"}\n\n"));
    }

    #[test]
    fn an_ephemeral_event_has_no_id() {
        let frame = event(None, "progress", r#"{"job":"job_c0_1","v":2}"#);
        insta::assert_snapshot!(text(&frame), @r#"
        event: progress
        data: {"job":"job_c0_1","v":2}
        "#);
    }

    #[test]
    fn a_stream_begins_with_retry_and_its_position_and_says_how_it_goes_on() {
        insta::assert_snapshot!(text(&sync(&resumed(), 3127)), @r#"
        retry: 3127
        id: 41-k3v9x2ma
        event: sync
        data: {"mode":"resumed","at":"41-k3v9x2ma","head":"43-p0q8w1zz","replay":2,"ping_ms":15000,"max_age_ms":870000}
        "#);
        let reset = Sync {
            mode: Mode::Reset,
            cause: Some(Cause::UnknownLineage),
            at: "43-p0q8w1zz".into(),
            replay: 0,
            ..resumed()
        };
        insta::assert_snapshot!(text(&sync(&reset, 2000)), @r#"
        retry: 2000
        id: 43-p0q8w1zz
        event: sync
        data: {"mode":"reset","cause":"unknown_lineage","at":"43-p0q8w1zz","head":"43-p0q8w1zz","replay":0,"ping_ms":15000,"max_age_ms":870000}
        "#);
    }

    #[test]
    fn a_ping_is_an_event_with_the_connections_position() {
        insta::assert_snapshot!(text(&ping("43-p0q8w1zz", true, 1_795_322_920_001)), @r#"
        id: 43-p0q8w1zz
        event: ping
        data: {"at":"43-p0q8w1zz","live":true,"t":1795322920001}
        "#);
    }

    #[test]
    fn a_farewell_says_why_and_when_to_come_back_and_leaves_the_cursor_alone() {
        insta::assert_snapshot!(text(&bye(Bye::Drain, 3120)), @r#"
        event: bye
        data: {"reason":"drain","retry_ms":3120,"final":false}
        "#);
        insta::assert_snapshot!(text(&bye(Bye::Done, 0)), @r#"
        event: bye
        data: {"reason":"done","retry_ms":0,"final":true}
        "#);
    }

    #[test]
    fn a_jobs_snapshot_stands_under_its_version() {
        let job = serde_json::json!({"id": "job_c0_1", "status": "queued"});
        insta::assert_snapshot!(text(&snapshot(3, &job, 2500)), @r#"
        retry: 2500
        id: 3
        event: snapshot
        data: {"id":"job_c0_1","status":"queued"}
        "#);
    }

    #[test]
    fn line_ends_in_data_start_no_field_and_an_empty_id_is_left_out() {
        let frame = event(Some(""), "failed", "{\"a\":1,\r\nevent: completed\r\n\r\n}");
        insta::assert_snapshot!(text(&frame), @r#"
        event: failed
        data: {"a":1,  event: completed    }
        "#);
    }
}
