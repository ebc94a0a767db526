//! Several cells on several nodes: each call goes to the node of its cell, and follows it.

use std::time::Duration;

use framewire_shared::domain::{Cell, JobId, Pool, SessionId, State, Tenant, WorkerId};
use framewire_shared::store::codec::{Claim, Submitted};
use framewire_shared::store::operate::Unfit;
use framewire_shared::store::queue::Lease;
use framewire_shared::store::stream::Heard;
use framewire_shared::store::{QueueOptions, RedisOptions, Store, StoreError};
use framewire_shared::testing::{RedisCluster, RedisServer, prompt, submission, until};
use uuid::Uuid;

const CELLS: u16 = 12;
const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn pool() -> Pool {
    "default".parse().unwrap()
}

/// Submits a job of a session of its own; gives both if it was accepted.
pub(crate) async fn submit(store: &Store, cell: Cell) -> Result<(SessionId, JobId), StoreError> {
    let session = SessionId::new(cell, Uuid::new_v4());
    let job = submit_as(store, &session).await?;
    Ok((session, job))
}

pub(crate) async fn submit_as(store: &Store, session: &SessionId) -> Result<JobId, StoreError> {
    let (id, input, pool) = (JobId::new(session.cell(), Uuid::now_v7()), prompt("a fox"), pool());
    let answer = store.submit(&submission(&id, session, &pool, &input)).await?;
    assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
    Ok(id)
}

/// Pops whatever is next in a cell, as long as it takes, and claims it.
pub(crate) async fn take(store: &Store, cell: Cell, worker: &WorkerId) -> Lease {
    let mut popper = store.popper(cell, &[pool()]);
    let hint = until("a popped job", async || popper.pop().await.ok().flatten()).await;
    match store.claim(&hint.job, worker, "builtin").await.unwrap() {
        Claim::Claimed(claimed) => Lease { job: hint.job, fence: claimed.fence },
        Claim::Gone(state) => panic!("{} is gone: {state:?}", hint.job),
    }
}

#[tokio::test]
async fn a_job_of_any_cell_is_submitted_heard_of_popped_and_claimed_on_the_node_of_its_cell() {
    let cluster = RedisCluster::start(3);
    let (store, worker) = (cluster.store(CELLS), WorkerId::new(Uuid::new_v4()));
    store.check_all().await.unwrap();
    for cell in store.cells() {
        let session = store.create_session_in(cell, &Tenant::public()).await.unwrap();
        assert_eq!(store.verify_token(&session.token).await.unwrap().unwrap().0, session.id);
        let (mut sink, mut stream) = store.tail(cell).await.unwrap();
        sink.subscribe(std::slice::from_ref(&session.id)).await.unwrap();
        store.heartbeat(cell, &pool(), &worker, 1, HOUR).await.unwrap();
        let job = submit_as(&store, &session.id).await.unwrap();
        let heard = stream.next().await;
        assert!(matches!(&heard, Some(Heard::Event(who, _)) if *who == session.id), "{heard:?}");
        assert_eq!(take(&store, cell, &worker).await.job, job);
        let owner = &cluster.masters[cluster.master_of(cell)];
        assert_eq!(owner.say(&format!("EXISTS fw:{{{cell}}}:job:{job}")), Ok(1), "{cell}");
    }
    for cell in store.cells() {
        store.sweep(cell, &pool()).await.unwrap();
    }
    let report = store.examine(Default::default()).await.unwrap();
    assert!(report.is_healthy(), "{:#?}", report.findings);
    assert_eq!(report.jobs, usize::from(CELLS), "the doctor has looked at all nodes");
}

#[tokio::test]
async fn a_master_that_dies_takes_only_its_own_cells_away_and_no_accepted_job() {
    let mut cluster = RedisCluster::start_with_replicas(3);
    let options = RedisOptions {
        replicas: 1,
        call_timeout: Duration::from_secs(1),
        ..cluster.options(CELLS)
    };
    let kept = Store::open(options.clone(), QueueOptions::default()).unwrap();
    let mut accepted = Vec::new();
    for cell in kept.cells() {
        accepted.push(submit(&kept, cell).await.unwrap().1);
    }
    let dead = cluster.master_of(Cell::FIRST);
    cluster.masters[dead].kill();

    let its = |cell: &Cell| cluster.master_of(*cell) == dead;
    for cell in kept.cells().iter().filter(|cell| !its(cell)) {
        accepted.push(submit(&kept, *cell).await.expect("another node's cell goes on").1);
    }
    // The promoted one has no replica of its own.
    let store =
        Store::open(RedisOptions { replicas: 0, ..options }, QueueOptions::default()).unwrap();
    for cell in store.cells().iter().filter(|cell| its(cell)) {
        until("a promoted replica", async || submit(&store, *cell).await.ok()).await;
    }
    for job in &accepted {
        let row = store.job(job).await.unwrap();
        assert_eq!(row.expect("an accepted job").job.state, State::Queued);
    }
}

#[tokio::test]
async fn the_doctor_tells_of_a_node_that_is_gone_and_looks_at_the_others() {
    let mut cluster = RedisCluster::start(3);
    let options = RedisOptions { call_timeout: Duration::from_secs(1), ..cluster.options(CELLS) };
    let store = Store::open(options, QueueOptions::default()).unwrap();
    for cell in store.cells() {
        submit(&store, cell).await.unwrap();
    }
    let dead = cluster.master_of(Cell(1));
    cluster.masters[dead].kill();
    let report = store.examine(Default::default()).await.unwrap();
    let gone = report.wrongs().find(|wrong| wrong.kind == "unreachable");
    assert_eq!(gone.unwrap().what, "the node of c1, c5, c9 does not answer");
    assert_eq!(report.jobs, 9);
}

#[tokio::test]
async fn a_cell_that_moved_to_another_node_is_followed_and_its_listeners_and_poppers_leave_the_old()
{
    let cluster = RedisCluster::start_with_replicas(2);
    let (store, worker) = (cluster.store(1), WorkerId::new(Uuid::new_v4()));
    let cell = Cell::FIRST;
    store.heartbeat(cell, &pool(), &worker, 2, HOUR).await.unwrap();
    let mut popper = store.popper(cell, &[pool()]);
    popper.connect().await.unwrap();
    let (session, _) = submit(&store, cell).await.unwrap();
    take(&store, cell, &worker).await;
    let (mut sink, mut stream) = store.tail(cell).await.unwrap();
    sink.subscribe(std::slice::from_ref(&session)).await.unwrap();

    // In good order: the old master lives, and is a replica from now on.
    let heir = &cluster.replicas[cluster.master_of(cell)];
    let () = heir.say("CLUSTER FAILOVER").unwrap();
    until("a fail-over", async || {
        let role: String = heir.say("INFO replication").unwrap();
        role.contains("role:master").then_some(())
    })
    .await;

    let job = until("a submit", async || submit_as(&store, &session).await.ok()).await;
    assert_eq!(heir.say(&format!("EXISTS fw:{{c0}}:job:{job}")), Ok(1));
    until("the tail's end", async || match stream.next().await {
        None => Some(()),
        Some(_) => None,
    })
    .await;
    let (mut sink, mut stream) = store.tail(cell).await.unwrap();
    sink.subscribe(std::slice::from_ref(&session)).await.unwrap();
    let hint = until("a popped job", async || popper.pop().await.ok().flatten()).await;
    assert_eq!(hint.job, job);
    store.claim(&job, &worker, "builtin").await.unwrap();
    assert!(matches!(stream.next().await, Some(Heard::Event(who, _)) if who == session));
}

#[tokio::test]
async fn a_submit_that_too_few_replicas_have_is_unavailable_and_found_by_its_key_afterwards() {
    let redis = RedisServer::start();
    let options =
        RedisOptions { replicas: 1, call_timeout: Duration::from_millis(400), ..redis.options() };
    let demanding = Store::open(options, QueueOptions::default()).unwrap();
    let session = SessionId::new(Cell::FIRST, Uuid::new_v4());
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let (input, pool) = (prompt("a fox"), pool());
    let submit = async |store: &Store, id: Uuid| {
        let id = JobId::new(Cell::FIRST, id);
        let plain = submission(&id, &session, &pool, &input);
        let key = Some(("once", "digest"));
        store
            .submit(&framewire_shared::store::queue::Submission { idempotency: key, ..plain })
            .await
    };
    let error = submit(&demanding, first).await.unwrap_err();
    let StoreError::Unavailable(why) = error else { panic!("{error:?}") };
    assert!(why.to_string().contains("0 of 1 replicas (redis.replicas)"), "{why}");
    let error = submit(&demanding, second).await;
    assert!(matches!(error, Err(StoreError::Unavailable(_))), "the replay is not kept either");
    let found = submit(&redis.store(), second).await.unwrap();
    assert_eq!(found, Submitted::Replayed(JobId::new(Cell::FIRST, first)));
}

#[tokio::test]
async fn a_process_with_another_number_of_cells_is_refused_and_told_what_to_do() {
    let redis = RedisServer::start();
    let with = |cells| {
        let options = RedisOptions { cells: Some(cells), ..redis.options() };
        Store::open(options, QueueOptions::default()).unwrap()
    };
    with(4).check_all().await.unwrap();
    with(4).check_all().await.unwrap();
    let refusal = async |cells| {
        let unfit = with(cells).check_fitness(Cell::FIRST).await.unwrap_err();
        assert!(matches!(unfit, Unfit::Cells { recorded: 4, .. }), "{unfit:?}");
        unfit.to_string()
    };
    assert!(refusal(3).await.ends_with("set redis.cells = 4"));
    assert!(refusal(6).await.contains("HSET fw:{c0}:config cells 6"));
    let report = with(3).examine(Default::default()).await.unwrap();
    assert!(report.wrongs().any(|wrong| wrong.kind == "cells"), "{:#?}", report.findings);

    // As the words say.
    let () = redis::cmd("HSET")
        .arg(&["fw:{c0}:config", "cells", "6"])
        .query(&mut redis.connection())
        .unwrap();
    with(6).check_all().await.unwrap();
}

#[tokio::test]
async fn a_token_of_a_cell_that_nobody_serves_is_nobodys() {
    let redis = RedisServer::start();
    let options = RedisOptions { cells: Some(2), ..redis.options() };
    let two = Store::open(options, QueueOptions::default()).unwrap();
    let session = two.create_session_in(Cell(1), &Tenant::public()).await.unwrap();
    assert_eq!(two.verify_token(&session.token).await.unwrap().unwrap().0, session.id);
    assert_eq!(redis.store().verify_token(&session.token).await.unwrap(), None);
}

#[tokio::test]
async fn the_shares_of_a_number_sum_up_to_it_and_none_starves() {
    let options = RedisOptions { cells: Some(5), ..RedisOptions::default() };
    let store = Store::open(options, QueueOptions::default()).unwrap();
    let shares = |whole| -> Vec<u32> {
        store.cells().into_iter().map(|cell| store.share_of(whole, cell)).collect()
    };
    assert_eq!(shares(13), [3, 3, 3, 2, 2]);
    assert_eq!(shares(5), [1; 5]);
    assert_eq!(shares(2), [1; 5], "a cell without a share would never be served");
    assert_eq!(shares(0), [0; 5], "nothing is nothing everywhere");
}
