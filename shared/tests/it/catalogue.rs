//! The newest frame of a model, shown to other sessions where that was agreed to, and to nobody else.

use std::time::Duration;

use framewire_shared::domain::artifact::ARTIFACTS_PATH;
use framewire_shared::domain::{
    CatalogueId, Cell, Event, Fallback, FallbackKind, JobId, SessionId, State,
};
use framewire_shared::store::QueueOptions;
use framewire_shared::store::codec::{Deleted, Submitted};
use framewire_shared::store::queue::{Lease, Made};
use framewire_shared::testing::{prompt, submission};
use uuid::Uuid;

use crate::world::{World, artifact, session};

const RETENTION_MS: u64 = 3_600_000;
/// How long before its end a frame is not told of any more.
const MARGIN_MS: u64 = 960_000;

fn world() -> World {
    let retention = Duration::from_millis(RETENTION_MS);
    World::with_clock(QueueOptions { retention, ..QueueOptions::default() })
}

/// Submits a job; gives it, and what it shows until it has a frame.
async fn submit(world: &World, session: &SessionId, catalogue: bool) -> (JobId, Fallback) {
    let (id, input) = (JobId::new(Cell::FIRST, Uuid::now_v7()), prompt("x"));
    let mut new = submission(&id, session, &world.pool, &input);
    new.catalogue = catalogue;
    match world.store.submit(&new).await.unwrap() {
        Submitted::Accepted { fallback, .. } => (id, fallback),
        answer => panic!("{answer:?}"),
    }
}

/// Completes the job that is next, as a worker that publishes; gives what it leaves to show others.
async fn complete(world: &World) -> (Lease, Fallback) {
    let lease = world.take().await.unwrap();
    world.store.advance(&lease, State::Generating).await.unwrap();
    world.store.advance(&lease, State::Uploading).await.unwrap();
    let frame = artifact(&lease);
    let name = frame.url.strip_prefix(ARTIFACTS_PATH).unwrap().parse().unwrap();
    let published = CatalogueId::of(&name).unwrap();
    let made = Made {
        frames: &[frame],
        announced: false,
        missing: &[],
        published: Some(&published),
        generate: Duration::ZERO,
        upload: Duration::ZERO,
    };
    world.store.complete_with(&lease, &made).await.unwrap();
    (lease, Fallback { url: published.url(), kind: FallbackKind::Catalogue })
}

async fn published(world: &World, session: &SessionId) -> (Lease, Fallback) {
    submit(world, session, true).await;
    complete(world).await
}

#[tokio::test]
async fn the_newest_frame_of_a_model_that_publishes_is_shown_to_new_sessions() {
    let world = world();
    world.slots(1).await;
    let (mine, other) = (session(), session());
    published(&world, &mine).await;
    let (lease, newest) = published(&world, &mine).await;
    let (waiting, shown) = submit(&world, &other, true).await;
    assert_eq!(shown, newest);
    assert!(!newest.url.contains(lease.job.as_str()), "{newest:?} leads to its job");
    let row = world.store.job(&waiting).await.unwrap().unwrap();
    assert_eq!(row.fallback, Some(newest.clone()));
    assert_eq!(world.store.fallback(&other, "builtin", true).await.unwrap(), newest);
    assert_eq!(world.store.fallback(&other, "another", true).await.unwrap(), Fallback::shipped());

    // Its own are nearer, and an end without a frame tells of it too.
    let own = world.store.fallback(&mine, "builtin", true).await.unwrap();
    assert_eq!(own, Fallback { url: artifact(&lease).url, kind: FallbackKind::Session });
    world.store.cancel(&waiting, "user").await.unwrap();
    let zero = "0-00000000".parse().unwrap();
    let events = world.store.replay(&other, Some(&zero)).await.unwrap().events;
    let event = Event::parse(events.last().unwrap()).unwrap();
    let data: serde_json::Value = serde_json::from_str(event.data).unwrap();
    assert_eq!(data["fallback"], serde_json::json!(newest));
}

#[tokio::test]
async fn nothing_is_published_or_shown_where_the_submit_did_not_agree() {
    let world = world();
    world.slots(1).await;
    let (mine, other) = (session(), session());
    submit(&world, &mine, false).await;
    complete(&world).await;
    assert_eq!(world.redis_cli(&["EXISTS", "fw:{c0}:catalogue"]), "0");
    assert_eq!(submit(&world, &other, true).await.1, Fallback::shipped());

    // What one model publishes is not shown by a gateway whose settings do not.
    complete(&world).await;
    assert_eq!(world.redis_cli(&["EXISTS", "fw:{c0}:catalogue"]), "1");
    let (waiting, shown) = submit(&world, &session(), false).await;
    assert_eq!(shown, Fallback::shipped());
    let row = world.store.job(&waiting).await.unwrap().unwrap();
    assert_eq!(row.fallback, Some(Fallback::shipped()));
    let alone = world.store.fallback(&session(), "builtin", false).await.unwrap();
    assert_eq!(alone, Fallback::shipped());
}

#[tokio::test]
async fn a_published_frame_is_not_told_of_when_it_may_be_gone_before_it_is_fetched() {
    let world = world();
    world.slots(1).await;
    let (_, newest) = published(&world, &session()).await;
    world.at(RETENTION_MS - MARGIN_MS);
    assert_eq!(submit(&world, &session(), true).await.1, newest);
    world.at(RETENTION_MS - MARGIN_MS + 1);
    assert_eq!(submit(&world, &session(), true).await.1, Fallback::shipped());
}

#[tokio::test]
async fn a_deleted_job_leaves_the_catalogue_and_takes_no_other_with_it() {
    let world = world();
    world.slots(1).await;
    let (mine, other) = (session(), session());
    let (older, _) = published(&world, &mine).await;
    let (newer, newest) = published(&world, &mine).await;
    assert_eq!(world.store.delete(&older.job, &mine).await.unwrap(), Deleted::Deleted);
    assert_eq!(submit(&world, &other, true).await.1, newest);
    assert_eq!(world.store.delete(&newer.job, &other).await.unwrap(), Deleted::Missing);
    assert_eq!(submit(&world, &other, true).await.1, newest);
    assert_eq!(world.store.delete(&newer.job, &mine).await.unwrap(), Deleted::Deleted);
    assert_eq!(submit(&world, &other, true).await.1, Fallback::shipped());
    assert_eq!(world.redis_cli(&["KEYS", "fw:{c0}:catalogue"]), "");
}
