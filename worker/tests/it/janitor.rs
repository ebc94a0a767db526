//! What is removed of the pictures, and what is not.

use std::time::{Duration, SystemTime};

use framewire_shared::domain::{Cell, FileId, FrameInput, JobId, Place};
use framewire_shared::store::blobs::inputs::JobInput;
use framewire_worker::upkeep::janitor::Janitor;
use uuid::Uuid;

use crate::world::{World, png};

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test]
async fn what_a_job_starts_from_stays_for_as_long_as_its_record_and_no_longer() {
    let world = World::new();
    let waiting = world.submit_input(&FrameInput::new("x")).await;
    let refused = JobId::new(Cell::FIRST, Uuid::now_v7());
    let elsewhere = JobId::new(Cell(7), Uuid::now_v7());
    for job in [&waiting, &refused, &elsewhere] {
        let own = JobInput { job, place: Place::Image };
        world.blobs.put(&own, png(64, 64).bytes).await.unwrap();
    }
    let (store, blobs) = (world.store.clone(), world.blobs.clone());
    let janitor = Janitor { blobs, store, age: Duration::from_secs(60) };
    let kept = async || world.blobs.jobs_with_inputs().await.unwrap();
    // A moment after it was made, a job's record may be on its way.
    assert_eq!(janitor.tick(SystemTime::now()).await.unwrap(), 0);
    assert_eq!(kept().await.len(), 3);
    // A job that waits for a month keeps its pictures.
    assert_eq!(janitor.tick(SystemTime::now() + 30 * DAY).await.unwrap(), 2);
    assert_eq!(kept().await.into_iter().collect::<Vec<_>>(), [waiting.clone()]);
    world.store.cancel(&waiting, "user").await.unwrap();
    assert_eq!(janitor.tick(SystemTime::now() + 30 * DAY).await.unwrap(), 0, "it may be retried");
    world.store.delete(&waiting, &world.session).await.unwrap();
    assert_eq!(janitor.tick(SystemTime::now() + 30 * DAY).await.unwrap(), 1);
    assert!(kept().await.is_empty());
}

#[tokio::test]
async fn a_file_goes_when_its_record_has_and_a_jobs_copy_of_it_stays() {
    let world = World::new();
    let job = world.submit_input(&FrameInput::new("x")).await;
    let file = FileId::new(Cell::FIRST, Uuid::new_v4());
    world.blobs.put(&file, png(64, 64).bytes).await.unwrap();
    let own = JobInput { job: &job, place: Place::Image };
    assert!(world.blobs.copy(&file, &own).await.unwrap());
    let (store, blobs) = (world.store.clone(), world.blobs.clone());
    // Frames are removed far sooner here.
    let janitor = Janitor { blobs, store, age: Duration::from_secs(60) };
    assert_eq!(janitor.tick(SystemTime::now() + DAY).await.unwrap(), 0);
    assert!(world.blobs.size(&file).await.unwrap().is_some());
    assert_eq!(janitor.tick(SystemTime::now() + 2 * DAY).await.unwrap(), 1);
    assert!(world.blobs.size(&file).await.unwrap().is_none());
    assert!(world.blobs.size(&own).await.unwrap().is_some());
}

#[tokio::test]
async fn while_redis_is_away_nothing_is_taken_for_gone() {
    let world = World::new();
    let job = JobId::new(Cell::FIRST, Uuid::now_v7());
    let own = JobInput { job: &job, place: Place::Mask };
    world.blobs.put(&own, png(64, 64).bytes).await.unwrap();
    let (store, blobs) = (world.store.clone(), world.blobs.clone());
    let janitor = Janitor { blobs, store, age: DAY };
    drop(world.redis);
    assert!(janitor.tick(SystemTime::now() + 2 * DAY).await.is_err());
    assert!(world.blobs.size(&own).await.unwrap().is_some());
}
