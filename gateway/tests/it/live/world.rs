//! A Redis that tests may break, and readers that check what they are sent.
//!
//! Events are appended by the production code itself: `emit` and `whisper` of `prelude/event.lua`, run with
//! EVAL over a socket of our own, with the PUBLISH left out where a message is to be lost.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framewire_gateway::live::{Asked, Live, LiveOptions, Subscription};
use framewire_shared::domain::{Cell, Cursor, JobId, SessionId};
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::{RedisOptions, Store};
use framewire_shared::testing::RedisServer;
use serde_json::Value;
use tokio::task::JoinSet;

/// Longest wait for anything; a test that needs it has failed.
const LIMIT: Duration = Duration::from_secs(20);
/// Long enough to never happen in a test.
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);

const PRELUDE: &str = concat!(
    include_str!("../../../../shared/lua/prelude/clock.lua"),
    include_str!("../../../../shared/lua/prelude/event.lua"),
);

/// Appends an event; the arguments after the nonce are session, job, kind, v and body.
const EMIT: &str = "emit({session = ARGV[2], id = ARGV[3], v = ARGV[5], state = 'generating'}, \
                    ARGV[4], ARGV[6])";

/// Gives a session's id that nobody else has.
pub(crate) fn session() -> SessionId {
    let text = format!("ses_{}_{:032x}", Cell::FIRST, rand::random::<u128>());
    text.parse().unwrap()
}

/// Gives a job's id that nobody else has.
pub(crate) fn job() -> JobId {
    let text = format!("job_{}_{:032x}", Cell::FIRST, rand::random::<u128>());
    text.parse().unwrap()
}

/// Options under which nothing happens by itself.
pub(crate) fn quiet() -> LiveOptions {
    LiveOptions {
        ping: NEVER,
        check: NEVER,
        positions: NEVER,
        probe_after: NEVER,
        stream_age_max: NEVER,
        ..LiveOptions::default()
    }
}

/// A Redis of our own, and a way to write to it past the store.
pub(crate) struct World {
    pub(crate) redis: RedisServer,
    wire: Wire,
}

impl World {
    pub(crate) fn new() -> Self {
        let redis = RedisServer::start();
        let wire = Wire::connect(&redis);
        Self { redis, wire }
    }

    /// Connects anew, after Redis was restarted.
    pub(crate) fn reconnect(&mut self) {
        self.wire = Wire::connect(&self.redis);
    }

    /// Opens a store that gives up soon.
    pub(crate) fn store(&self) -> Store {
        let options = RedisOptions { call_timeout: Duration::from_secs(2), ..self.redis.options() };
        Store::open(options, framewire_shared::store::QueueOptions::default()).unwrap()
    }

    pub(crate) fn gateway(&self, options: LiveOptions) -> Gateway {
        Gateway::new(self.store(), options)
    }

    pub(crate) fn run(&mut self, words: &[&str]) -> Vec<String> {
        self.wire.run(words)
    }

    /// Appends an event and publishes it, as a transition does.
    pub(crate) fn append(&mut self, session: &SessionId, kind: &str, job: &str, v: u64) {
        self.wire.append(session, kind, job, v, "{}");
    }

    /// Appends an event whose message is lost.
    pub(crate) fn append_unheard(&mut self, session: &SessionId, kind: &str, job: &str, v: u64) {
        let mute = PRELUDE.replace("redis.call('PUBLISH', stream, event) --@publish", "");
        assert_ne!(mute, PRELUDE, "the prelude's publish line has changed");
        self.wire.eval(
            &self.redis.spoken(&mute),
            EMIT,
            &[session.as_str(), job, kind, &v.to_string(), "{}"],
        );
    }

    /// Publishes an ephemeral event.
    pub(crate) fn whisper(&mut self, session: &SessionId, kind: &str, job: &str, v: u64) {
        let arguments = [session.as_str(), job, kind, &v.to_string(), "{}"];
        self.wire.eval(&self.redis.spoken(PRELUDE), &EMIT.replace("emit", "whisper"), &arguments);
    }

    /// Tells the head of a session's stream.
    pub(crate) fn head(&mut self, session: &SessionId) -> Cursor {
        let words = self.wire.run(&["HMGET", &key("streamhead", session), "n", "u"]);
        format!("{}-{}", words[0], words[1]).parse().unwrap()
    }

    /// Cuts every pub/sub connection, as a fail-over does.
    pub(crate) fn kill_pubsub(&mut self) {
        self.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }

    /// Counts how often Redis was given a command since it started.
    pub(crate) fn calls(&mut self, command: &str) -> u64 {
        let command = self.redis.spoken(command);
        let stats = self.run(&["INFO", "commandstats"]).concat();
        let found = stats.split(&format!("cmdstat_{command}:calls=")).nth(1);
        let count = found.and_then(|rest| rest.split(',').next());
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// Remembers a session's stream as it is now.
    pub(crate) fn save(&mut self, session: &SessionId) -> Saved {
        let head = self.head(session);
        let events = self.run(&["LRANGE", &key("stream", session), "0", "-1"]);
        Saved { head, events }
    }

    /// Puts a session's stream back, as a fail-over that lost the newest writes does.
    pub(crate) fn roll_back(&mut self, session: &SessionId, saved: &Saved) {
        let (stream, head) = (key("stream", session), key("streamhead", session));
        self.run(&["DEL", &stream, &head]);
        let n = saved.head.n.to_string();
        self.run(&["HSET", &head, "n", &n, "u", &saved.head.nonce]);
        for event in &saved.events {
            self.run(&["RPUSH", &stream, event]);
        }
    }
}

/// A session's stream at some moment.
pub(crate) struct Saved {
    pub(crate) head: Cursor,
    events: Vec<String>,
}

/// Gives the name of a session's key.
pub(crate) fn key(kind: &str, session: &SessionId) -> String {
    format!("fw:{{{}}}:{kind}:{session}", session.cell())
}

/// One gateway's live stream.
pub(crate) struct Gateway {
    pub(crate) live: Arc<Live>,
    pub(crate) shutdown: Shutdown,
    _tasks: JoinSet<()>,
}

impl Gateway {
    pub(crate) fn new(store: Store, options: LiveOptions) -> Self {
        let shutdown = Shutdown::new();
        let (live, tasks) = Live::start(store, options, Arc::default(), &shutdown);
        Self { live, shutdown, _tasks: tasks }
    }

    /// Opens a stream; the position is text, as in a request.
    pub(crate) fn open(&self, session: &SessionId, cursor: Option<&str>) -> Reader {
        let stream = self.live.session_stream(session, Asked::read(cursor)).unwrap();
        Reader::new(stream)
    }

    /// Opens a stream and waits for its `sync`.
    pub(crate) async fn join(&self, session: &SessionId, cursor: Option<&str>) -> (Reader, Frame) {
        let mut reader = self.open(session, cursor);
        let sync = reader.next().await;
        assert_eq!(sync.event, "sync", "{sync:?}");
        (reader, sync)
    }
}

/// A reader that remembers the last id, as a browser does.
pub(crate) struct Reader {
    stream: Subscription,
    pub(crate) cursor: Option<String>,
}

impl Reader {
    pub(crate) fn new(stream: Subscription) -> Self {
        Self { stream, cursor: None }
    }

    /// Waits for the next frame; panics at the end of the stream.
    pub(crate) async fn next(&mut self) -> Frame {
        self.maybe_next().await.expect("the stream goes on")
    }

    /// Waits for the next frame or the end.
    pub(crate) async fn maybe_next(&mut self) -> Option<Frame> {
        let waited = tokio::time::timeout(LIMIT, self.stream.next()).await;
        let frame = Frame::parse(&waited.expect("a frame within the limit")?);
        if let Some(id) = &frame.id {
            self.cursor = Some(id.clone());
        }
        Some(frame)
    }

    /// Takes a frame if there is one already, without waiting for anything but Redis.
    pub(crate) async fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        let frame = tokio::time::timeout(patience, self.stream.next()).await.ok()??;
        let frame = Frame::parse(&frame);
        if let Some(id) = &frame.id {
            self.cursor = Some(id.clone());
        }
        Some(frame)
    }

    /// Takes this many events and gives their versions, which the tests number.
    pub(crate) async fn versions(&mut self, count: usize) -> Vec<u64> {
        let mut versions = Vec::with_capacity(count);
        while versions.len() < count {
            let frame = self.next().await;
            assert!(frame.is_durable(), "{frame:?}");
            versions.push(frame.v());
        }
        versions
    }
}

/// One frame as a browser reads it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) retry_ms: Option<u64>,
}

impl Frame {
    /// Reads a frame, and checks what must hold of every one.
    pub(crate) fn parse(bytes: &Bytes) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let lines = text.strip_suffix("\n\n").expect("a frame ends with an empty line");
        let mut frame = Self { id: None, event: String::new(), data: Value::Null, retry_ms: None };
        for line in lines.split('\n') {
            assert!(!line.contains('\r') && !line.is_empty(), "{text:?}");
            match line.split_once(": ").expect("a field with a value") {
                ("id", id) => frame.id = Some(id.to_owned()),
                ("event", event) => frame.event = event.to_owned(),
                ("data", data) => frame.data = serde_json::from_str(data).unwrap(),
                ("retry", ms) => frame.retry_ms = Some(ms.parse().unwrap()),
                field => panic!("{field:?} in {text:?}"),
            }
        }
        assert!(frame.data.is_object() && !frame.event.is_empty(), "{text:?}");
        frame
    }

    pub(crate) fn v(&self) -> u64 {
        self.data["v"].as_u64().unwrap()
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.id.is_some() && !matches!(&*self.event, "sync" | "ping" | "snapshot")
    }

    /// Gives a word of the data.
    pub(crate) fn word(&self, member: &str) -> &str {
        self.data[member].as_str().unwrap_or_default()
    }
}

/// A connection that speaks RESP, for what only tests may do.
pub(crate) struct Wire {
    stream: BufReader<UnixStream>,
    prelude: String,
}

impl Wire {
    pub(crate) fn connect(redis: &RedisServer) -> Self {
        let stream = BufReader::new(UnixStream::connect(redis.socket()).unwrap());
        Self { stream, prelude: redis.spoken(PRELUDE) }
    }

    /// Appends an event with a body of its own, and publishes it.
    pub(crate) fn append(
        &mut self,
        session: &SessionId,
        kind: &str,
        job: &str,
        v: u64,
        body: &str,
    ) {
        let prelude = self.prelude.clone();
        self.eval(&prelude, EMIT, &[session.as_str(), job, kind, &v.to_string(), body]);
    }

    fn eval(&mut self, prelude: &str, call: &str, arguments: &[&str]) {
        let script = format!("{prelude}\n{call}");
        let nonce = format!("{:08x}", rand::random::<u32>());
        let config = format!("fw:{{{}}}:config", Cell::FIRST);
        let mut words = vec!["EVAL", &script, "1", &config, &nonce];
        words.extend(arguments);
        self.run(&words);
    }

    /// Runs a command; gives its words, flat.
    fn run(&mut self, words: &[&str]) -> Vec<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        self.read(&mut reply);
        reply
    }

    fn read(&mut self, reply: &mut Vec<String>) {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" | ":" => reply.push(rest.to_owned()),
            "$" if rest == "-1" => reply.push(String::new()),
            "$" => {
                let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut text).unwrap();
                text.truncate(text.len() - 2);
                reply.push(String::from_utf8(text).unwrap());
            }
            "*" => {
                for _ in 0..rest.parse::<i64>().unwrap().max(0) {
                    self.read(reply);
                }
            }
            _ => panic!("Redis says {line:?}"),
        }
    }
}
