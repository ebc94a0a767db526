//! One job's way through the scripts, with every event it leaves.

use std::time::Duration;

use framewire_shared::domain::{
    Artifact, Cell, JobId, MediaType, Pool, Priority, SessionId, State, WorkerId,
};
use framewire_shared::store::Store;
use framewire_shared::store::codec::{Claim, Completed, Noted, Submitted};
use framewire_shared::store::queue::Lease;
use framewire_shared::testing::{RedisServer, prompt, submission};
use uuid::Uuid;

fn pool() -> Pool {
    "default".parse().unwrap()
}

async fn frame(store: &Store, lease: &Lease) -> Noted {
    let artifact = Artifact {
        index: 0,
        url: format!("/v1/artifacts/{}-1-0.png", lease.job),
        content_type: MediaType::Png,
        width: 64,
        height: 64,
        bytes: 10,
        sha256: "00".into(),
        seed: 1,
    };
    store.announce_frame(lease, &[artifact]).await.unwrap()
}

#[tokio::test]
async fn a_job_goes_from_submit_to_completed_and_leaves_every_event_in_order() {
    let redis = RedisServer::start();
    let store = redis.store();
    let session = SessionId::new(Cell::FIRST, Uuid::new_v4());
    let job = JobId::new(Cell::FIRST, Uuid::now_v7());
    let worker = WorkerId::new(Uuid::new_v4());
    store
        .heartbeat(Cell::FIRST, &pool(), &worker, 1, Duration::from_secs(5))
        .await
        .unwrap();
    let mut popper = store.popper(&[pool()]).unwrap();

    let input = prompt("a fox");
    let answer = store
        .submit(&submission(&job, &session, &pool(), &input))
        .await
        .unwrap();
    assert!(
        matches!(
            answer,
            Submitted::Accepted {
                ahead: 0,
                wait_ms: Some(0),
                ..
            }
        ),
        "{answer:?}"
    );

    let hint = popper.pop().await.unwrap().expect("a job in the window");
    assert_eq!(hint.job, job);
    let Claim::Claimed(claimed) = store.claim(&job, &worker, "builtin").await.unwrap() else {
        panic!("not claimed")
    };
    assert_eq!(claimed.input, input);
    let lease = Lease {
        job: job.clone(),
        fence: claimed.fence,
    };
    assert_eq!(
        store.advance(&lease, State::Generating).await.unwrap(),
        Noted::Noted
    );
    assert_eq!(
        store.advance(&lease, State::Uploading).await.unwrap(),
        Noted::Noted
    );
    assert_eq!(frame(&store, &lease).await, Noted::Noted);
    let ms = Duration::from_millis(1);
    assert_eq!(
        store.complete(&lease, ms, ms).await.unwrap(),
        Completed::Completed
    );
    assert_eq!(
        store.complete(&lease, ms, ms).await.unwrap(),
        Completed::Completed
    );

    let row = store.job(&job).await.unwrap().unwrap();
    assert_eq!(
        (row.job.state, row.job.artifacts.len()),
        (State::Completed, 1)
    );
    let replay = store
        .replay(&session, Some(&"0-aaaaaaaa".parse().unwrap()))
        .await
        .unwrap();
    let kinds: Vec<&str> = replay
        .events
        .iter()
        .map(|event| event.split(' ').nth(2).unwrap())
        .collect();
    assert_eq!(kinds, ["queued", "started", "frame-ready", "completed"]);
    assert_eq!(store.snapshot(&session).await.unwrap().jobs, []);
    assert_eq!(Priority::ALL.len(), 3);
}
