//! Several cells on several nodes, and one worker with one slot.

use std::process::{Command, Stdio};

use framewire_shared::domain::{Cell, JobId, Pool, SessionId, State};
use framewire_shared::store::{QueueOptions, RedisOptions, Store};
use framewire_shared::testing::{RedisCluster, submission, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use crate::process::{Worker, input};

const CELLS: u16 = 12;

fn worker(cluster: &RedisCluster, folder: &std::path::Path) -> Worker {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewire-worker"));
    command
        .env("FRAMEWIRE_REDIS_URL", cluster.url())
        .env("FRAMEWIRE_REDIS_CALL_TIMEOUT_MS", "1000")
        .env("FRAMEWIRE_ARTIFACTS_PATH", folder)
        .env("FRAMEWIRE_WORKER_SLOTS", "1")
        .stderr(Stdio::null());
    Worker::spawn(&mut command)
}

async fn submit(store: &Store, cell: Cell) -> JobId {
    let (id, session) = (JobId::new(cell, Uuid::now_v7()), SessionId::new(cell, Uuid::new_v4()));
    let (pool, input): (Pool, _) = ("default".parse().unwrap(), input(1, 0));
    let input = serde_json::to_string(&input).unwrap();
    store.submit(&submission(&id, &session, &pool, &input)).await.unwrap();
    id
}

async fn completes(store: &Store, job: &JobId) {
    until("a completed job", async || {
        let row = store.job(job).await.ok()?;
        (row.expect("an accepted job").job.state == State::Completed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sessions_of_all_cells_are_served_by_one_worker_with_one_slot() {
    let (cluster, folder) = (RedisCluster::start(3), tempfile::tempdir().unwrap());
    let store = cluster.store(CELLS);
    let _worker = worker(&cluster, folder.path());
    for _ in 0..2 {
        let mut jobs = Vec::new();
        for cell in store.cells() {
            jobs.push(submit(&store, cell).await);
        }
        for job in &jobs {
            completes(&store, job).await;
        }
    }
}

#[tokio::test]
async fn a_master_killed_under_a_worker_holds_up_its_own_cells_until_its_replica_leads_and_no_others()
 {
    let mut cluster = RedisCluster::start_with_replicas(3);
    let folder = tempfile::tempdir().unwrap();
    let (dead, kept) = (cluster.master_of(Cell::FIRST), cluster.options(CELLS));
    let kept = RedisOptions { replicas: 1, ..kept };
    let kept = Store::open(kept, QueueOptions::default()).unwrap();
    let (here, elsewhere): (Vec<Cell>, Vec<Cell>) =
        kept.cells().into_iter().partition(|cell| cluster.master_of(*cell) == dead);
    let mut held_up = Vec::new();
    for &cell in &here {
        held_up.push(submit(&kept, cell).await);
    }
    let worker = worker(&cluster, folder.path());
    for job in &held_up {
        completes(&kept, job).await;
    }
    // Frozen, so that its one slot is not with a job of the node that dies: what has been drawn is
    // settled there however long that takes.
    worker.signal(Signal::SIGSTOP);
    for job in &mut held_up {
        *job = submit(&kept, job.cell()).await;
    }
    // Nobody can be promoted until we say so.
    let heir = Pid::from_raw(cluster.replicas[dead].pid().cast_signed());
    kill(heir, Signal::SIGSTOP).unwrap();
    cluster.masters[dead].kill();
    worker.signal(Signal::SIGCONT);
    for _ in 0..2 {
        for &cell in &elsewhere {
            completes(&kept, &submit(&kept, cell).await).await;
        }
    }
    kill(heir, Signal::SIGCONT).unwrap();
    for job in &held_up {
        completes(&kept, job).await;
    }
}
