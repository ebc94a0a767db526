//! Gateways replaced one after the other, behind a balancer, under many readers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use framewire_gateway::app::{App, AppError};
use framewire_shared::domain::SessionId;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::testing::{Balancer, Follower, RedisServer};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::world::Wire;
use crate::support::settings;

const SESSIONS: usize = 30;
const READERS_PER_SESSION: usize = 10;
/// Time over which a gateway spreads the ends of its streams.
const DRAIN: Duration = Duration::from_millis(500);
/// Events of each session.
const LAST: u64 = 60;
/// A piece of time in which readers are counted.
const PIECE: Duration = Duration::from_millis(500);

/// One gateway of the two.
struct Member {
    address: SocketAddr,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), AppError>>,
}

impl Member {
    async fn start(redis: &RedisServer, folder: &std::path::Path) -> Self {
        let settings = settings(redis, folder, |settings| settings.gateway.drain = DRAIN);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let app = App::build(settings, listener).await.unwrap();
        Self { address, running: tokio::spawn(app.run_until(shutdown.clone())), shutdown }
    }
}

/// Appends the next event to every session.
fn append(wire: &mut Wire, sessions: &[SessionId], n: &mut u64) {
    *n += 1;
    for session in sessions {
        wire.append(session, "preview", "job_c0_1", *n, "{}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_event_and_its_readers_come_back_spread() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let store = redis.store();
    let mut users = Vec::new();
    for _ in 0..SESSIONS {
        users.push(store.create_session().await.unwrap());
    }
    let sessions: Vec<_> = users.iter().map(|user| user.id.clone()).collect();
    let mut wire = Wire::connect(&redis);
    let balancer = Balancer::start().await.unwrap();
    let mut members =
        [Member::start(&redis, folder.path()).await, Member::start(&redis, folder.path()).await];
    let mut put_in = members.each_ref().map(|member| member.address);
    balancer.set(&put_in);

    let mut n = 0;
    let (arrived, mut arrivals) = mpsc::channel(SESSIONS * READERS_PER_SESSION);
    let mut readers = JoinSet::new();
    for user in &users {
        let start = store.replay(&user.id, None).await.unwrap().head;
        for _ in 0..READERS_PER_SESSION {
            let (gateway, token, arrived) = (balancer.address, user.token.clone(), arrived.clone());
            let mut follower = Follower::after(&start);
            readers.spawn(async move {
                follower.follow(gateway, &token, LAST, &arrived).await;
                follower
            });
        }
    }
    append(&mut wire, &sessions, &mut n);
    for _ in 0..SESSIONS * READERS_PER_SESSION {
        arrivals.recv().await.unwrap();
    }

    for place in 0..members.len() {
        let others: Vec<_> = put_in.iter().copied().filter(|it| *it != put_in[place]).collect();
        balancer.set(&others);
        let next = Member::start(&redis, folder.path()).await;
        let leaving = std::mem::replace(&mut members[place], next);
        leaving.shutdown.drain.cancel();
        // Events go on while its readers are on their way.
        while !leaving.running.is_finished() && n < LAST / 3 * (place as u64 + 1) {
            append(&mut wire, &sessions, &mut n);
            tokio::task::yield_now().await;
        }
        leaving.running.await.unwrap().unwrap();
        put_in[place] = members[place].address;
        balancer.set(&put_in);
    }
    while n < LAST {
        append(&mut wire, &sessions, &mut n);
    }

    let followers = tokio::time::timeout(Duration::from_secs(60), readers.join_all()).await;
    let followers = followers.expect("everybody to see the last event");
    let mut returns: Vec<Instant> = Vec::new();
    for follower in &followers {
        assert_eq!(follower.seen, (1..=LAST).collect::<Vec<_>>(), "{follower:?}");
        assert!(follower.modes.iter().all(|mode| mode != "reset"), "{follower:?}");
        returns.extend(follower.byes.iter().map(|(_, back_at)| *back_at));
        assert!(follower.byes.iter().all(|(reason, _)| reason == "drain"), "{follower:?}");
    }
    // Every reader was with one of the two that were replaced.
    let broken: usize = followers.iter().map(|follower| follower.breaks).sum();
    assert!(returns.len() + broken >= followers.len(), "{} and {broken}", returns.len());
    let first = *returns.iter().min().unwrap();
    let mut pieces = BTreeMap::<u128, usize>::new();
    for back_at in &returns {
        *pieces.entry((*back_at - first).as_millis() / PIECE.as_millis()).or_default() += 1;
    }
    let most = *pieces.values().max().unwrap();
    assert!(most * 3 < returns.len(), "{most} of {} within {PIECE:?}: {pieces:?}", returns.len());
}
