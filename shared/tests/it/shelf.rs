//! Frames that are made ahead: what a shelf hands out, and that nothing is ordered for it twice.

use std::time::Duration;

use framewire_shared::domain::{Cell, ErrorCode, Failure, FallbackKind, JobId, SessionId, State};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::codec::Submitted;
use framewire_shared::store::shelf::{Place, Shelf, ShelfName};
use framewire_shared::testing::{prompt, submission};
use uuid::Uuid;

use crate::world::{World, artifact, session};

const RETENTION_MS: u64 = 3_600_000;
const DIGEST: &str = "d1";

fn world() -> World {
    let retention = Duration::from_millis(RETENTION_MS);
    World::with_clock(QueueOptions { retention, ..QueueOptions::default() })
}

async fn look_at(world: &World, session: &SessionId, digest: &str, seen: &[JobId]) -> Shelf {
    let name = ShelfName { session, digest };
    world.store.shelf(name, ("builtin", false), seen).await.unwrap()
}

async fn look(world: &World, session: &SessionId) -> Shelf {
    look_at(world, session, DIGEST, &[]).await
}

/// Submits a job for the shelf, as the one after so many others.
async fn put(world: &World, session: &SessionId, made: u64) -> (JobId, Submitted) {
    let (id, input) = (JobId::new(Cell::FIRST, Uuid::now_v7()), prompt("x"));
    let mut new = submission(&id, session, &world.pool, &input);
    new.shelf = Some(Place { digest: DIGEST, made });
    let answer = world.store.submit(&new).await.unwrap();
    (id, answer)
}

/// Puts so many jobs on an empty shelf.
async fn filled(world: &World, session: &SessionId, count: u64) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for made in 0..count {
        let (job, answer) = put(world, session, made).await;
        assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
        jobs.push(job);
    }
    jobs
}

fn ready(shelf: &Shelf) -> Vec<JobId> {
    shelf.frames.iter().map(|(job, _)| job.clone()).collect()
}

fn coming(shelf: &Shelf) -> Vec<JobId> {
    shelf.jobs.iter().map(|row| row.job.id.clone()).collect()
}

#[tokio::test]
async fn a_job_moves_from_its_way_to_the_ready_ones_and_leaves_when_it_was_seen() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    assert_eq!((look(&world, &mine).await.made, coming(&look(&world, &mine).await)), (0, vec![]));
    let jobs = filled(&world, &mine, 3).await;
    assert_eq!(coming(&look(&world, &mine).await), jobs);
    assert_eq!(look(&world, &mine).await.fallback.kind, FallbackKind::Static);

    let lease = world.take().await.unwrap();
    world.finish(&lease).await;
    for _ in 0..2 {
        let shelf = look(&world, &mine).await;
        assert_eq!(shelf.frames, [(jobs[0].clone(), artifact(&lease))], "an answer may get lost");
        assert_eq!((coming(&shelf), shelf.made), (jobs[1..].to_vec(), 3));
    }
    // What is only on its way can't have been seen.
    let shelf = look_at(&world, &mine, DIGEST, &jobs).await;
    assert_eq!((ready(&shelf), coming(&shelf), shelf.made), (vec![], jobs[1..].to_vec(), 3));
    assert_eq!(ready(&look(&world, &mine).await), []);
}

#[tokio::test]
async fn a_submit_that_another_was_quicker_with_is_refused_and_leaves_nothing() {
    let world = world();
    let mine = session();
    let first = filled(&world, &mine, 1).await;
    let (late, answer) = put(&world, &mine, 0).await;
    assert_eq!(answer, Submitted::ShelfMoved);
    assert_eq!(world.store.job(&late).await.unwrap(), None);
    assert_eq!(coming(&look(&world, &mine).await), first);
    assert!(matches!(put(&world, &mine, 1).await.1, Submitted::Accepted { .. }));
}

#[tokio::test]
async fn what_came_to_nothing_leaves_the_shelf() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    let jobs = filled(&world, &mine, 4).await;
    let lease = world.take().await.unwrap();
    let failure = Failure::new(ErrorCode::Permanent, "no");
    world.store.fail(&lease, &failure, None).await.unwrap();
    world.store.cancel(&jobs[1], "user").await.unwrap();
    let lease = world.take().await.unwrap();
    world.finish(&lease).await;
    world.store.delete(&lease.job, &mine).await.unwrap();
    let shelf = look(&world, &mine).await;
    assert_eq!((ready(&shelf), coming(&shelf), shelf.made), (vec![], jobs[3..].to_vec(), 4));
    let key = format!("fw:{{c0}}:shelf:{mine}:{DIGEST}");
    assert_eq!(world.redis_cli(&["HLEN", &key]), "2", "the job on its way, and how many were made");
}

#[tokio::test]
async fn a_shelf_is_its_sessions_and_its_requests_own() {
    let world = world();
    let (mine, other) = (session(), session());
    filled(&world, &mine, 2).await;
    assert_eq!(coming(&look(&world, &other).await), []);
    assert_eq!(coming(&look_at(&world, &mine, "d2", &[]).await), []);
    let theirs = filled(&world, &other, 1).await;
    assert_eq!(coming(&look(&world, &other).await), theirs);
}

#[tokio::test]
async fn a_shelf_that_nobody_looks_at_goes_with_its_frames() {
    let world = world();
    world.slots(1).await;
    let mine = session();
    filled(&world, &mine, 1).await;
    let lease = world.take().await.unwrap();
    world.finish(&lease).await;
    assert_eq!(world.state(&lease.job).await, State::Completed);
    let key = format!("fw:{{c0}}:shelf:{mine}:{DIGEST}");
    let ttl_ms: u64 = world.redis_cli(&["PTTL", &key]).parse().unwrap();
    assert!((1..=RETENTION_MS).contains(&ttl_ms), "{ttl_ms}");
    world.redis_cli(&["PEXPIRE", &key, "1000"]);
    look(&world, &mine).await;
    let ttl_ms: u64 = world.redis_cli(&["PTTL", &key]).parse().unwrap();
    assert!(ttl_ms > 1_000, "a look keeps it");
}

#[tokio::test]
async fn a_job_for_no_shelf_asks_for_none() {
    let world = world();
    let mine = session();
    world.submit(&mine).await;
    assert_eq!(world.redis_cli(&["KEYS", "*shelf*"]), "");
}
