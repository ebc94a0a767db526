//! A browser that follows its session's stream, and comes back with its cursor whenever it breaks.
//!
//! It keeps a diary: every durable event in the order in which it came, and every promise that was
//! broken while it came, such as a number that is not the next, or a ping that claims a position it
//! was not brought to. After a reset it takes a snapshot, as a page would.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::user::User;

/// Silence after which a stream is dead; streams of this run ping every second.
const SILENCE: Duration = Duration::from_millis(3_500);

/// A durable event as a reader got it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) n: u64,
    pub(super) nonce: String,
    pub(super) kind: String,
    pub(super) data: Value,
}

/// A position that could not be honoured: everything up to `to` is in a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Reset {
    pub(super) to: u64,
    pub(super) cause: String,
}

/// The unfinished jobs as a snapshot gave them, with the position it claims to reflect.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) head: String,
    pub(super) jobs: HashSet<String>,
}

/// What a reader has seen.
#[derive(Debug, Default)]
pub(super) struct Diary {
    pub(super) session: usize,
    pub(super) lines: Vec<Line>,
    pub(super) resets: Vec<Reset>,
    pub(super) snapshots: Vec<Snapshot>,
    /// Jobs of events without a place in the stream.
    pub(super) whispered: HashSet<String>,
    /// Broken promises.
    pub(super) complaints: Vec<String>,
    pub(super) connections: u32,
    /// Position of the last event, like `41-k3v9x2ma`.
    pub(super) cursor: Option<String>,
    /// Position at which it began.
    pub(super) began: u64,
}

impl Diary {
    /// Gives the number of its position.
    pub(super) fn position(&self) -> u64 {
        self.cursor.as_deref().map_or(0, number)
    }
}

/// Gives the number of a cursor.
pub(super) fn number(cursor: &str) -> u64 {
    let number = cursor.split('-').next();
    number.and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// Reads until told to stop; `progress` is told the position.
pub(super) async fn read(
    user: User,
    session: usize,
    mut dice: Dice,
    progress: tokio::sync::watch::Sender<u64>,
    stop: CancellationToken,
) -> Diary {
    let mut diary = Diary { session, ..Diary::default() };
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = connect(&user, &mut diary, &mut dice, &progress) => {}
        }
        let wait = Duration::from_millis(dice.between(20, 300));
        tokio::time::sleep(wait).await;
    }
    diary
}

/// Opens the stream once and reads it to its end.
async fn connect(
    user: &User,
    diary: &mut Diary,
    dice: &mut Dice,
    progress: &tokio::sync::watch::Sender<u64>,
) {
    let url = user.town.url(dice, "/v1/events");
    let mut request = user.town.get(&url).bearer_auth(&user.token);
    if let Some(cursor) = &diary.cursor {
        request = request.header("Last-Event-ID", cursor);
    }
    let Ok(Ok(reply)) = timeout(SILENCE, request.send()).await else {
        return;
    };
    let status = reply.status();
    if status != 200 {
        // The token is looked up in Redis, so an outage is told before the stream.
        if status != 503 {
            diary.complaints.push(format!("the stream said {status}"));
        }
        return;
    }
    diary.connections += 1;
    // Some leave by themselves, like pages that are closed and opened again.
    let stay_ms = match dice.chance(40) {
        true => 600_000,
        false => dice.between(1_000, 12_000),
    };
    let leave_at = Instant::now() + Duration::from_millis(stay_ms);
    let mut bytes = reply.bytes_stream();
    let mut unread = Vec::new();
    let mut is_first = true;
    while Instant::now() < leave_at {
        let Ok(Some(Ok(part))) = timeout(SILENCE, bytes.next()).await else {
            return;
        };
        unread.extend_from_slice(&part);
        while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = unread.drain(..end + 2).collect();
            let Some(told) = Told::parse(&String::from_utf8_lossy(&block)) else {
                continue;
            };
            let reset = diary.take(told, std::mem::take(&mut is_first));
            progress.send_replace(diary.position());
            if reset || dice.chance(1) {
                snapshot(user, diary, dice).await;
            }
        }
    }
}

async fn snapshot(user: &User, diary: &mut Diary, dice: &mut Dice) {
    let Some((status, body)) = user.get("/v1/jobs?active=1", dice).await else {
        return;
    };
    if status != 200 || body["more"] == true {
        return;
    }
    let jobs = body["jobs"].as_array().into_iter().flatten();
    diary.snapshots.push(Snapshot {
        head: body["head"].as_str().unwrap_or_default().to_owned(),
        jobs: jobs.filter_map(|job| Some(job["id"].as_str()?.to_owned())).collect(),
    });
}

/// One block of a stream.
struct Told {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Told {
    fn parse(block: &str) -> Option<Self> {
        let (mut name, mut id, mut data) = (String::new(), None, None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut name),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = serde_json::from_str(value).ok(),
                _ => {}
            }
        }
        data.map(|data| Self { name, id, data })
    }
}

impl Diary {
    /// Writes down what was told; gives whether it was a reset.
    fn take(&mut self, told: Told, is_first: bool) -> bool {
        if is_first != (told.name == "sync") && told.name != "bye" && is_first {
            self.complain(format!("the stream began with {}", told.name));
        }
        match told.name.as_str() {
            "sync" => return self.sync(&told.data),
            "ping" if told.id != self.cursor => {
                self.complain(format!("a ping claims {}", told.data["at"]));
            }
            "ping" | "bye" => {}
            name => match told.id {
                Some(id) => self.event(&id, name.to_owned(), told.data),
                None => drop(self.whispered.insert(text(&told.data["job"]))),
            },
        }
        false
    }

    fn sync(&mut self, data: &Value) -> bool {
        let at = text(&data["at"]);
        let mode = data["mode"].as_str().unwrap_or_default();
        match (mode, &self.cursor) {
            ("fresh", None) => self.began = number(&at),
            ("resumed", Some(cursor)) if *cursor == at => {}
            ("reset", Some(_)) => {
                self.resets.push(Reset { to: number(&at), cause: text(&data["cause"]) });
            }
            _ => self.complain(format!("sync says {data}")),
        }
        self.cursor = Some(at);
        mode == "reset"
    }

    fn event(&mut self, id: &str, kind: String, data: Value) {
        let n = number(id);
        if n != self.position() + 1 {
            let before = self.cursor.clone().unwrap_or_default();
            self.complain(format!("{id} came after {before}"));
        }
        self.cursor = Some(id.to_owned());
        let nonce = id.split_once('-').map_or("", |(_, nonce)| nonce).to_owned();
        self.lines.push(Line { n, nonce, kind, data });
    }

    fn complain(&mut self, what: String) {
        let cursor = self.cursor.as_deref().unwrap_or("the start");
        self.complaints.push(format!("at {cursor}: {what}"));
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
