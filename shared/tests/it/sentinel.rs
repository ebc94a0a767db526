//! A fail-over by Sentinel: everything that speaks to the master finds the next one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use framewire_shared::domain::{Cell, State, WorkerId};
use framewire_shared::store::codec::{Noted, Renewal};
use framewire_shared::store::stream::Heard;
use framewire_shared::store::{QueueOptions, RedisOptions, Store};
use framewire_shared::testing::process::Process;
use framewire_shared::testing::{RedisSentinel, until};
use uuid::Uuid;

use crate::cluster::{pool, submit, submit_as, take};

const HOUR: Duration = Duration::from_secs(3_600);

fn store_with(redis: &RedisSentinel, replicas: u32) -> Store {
    let options =
        RedisOptions { replicas, call_timeout: Duration::from_secs(1), ..redis.options() };
    let queue = QueueOptions { lease: HOUR, ..QueueOptions::default() };
    Store::open(options, queue).unwrap()
}

#[tokio::test]
async fn after_a_killed_master_everything_goes_on_at_its_replica_and_no_accepted_job_is_lost() {
    let mut redis = RedisSentinel::start();
    let (kept, worker) = (store_with(&redis, 1), WorkerId::new(Uuid::new_v4()));
    kept.check_all().await.unwrap();
    let store = store_with(&redis, 0);
    let cell = Cell::FIRST;
    store.heartbeat(cell, &pool(), &worker, 2, HOUR).await.unwrap();
    let (session, running) = submit(&kept, cell).await.unwrap();
    let lease = take(&store, cell, &worker).await;
    assert_eq!(store.checkpoint(&lease, "handle").await.unwrap(), Noted::Noted);
    let mut popper = store.popper(cell, &[pool()]);
    assert_eq!(popper.pop().await.unwrap(), None);
    let (mut sink, mut stream) = store.tail(cell).await.unwrap();
    sink.subscribe(std::slice::from_ref(&session)).await.unwrap();
    let mut accepted = vec![running];
    for _ in 0..20 {
        accepted.push(submit(&kept, cell).await.unwrap().1);
    }

    redis.master.kill();

    assert_eq!(until("the tail's end", async || Some(stream.next().await)).await, None);
    let renewed =
        until("a renewal", async || store.renew(cell, std::slice::from_ref(&lease)).await.ok())
            .await;
    assert_eq!(renewed, [Renewal::Renewed], "the lease survived");
    for job in &accepted {
        assert!(store.job(job).await.unwrap().is_some(), "{job} was accepted and is lost");
    }
    let (mut sink, mut stream) = store.tail(cell).await.unwrap();
    sink.subscribe(std::slice::from_ref(&session)).await.unwrap();
    let newest = submit_as(&store, &session).await.unwrap();
    assert!(matches!(stream.next().await, Some(Heard::Event(who, _)) if who == session));
    assert!(until("a popped job", async || popper.pop().await.ok().flatten()).await.job != newest);
    store.advance(&lease, State::Generating).await.unwrap();
}

#[tokio::test]
async fn a_demoted_master_that_still_answers_is_left() {
    let redis = RedisSentinel::start();
    let store = store_with(&redis, 0);
    let cell = Cell::FIRST;
    let (session, _) = submit(&store, cell).await.unwrap();
    let mut popper = store.popper(cell, &[pool()]);
    popper.connect().await.unwrap();
    let (mut sink, mut stream) = store.tail(cell).await.unwrap();
    sink.subscribe(std::slice::from_ref(&session)).await.unwrap();

    redis.fail_over();
    until("a demoted master", async || {
        let role: String = redis.master.say("INFO replication").ok()?;
        role.contains("role:slave").then_some(())
    })
    .await;

    let job = until("a submit", async || submit_as(&store, &session).await.ok()).await;
    assert_eq!(redis.replica.say(&format!("EXISTS fw:{{c0}}:job:{job}")), Ok(1));
    until("the old tail's end", async || stream.next().await.is_none().then_some(())).await;
    let worker = WorkerId::new(Uuid::new_v4());
    store.heartbeat(cell, &pool(), &worker, 2, HOUR).await.unwrap();
    until("a popped job", async || popper.pop().await.ok().flatten()).await;
}

/// Answers every command as a sentinel would that knows one master, on this port.
fn say_that_the_master_is_on(port: &Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (own, port) = (listener.local_addr().unwrap().port(), port.clone());
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let (mut caller, port) = (caller.unwrap(), port.clone());
            std::thread::spawn(move || {
                let lines = BufReader::new(caller.try_clone().unwrap()).lines();
                // A command begins with the number of its words.
                for line in lines.map_while(Result::ok).filter(|line| line.starts_with('*')) {
                    let port = port.load(Ordering::SeqCst).to_string();
                    let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
                    assert!(!line.is_empty() && caller.write_all(answer.as_bytes()).is_ok());
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn a_master_that_has_become_a_replica_and_keeps_its_connections_is_known_by_its_refusal() {
    let (old, new) = (Process::start_on_a_port(&[]), Process::start_on_a_port(&[]));
    let master = Arc::new(AtomicU16::new(old.port()));
    let url =
        format!("redis+sentinel://127.0.0.1:{}/framewire", say_that_the_master_is_on(&master));
    let options = RedisOptions { url, ..RedisOptions::default() };
    let store = Store::open(options, QueueOptions::default()).unwrap();
    submit(&store, Cell::FIRST).await.unwrap();

    let () = old.say(&format!("REPLICAOF 127.0.0.1 {}", new.port())).unwrap();
    master.store(new.port(), Ordering::SeqCst);
    let (_, job) =
        submit(&store, Cell::FIRST).await.expect("found by the first call that is refused");
    assert_eq!(new.say(&format!("EXISTS fw:{{c0}}:job:{job}")), Ok(1));
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_unavailable_and_told() {
    let redis = RedisSentinel::start();
    let url = redis.url().replace("/framewire", "/another");
    let options = RedisOptions { url, ..redis.options() };
    let store = Store::open(options, QueueOptions::default()).unwrap();
    let error = store.ping(Cell::FIRST).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("no sentinel knows a master of the name \"another\""), "{why}");
}
