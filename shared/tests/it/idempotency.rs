//! One key, one job.

use framewire_shared::domain::{Cell, JobId, SessionId};
use framewire_shared::store::codec::Submitted;
use framewire_shared::testing::{prompt, submission};
use uuid::Uuid;

use crate::world::{World, session};

async fn submit(world: &World, who: &SessionId, key: &str, digest: &str) -> (JobId, Submitted) {
    let id = JobId::new(Cell::FIRST, Uuid::now_v7());
    let input = prompt("x");
    let mut new = submission(&id, who, &world.pool, &input);
    new.idempotency = Some((key, digest));
    let answer = world.store.submit(&new).await.unwrap();
    (id, answer)
}

#[tokio::test]
async fn fifty_concurrent_submits_under_one_key_make_one_job() {
    let world = World::new();
    let mine = session();
    let all = (0..50).map(|_| submit(&world, &mine, "k", "d"));
    let answers = futures::future::join_all(all).await;
    let accepted: Vec<&JobId> = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Submitted::Accepted { .. }))
        .map(|(id, _)| id)
        .collect();
    let [first] = accepted[..] else { panic!("{} jobs", accepted.len()) };
    let replayed = Submitted::Replayed(first.clone());
    assert_eq!(answers.iter().filter(|(_, answer)| *answer == replayed).count(), 49);
    assert_eq!(world.events(&mine).await, ["queued"]);
}

#[tokio::test]
async fn a_key_is_bound_to_its_request_and_to_its_session() {
    let world = World::new();
    let (mine, other) = (session(), session());
    let (first, _) = submit(&world, &mine, "k", "d").await;
    let reused = submit(&world, &mine, "k", "e").await.1;
    assert!(matches!(reused, Submitted::KeyReused(job, _) if job == first));
    let (_, answer) = submit(&world, &other, "k", "d").await;
    assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
}

#[tokio::test]
async fn a_key_can_be_asked_for_what_a_submit_would_answer() {
    let world = World::new();
    let (mine, other) = (session(), session());
    let ask = async |who: &SessionId, digest: &str| {
        world.store.submitted_under(who, ("k", digest), ("builtin", false)).await.unwrap()
    };
    assert_eq!(ask(&mine, "d").await, None);
    let (first, _) = submit(&world, &mine, "k", "d").await;
    assert_eq!(ask(&mine, "d").await, Some(Submitted::Replayed(first)));
    assert_eq!(ask(&mine, "e").await, Some(submit(&world, &mine, "k", "e").await.1));
    assert_eq!(ask(&other, "d").await, None);
}
