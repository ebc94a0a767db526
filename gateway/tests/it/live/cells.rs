//! Several cells, and fail-overs under living streams.

use std::time::Duration;

use framewire_gateway::live::LiveOptions;
use framewire_shared::domain::{Cell, JobId, SessionId};
use framewire_shared::store::{QueueOptions, RedisOptions, Store};
use framewire_shared::testing::{RedisCluster, RedisSentinel, prompt, submission, until};

use super::world::{Gateway, Reader, quiet};

/// Options under which a deaf connection and a lost last message are found soon.
fn watchful() -> LiveOptions {
    LiveOptions {
        check: Duration::from_millis(200),
        recheck: Duration::from_millis(100),
        probe_after: Duration::from_secs(2),
        probe_timeout: Duration::from_secs(1),
        ..quiet()
    }
}

fn session_in(cell: Cell) -> SessionId {
    format!("ses_{cell}_{:032x}", rand::random::<u128>()).parse().unwrap()
}

async fn submit(store: &Store, session: &SessionId) -> Option<JobId> {
    let id = format!("job_{}_{:032x}", session.cell(), rand::random::<u128>());
    let (id, pool, input): (JobId, _, _) =
        (id.parse().unwrap(), "default".parse().unwrap(), prompt("a fox"));
    store.submit(&submission(&id, session, &pool, &input)).await.ok().map(|_| id)
}

/// Waits for the event of this job; gives what came before it.
async fn hears_of(reader: &mut Reader, job: &JobId) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let frame = reader.next().await;
        let what = match &*frame.event {
            "sync" => frame.word("mode").to_owned(),
            "ping" => continue,
            "bye" => panic!("the stream ends: {frame:?} after {before:?}"),
            _ => frame.word("job").to_owned(),
        };
        if what == job.as_str() {
            return before;
        }
        before.push(what);
    }
}

fn with_replicas(options: RedisOptions, replicas: u32) -> Store {
    let options = RedisOptions { replicas, call_timeout: Duration::from_secs(1), ..options };
    Store::open(options, QueueOptions::default()).unwrap()
}

#[tokio::test]
async fn streams_of_all_cells_arrive_and_those_of_a_dead_node_go_on_at_its_replica() {
    let mut cluster = RedisCluster::start_with_replicas(3);
    let kept = with_replicas(cluster.options(12), 1);
    let store = with_replicas(cluster.options(12), 0);
    let gateway = Gateway::new(store.clone(), watchful());
    let mut readers = Vec::new();
    for cell in store.cells() {
        let session = session_in(cell);
        let (mut reader, _) = gateway.join(&session, None).await;
        let job = submit(&kept, &session).await.unwrap();
        assert_eq!(hears_of(&mut reader, &job).await, Vec::<String>::new());
        readers.push((session, reader));
    }
    let dead = cluster.master_of(Cell::FIRST);
    cluster.masters[dead].kill();
    readers.sort_by_key(|(session, _)| cluster.master_of(session.cell()) == dead);
    for (session, reader) in &mut readers {
        let job = until("a submit", async || submit(&store, session).await).await;
        assert_eq!(hears_of(reader, &job).await, Vec::<String>::new(), "of {}", session.cell());
    }
}

#[tokio::test]
async fn a_stream_goes_on_at_the_master_that_sentinel_names() {
    let mut redis = RedisSentinel::start();
    let gateway = Gateway::new(with_replicas(redis.options(), 0), watchful());
    let session = session_in(Cell::FIRST);
    let (mut reader, _) = gateway.join(&session, None).await;
    let kept = with_replicas(redis.options(), 1);
    let before = submit(&kept, &session).await.unwrap();
    redis.master.kill();
    let store = with_replicas(redis.options(), 0);
    let after = until("a submit", async || submit(&store, &session).await).await;
    assert_eq!(hears_of(&mut reader, &after).await, [before.to_string()]);
}

#[tokio::test]
async fn a_stream_whose_newest_events_a_fail_over_has_lost_is_reset_and_goes_on() {
    let mut redis = RedisSentinel::start();
    let store = with_replicas(redis.options(), 0);
    let gateway = Gateway::new(store.clone(), watchful());
    let session = session_in(Cell::FIRST);
    let (mut reader, _) = gateway.join(&session, None).await;
    let kept = with_replicas(redis.options(), 1);
    let first = submit(&kept, &session).await.unwrap();
    assert_eq!(hears_of(&mut reader, &first).await, Vec::<String>::new());

    let signal = |signal: &str, pid: u32| {
        let pid = pid.to_string();
        let done = std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP", redis.replica.pid());
    let () = redis.master.say("CLIENT KILL TYPE replica").unwrap();
    // Heard, and known to the master alone.
    let lost = submit(&store, &session).await.unwrap();
    assert_eq!(hears_of(&mut reader, &lost).await, Vec::<String>::new());
    redis.master.kill();
    signal("-CONT", redis.replica.pid());

    until("a submit", async || submit(&store, &session).await).await;
    assert_eq!(store.job(&lost).await.unwrap(), None, "nothing was lost; the test is void");
    let sync = reader.next().await;
    assert_eq!((&*sync.event, sync.word("mode")), ("sync", "reset"));
    let next = submit(&store, &session).await.unwrap();
    hears_of(&mut reader, &next).await;
}
