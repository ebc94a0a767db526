//! Dead letters: bounded, listed, shown, retried, purged; and nothing else is touched.

use std::time::Duration;

use framewire_shared::domain::{Cell, ErrorCode, Failure, JobId, SessionId, State};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::codec::{Purged, Retried, Submitted};
use framewire_shared::store::dead::Shown;
use framewire_shared::testing::submission;
use uuid::Uuid;

use crate::world::{START_MS, World, session};

const HOUR: Duration = Duration::from_secs(3_600);

async fn failed(world: &World, session: &SessionId) -> JobId {
    let job = world.submit(session).await;
    let lease = world.take().await.unwrap();
    let failure = Failure::new(ErrorCode::RateLimit, "slow down").detail("HTTP 429 from 10.0.0.1");
    world.store.fail(&lease, &failure, None).await.unwrap();
    job
}

async fn letters(world: &World) -> Vec<JobId> {
    let letters = world.store.dead_letters(Cell::FIRST, 100).await.unwrap();
    letters.into_iter().map(|letter| letter.job).collect()
}

#[tokio::test]
async fn the_newest_letters_stay_and_older_ones_than_the_retention_go() {
    let options = QueueOptions { dead_max: 3, retention: HOUR, ..QueueOptions::default() };
    let world = World::with_clock(options);
    world.slots(1).await;
    let mine = session();
    let mut all = Vec::new();
    for n in 0..5 {
        world.at(n * 1_000);
        all.push(failed(&world, &mine).await);
    }
    assert_eq!(letters(&world).await, [&all[4], &all[3], &all[2]].map(Clone::clone));
    world.at(3_000 + 3_600_000);
    let last = failed(&world, &mine).await;
    assert_eq!(letters(&world).await, [last, all[4].clone()]);
}

#[tokio::test]
async fn a_letter_tells_the_operator_what_the_user_is_not_told() {
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    let mine = session();
    let job = failed(&world, &mine).await;
    let [letter] = &world.store.dead_letters(Cell::FIRST, 10).await.unwrap()[..] else {
        panic!("not one letter");
    };
    let record = letter.record.as_ref().unwrap();
    assert_eq!((&letter.job, letter.failed_at), (&job, START_MS));
    assert_eq!((record.code, record.attempts), (ErrorCode::RateLimit, 1));
    assert_eq!((&*record.message, &*record.detail), ("slow down", "HTTP 429 from 10.0.0.1"));
    assert_eq!((&*record.session, &*record.stage), (mine.as_str(), "processing"));
    let Shown::Failed(fields) = world.store.dead_letter(&job).await.unwrap() else {
        panic!("not shown");
    };
    assert!(fields["input"].contains("a fox"));
}

#[tokio::test]
async fn a_retry_from_the_letters_takes_failed_jobs_only() {
    let world = World::new();
    world.slots(1).await;
    let mine = session();
    let job = failed(&world, &mine).await;
    assert_eq!(world.store.retry_dead(&job).await.unwrap(), Retried::Queued(1));
    assert_eq!(letters(&world).await, []);
    let refused = world.store.retry_dead(&job).await.unwrap();
    assert_eq!(refused, Retried::Refused(State::Queued));

    // Its user has cancelled it meanwhile, and may retry it; the operator's command may not.
    world.store.cancel(&job, "user").await.unwrap();
    let refused = world.store.retry_dead(&job).await.unwrap();
    assert_eq!(refused, Retried::Refused(State::Cancelled));
    assert_eq!(world.store.dead_letter(&job).await.unwrap(), Shown::NotFailed(State::Cancelled));
    assert_eq!(world.store.retry(&job).await.unwrap(), Retried::Queued(2));
    let nobody = JobId::new(Cell::FIRST, Uuid::now_v7());
    assert_eq!(world.store.retry_dead(&nobody).await.unwrap(), Retried::Missing);
    assert_eq!(world.store.dead_letter(&nobody).await.unwrap(), Shown::Missing);
}

#[tokio::test]
async fn a_purge_leaves_nothing_of_a_failed_job_and_its_request_may_come_again() {
    let world = World::new();
    world.slots(1).await;
    let mine = session();
    let job = JobId::new(Cell::FIRST, Uuid::now_v7());
    let mut new = submission(&job, &mine, &world.pool, "{}");
    new.idempotency = Some(("fox-1", "digest"));
    world.store.submit(&new).await.unwrap();
    let lease = world.take().await.unwrap();
    let failure = Failure::new(ErrorCode::Permanent, "no");
    world.store.fail(&lease, &failure, None).await.unwrap();

    assert_eq!(world.store.purge_dead(&job, Duration::ZERO).await.unwrap(), Purged::Purged);
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("*").query(&mut world.redis.connection()).unwrap();
    for key in &keys {
        let dump: Vec<u8> =
            redis::cmd("DUMP").arg(key).query(&mut world.redis.connection()).unwrap();
        let names = dump.windows(job.as_str().len()).any(|it| it == job.as_str().as_bytes());
        // The stream may tell of what is gone; its readers were told.
        assert!(key.contains(":stream:") || !names, "{key} still names it");
    }
    assert!(!keys.iter().any(|key| key.contains(":idem:") || key.ends_with(job.as_str())));
    assert_eq!(world.store.jobs(&mine, None, 10).await.unwrap().0, []);
    assert_eq!(world.store.purge_dead(&job, Duration::ZERO).await.unwrap(), Purged::Missing);

    let again = JobId::new(Cell::FIRST, Uuid::now_v7());
    new.id = &again;
    let answer = world.store.submit(&new).await.unwrap();
    assert!(matches!(answer, Submitted::Accepted { .. }), "{answer:?}");
}

#[tokio::test]
async fn a_purge_refuses_every_job_that_has_not_failed_and_every_letter_that_is_too_young() {
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    let mine = session();
    let (queued, ms) = (world.submit(&mine).await, Duration::ZERO);
    let refused = |state| Purged::Refused(state);
    assert_eq!(world.store.purge_dead(&queued, ms).await.unwrap(), refused(State::Queued));
    let lease = world.take().await.unwrap();
    assert_eq!(world.store.purge_dead(&queued, ms).await.unwrap(), refused(State::Processing));
    world.finish(&lease).await;
    assert_eq!(world.store.purge_dead(&queued, ms).await.unwrap(), refused(State::Completed));

    let job = failed(&world, &mine).await;
    world.at(3_599_999);
    assert_eq!(world.store.purge_dead(&job, HOUR).await.unwrap(), Purged::Younger(START_MS));
    world.at(3_600_000);
    assert_eq!(world.store.purge_dead(&job, HOUR).await.unwrap(), Purged::Purged);
}

#[tokio::test]
async fn a_letter_whose_record_has_expired_is_listed_and_can_be_purged() {
    let world = World::new();
    world.slots(1).await;
    let job = failed(&world, &session()).await;
    let () = redis::cmd("DEL")
        .arg(format!("fw:{{c0}}:job:{job}"))
        .query(&mut world.redis.connection())
        .unwrap();
    let letters = world.store.dead_letters(Cell::FIRST, 10).await.unwrap();
    assert_eq!((letters.len(), &letters[0].record), (1, &None));
    assert_eq!(world.store.purge_dead(&job, Duration::ZERO).await.unwrap(), Purged::Purged);
    assert_eq!(world.store.dead_letters(Cell::FIRST, 10).await.unwrap(), []);
}
