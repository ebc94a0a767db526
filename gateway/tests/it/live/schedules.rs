//! Random schedules of everything that can go wrong, against a real Redis.
//!
//! A seed draws some hundred steps: appends, lost messages, cut connections, roll-backs, flushes, and
//! readers that read a little, leave, and come back with their cursor to one of two gateways. What
//! a reader saw must be explained at the end: after a `resumed` or a `sync` at some position, each
//! event follows the one before it by the list that Redis itself kept, and at rest every reader is
//! at the head. `FRAMEWIRE_SCHEDULES` runs more of them, `FRAMEWIRE_SCHEDULE_SEED` one again.

use std::collections::HashMap;
use std::time::Duration;

use framewire_gateway::live::LiveOptions;
use framewire_shared::domain::{Cursor, SessionId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::{Frame, Gateway, Reader, Saved, World, key, quiet, session};

const STEPS: usize = 600;
const READERS: usize = 4;
/// Long enough for what is under way to arrive, short enough for many steps.
const PATIENCE: Duration = Duration::from_millis(2);

/// A client with its memory.
#[derive(Default)]
struct Client {
    reader: Option<Reader>,
    at: Option<Cursor>,
    resets: usize,
    events: usize,
}

struct Schedule {
    world: World,
    gateways: Vec<Gateway>,
    session: SessionId,
    clients: Vec<Client>,
    /// Each event's predecessor, by what the list in Redis said when it was appended.
    before: HashMap<String, String>,
    saved: Option<Saved>,
    next_v: u64,
}

impl Schedule {
    fn new() -> Self {
        let world = World::new();
        let options = LiveOptions {
            check: Duration::from_millis(30),
            recheck: Duration::from_millis(30),
            ping: Duration::from_millis(40),
            ..quiet()
        };
        Self {
            gateways: vec![world.gateway(options.clone()), world.gateway(options)],
            session: session(),
            clients: (0..READERS).map(|_| Client::default()).collect(),
            before: HashMap::new(),
            saved: None,
            next_v: 0,
            world,
        }
    }

    fn append(&mut self, heard: bool) {
        self.next_v += 1;
        let (session, v) = (self.session.clone(), self.next_v);
        if heard {
            self.world.append(&session, "preview", "j", v);
        } else {
            self.world.append_unheard(&session, "preview", "j", v);
        }
        let newest = self.world.run(&["LRANGE", &key("stream", &session), "-1", "-1"]);
        let (id, rest) = newest[0].split_once(' ').unwrap();
        let n = id.parse::<Cursor>().unwrap().n;
        let nonce = rest.split(' ').next().unwrap();
        self.before.insert(id.to_owned(), format!("{}-{nonce}", n - 1));
    }

    fn head(&mut self) -> Option<String> {
        let head = key("streamhead", &self.session);
        let words = self.world.run(&["HMGET", &head, "n", "u"]);
        (!words[0].is_empty()).then(|| format!("{}-{}", words[0], words[1]))
    }

    async fn step(&mut self, dice: &mut StdRng) {
        let who = dice.random_range(0..READERS);
        match dice.random_range(0..100) {
            0..40 => self.append(true),
            40..50 => self.append(false),
            50..80 => self.read(who, dice.random_range(1..40)).await,
            80..92 => self.turn(who, dice),
            92..95 => self.world.kill_pubsub(),
            95..98 => self.saved = self.head().map(|_| self.world.save(&self.session)),
            98..99 => {
                if let Some(saved) = self.saved.take() {
                    self.world.roll_back(&self.session, &saved);
                }
            }
            // Rarely: it makes everybody start over, and so hides what came before.
            _ if dice.random_bool(0.3) => {
                self.saved = None;
                self.world.run(&["FLUSHALL"]);
            }
            _ => {}
        }
    }

    /// Leaves, if it reads; else comes back with its cursor, to either gateway.
    fn turn(&mut self, who: usize, dice: &mut StdRng) {
        let client = &mut self.clients[who];
        if client.reader.take().is_none() {
            let gateway = &self.gateways[dice.random_range(0..self.gateways.len())];
            let cursor = client.at.as_ref().map(Cursor::to_string);
            client.reader = Some(gateway.open(&self.session, cursor.as_deref()));
        }
    }

    /// Reads what there is, up to this many frames.
    async fn read(&mut self, who: usize, frames: usize) {
        for _ in 0..frames {
            let Some(reader) = &mut self.clients[who].reader else {
                return;
            };
            let Some(frame) = reader.next_within(PATIENCE).await else {
                return;
            };
            self.see(who, &frame);
        }
    }

    /// Checks that a frame may be the next thing this client sees.
    fn see(&mut self, who: usize, frame: &Frame) {
        let client = &mut self.clients[who];
        let id: Option<Cursor> = frame.id.as_ref().map(|id| id.parse().unwrap());
        match &*frame.event {
            "sync" if frame.word("mode") == "resumed" => {
                assert_eq!(id, client.at, "resumed from elsewhere");
            }
            "sync" => {
                client.resets += 1;
                client.at = id;
            }
            "ping" => assert_eq!(id, client.at, "a ping from elsewhere"),
            "bye" => client.reader = None,
            _ => {
                let (id, at) = (id.unwrap().to_string(), client.at.as_ref().unwrap().to_string());
                assert_eq!(self.before.get(&id), Some(&at), "{id} does not follow {at}");
                client.events += 1;
                client.at = Some(id.parse().unwrap());
            }
        }
    }

    /// Lets everybody come to rest: each must reach the head without another event's help.
    async fn settle(&mut self) {
        self.append(true);
        let head: Cursor = self.head().unwrap().parse().unwrap();
        for who in 0..READERS {
            let patience = tokio::time::Instant::now() + Duration::from_secs(20);
            while self.clients[who].at.as_ref() != Some(&head) {
                assert!(tokio::time::Instant::now() < patience, "client {who} is stuck");
                if self.clients[who].reader.is_none() {
                    let cursor = self.clients[who].at.as_ref().map(Cursor::to_string);
                    let reader = self.gateways[0].open(&self.session, cursor.as_deref());
                    self.clients[who].reader = Some(reader);
                }
                let reader = self.clients[who].reader.as_mut().unwrap();
                match reader.next_within(Duration::from_secs(20)).await {
                    Some(frame) => self.see(who, &frame),
                    None => self.clients[who].reader = None,
                }
            }
        }
    }
}

async fn run(seed: u64) -> (usize, usize) {
    let mut schedule = Schedule::new();
    let mut dice = StdRng::seed_from_u64(seed);
    for _ in 0..STEPS {
        schedule.step(&mut dice).await;
    }
    schedule.settle().await;
    let count = |of: fn(&Client) -> usize| schedule.clients.iter().map(of).sum();
    (count(|client| client.events), count(|client| client.resets))
}

#[tokio::test]
async fn no_schedule_of_losses_shows_a_gap_or_a_duplicate_without_a_reset() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds: Vec<u64> = match number("FRAMEWIRE_SCHEDULE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("FRAMEWIRE_SCHEDULES").unwrap_or(6)).map(|_| rand::random()).collect(),
    };
    let (mut events, mut resets) = (0, 0);
    for seed in &seeds {
        println!("FRAMEWIRE_SCHEDULE_SEED={seed}");
        let seen = run(*seed).await;
        println!("{} events, {} resets", seen.0, seen.1);
        (events, resets) = (events + seen.0, resets + seen.1);
    }
    assert!(events > 50 * seeds.len() && resets > 0, "{events}, {resets}: nothing was tried");
}
