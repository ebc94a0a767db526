//! What a job starts from, on its way to the provider.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use framewire_shared::domain::guard::options::PERMIT_SLACK;
use framewire_shared::domain::{
    ArtifactId, CatalogueId, Cell, ErrorCode, Failure, FailureKind, FileId, FrameInput,
    InputPicture, Job, JobId, Place, SessionId, State, Strength,
};
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::blobs::inputs::JobInput;
use framewire_shared::store::codec::Cancel;
use framewire_shared::store::queue::Submission;
use framewire_shared::testing::{submission, until};
use framewire_worker::provider::Source;
use framewire_worker::provider::fetch::FetchOptions;
use framewire_worker::runner::{Runner, Settled};
use framewire_worker::source::Sources;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::scripted::{Play, Server};
use crate::world::{Act, Scripted, World, frame, png};

const LONG: Duration = Duration::from_secs(60);

fn input(image: InputPicture) -> FrameInput {
    let new = FrameInput::new("x");
    FrameInput { width: 64, height: 64, seed: Some(1), image: Some(image), ..new }
}

fn at(server: &Server, path: &str) -> InputPicture {
    format!("{}/{path}", server.url).parse().unwrap()
}

fn a_file() -> InputPicture {
    InputPicture::File(FileId::new(Cell::FIRST, Uuid::new_v4()))
}

fn size_of(source: &Source) -> (u32, u32) {
    let picture = image::load_from_memory(&source.picture.bytes).unwrap();
    (picture.width(), picture.height())
}

/// Runs one attempt of a new job that starts from a picture.
async fn attempt(
    world: &World,
    runner: &Runner,
    input: &FrameInput,
) -> (JobId, Settled, Arc<Scripted>) {
    world.beat().await;
    let job = world.submit_input(input).await;
    let provider = Scripted::new([vec![frame(0)]]);
    let settled = runner.run(job.clone(), world.claim(&job).await, provider.clone()).await;
    (job, settled, provider)
}

/// Runs an attempt whose picture can't be had; gives the job as it is then.
async fn fails(input: &FrameInput, settled: Settled) -> Job {
    let world = World::new();
    let (job, its, provider) = attempt(&world, &world.runner(LONG), input).await;
    assert_eq!(its, settled);
    assert_eq!(provider.calls.load(Ordering::SeqCst), 0, "the provider has been called");
    world.job(&job).await
}

fn assert_failed(job: &Job, word: &str) {
    assert_eq!((job.state, job.error_code), (State::Failed, Some(ErrorCode::Permanent)));
    let message = job.error_message.as_deref().unwrap();
    assert!(message.contains("input.image") && message.contains(word), "{message}");
}

#[tokio::test]
async fn what_is_kept_for_a_job_reaches_the_provider_in_the_frames_size() {
    let world = World::new();
    world.beat().await;
    let mut input = input(a_file());
    (input.mask, input.strength) = (Some(a_file()), Strength::new(0.25));
    let job = world.submit_input(&input).await;
    for (place, picture) in [(Place::Image, png(200, 100)), (Place::Mask, png(100, 50))] {
        world.blobs.put(&JobInput { job: &job, place }, picture.bytes).await.unwrap();
    }
    let provider = Scripted::new([vec![frame(0)]]);
    let claimed = world.claim(&job).await;
    let settled = world.runner(LONG).run(job, claimed, provider.clone()).await;
    assert_eq!(settled, Settled::Completed);
    let source = provider.sources.lock().unwrap().remove(0).expect("a source");
    assert_eq!((size_of(&source), source.strength), ((64, 64), 0.25));
    let mask = image::load_from_memory(&source.mask.unwrap().bytes).unwrap();
    assert_eq!((mask.width(), mask.color()), (64, image::ColorType::L8));
}

#[tokio::test]
async fn an_address_is_fetched_once_for_all_attempts_of_a_job() {
    let world = World::new();
    world.beat().await;
    let server = Server::always(200, png(80, 80).bytes).await;
    let job = world.submit_input(&input(at(&server, "x.png"))).await;
    let busy = Failure::new(ErrorCode::Temporary, "busy");
    let provider = Scripted::new([vec![Act::Fail(busy)], vec![frame(0)]]);
    let runner = world.runner(LONG);
    let claimed = world.claim(&job).await;
    let settled = runner.run(job.clone(), claimed, provider.clone()).await;
    assert_eq!(settled, Settled::Retrying);
    world.store.sweep_now(job.cell(), &world.pool).await.unwrap();
    let claimed = world.claim(&job).await;
    assert_eq!(runner.run(job, claimed, provider.clone()).await, Settled::Completed);
    assert_eq!(server.requests().len(), 1);
    let sources = provider.sources.lock().unwrap();
    assert!(sources.iter().all(|source| size_of(source.as_ref().unwrap()) == (64, 64)));
}

#[tokio::test]
async fn an_address_without_a_picture_fails_the_job_for_good() {
    let gone = Server::always(404, "not here").await;
    assert_failed(&fails(&input(at(&gone, "x.png")), Settled::Failed).await, "404");
    let page = Server::always(200, "<html>welcome</html>").await;
    assert_failed(&fails(&input(at(&page, "x.png")), Settled::Failed).await, "no picture");
    let cut = Server::always(200, png(64, 64).bytes.slice(..50)).await;
    assert_failed(&fails(&input(at(&cut, "x.png")), Settled::Failed).await, "decoded");
    let large = Server::start(|_| {
        Play::Flood(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec(), 99_999_999)
    })
    .await;
    assert_failed(
        &fails(&input(at(&large, "x.png")), Settled::Failed).await,
        "more than a picture",
    );
}

#[tokio::test]
async fn a_server_that_is_down_or_busy_is_asked_again_later() {
    let busy = Server::always(503, "busy").await;
    let job = fails(&input(at(&busy, "x.png")), Settled::Retrying).await;
    assert_eq!(job.state, State::Queued);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/x.png", listener.local_addr().unwrap());
    drop(listener);
    let job = fails(&input(nobody.parse().unwrap()), Settled::Retrying).await;
    assert_eq!(job.state, State::Queued);
}

#[tokio::test]
async fn an_address_inside_our_network_is_refused_before_it_is_asked() {
    let world = World::new();
    let server = Server::always(200, png(64, 64).bytes).await;
    let mut runner = world.runner(LONG);
    let guarded = FetchOptions { allow_http: true, allow_private: false };
    runner.sources = Sources::new(world.blobs.clone(), guarded).unwrap();
    let (job, settled, provider) = attempt(&world, &runner, &input(at(&server, "x.png"))).await;
    assert_eq!((settled, provider.calls.load(Ordering::SeqCst)), (Settled::Failed, 0));
    assert_failed(&world.job(&job).await, "private");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_picture_that_is_gone_fails_the_job_and_not_the_provider() {
    assert_failed(&fails(&input(a_file()), Settled::Failed).await, "gone");
}

#[tokio::test]
async fn a_cancelled_job_does_not_wait_for_its_picture() {
    let world = World::new();
    world.beat().await;
    let never = Arc::new(Notify::new());
    let server = Server::start({
        let never = never.clone();
        move |_| Play::After(never.clone(), Box::new(Play::new(200, &[], "")))
    })
    .await;
    let job = world.submit_input(&input(at(&server, "x.png"))).await;
    let claimed = world.claim(&job).await;
    let runner = world.runner(LONG);
    let cancel = async {
        until("the picture is asked for", async || server.requests().pop()).await;
        assert_eq!(world.store.cancel(&job, "user").await.unwrap(), Cancel::Cancelling);
        world.keeper.tick(Cell::FIRST).await.unwrap();
    };
    let provider = Scripted::new([]);
    let (settled, ()) = tokio::join!(runner.run(job.clone(), claimed, provider), cancel);
    assert_eq!(settled, Settled::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn picture_and_mask_together_are_waited_for_less_than_a_permit_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let options = FetchOptions { allow_http: true, allow_private: true };
    let sources = Sources::new(Blobs::on_disk(folder.path()).unwrap(), options).unwrap();
    let (late, never) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Server::start({
        let late = late.clone();
        move |request| {
            let sign = if request.path == "/x.png" { &late } else { &never };
            Play::After(sign.clone(), Box::new(Play::new(200, &[], png(64, 64).bytes)))
        }
    })
    .await;
    let began_at = tokio::time::Instant::now();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(9)).await;
        late.notify_one();
    });
    let job = JobId::new(Cell::FIRST, Uuid::now_v7());
    let mut input = input(at(&server, "x.png"));
    input.mask = Some(at(&server, "mask.png"));
    let failure = sources.of(&job, &input).await.unwrap_err();
    assert!(began_at.elapsed() <= PERMIT_SLACK / 2, "{:?}", began_at.elapsed());
    assert_eq!((failure.code, failure.kind), (ErrorCode::Temporary, FailureKind::Ours));
    assert!(failure.message.contains("input.mask"), "{failure:?}");
    // The picture came in time, and is there for the next attempt.
    let kept = Blobs::on_disk(folder.path()).unwrap();
    let kept = kept.read_whole(&JobInput { job: &job, place: Place::Image }).await.unwrap();
    assert!(kept.is_some());
}

#[tokio::test]
async fn a_frame_that_started_from_a_picture_is_not_published() {
    let world = World::new();
    world.beat().await;
    let job = JobId::new(Cell::FIRST, Uuid::now_v7());
    let input = serde_json::to_string(&input(a_file())).unwrap();
    let new = submission(&job, &world.session, &world.pool, &input);
    world.store.submit(&Submission { catalogue: true, ..new }).await.unwrap();
    let own = JobInput { job: &job, place: Place::Image };
    world.blobs.put(&own, png(64, 64).bytes).await.unwrap();
    let mut runner = world.runner(LONG);
    runner.catalogue.insert("builtin".into());
    let claimed = world.claim(&job).await;
    let settled = runner.run(job.clone(), claimed, Scripted::new([vec![frame(0)]])).await;
    assert_eq!(settled, Settled::Completed);
    let frame = &world.job(&job).await.artifacts[0];
    let frame: ArtifactId = frame.url.rsplit('/').next().unwrap().parse().unwrap();
    let published = CatalogueId::of(&frame).unwrap();
    assert_eq!(world.blobs.read_published(&published).await.unwrap(), None);
    let stranger = SessionId::new(Cell::FIRST, Uuid::new_v4());
    let shown = world.store.fallback(&stranger, "builtin", true).await.unwrap();
    assert_eq!(shown.url, "/v1/fallback.webp");
}
