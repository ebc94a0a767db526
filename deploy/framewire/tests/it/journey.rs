//! The whole path of a job.

use crate::client::Client;
use crate::events::{assert_dense, durable, is_of_a_job, positions};
use crate::launcher::Launcher;

#[tokio::test]
async fn a_job_is_seen_from_queued_to_completed_and_its_frame_decodes() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.events(None).await;
    assert_eq!(events.next().await.unwrap().name, "sync", "always first");

    let id = client.submit("a lighthouse at dusk", 8, 30).await;
    let seen = events.until("completed").await;

    let told = durable(&seen);
    let milestones: Vec<_> = told.iter().filter(|name| **name != "preview").collect();
    assert_eq!(milestones, [&"queued", &"started", &"frame-ready", &"completed"]);
    let progress = seen.iter().filter(|event| event.name == "progress");
    assert!(progress.clone().count() > 0, "steps are seen");
    assert!(progress.clone().all(|event| event.id.is_none()), "and cost no cursor");
    let mut of_jobs = seen.iter().filter(|event| is_of_a_job(event));
    assert!(of_jobs.all(|event| event.data["job"] == id.as_str()));
    assert_dense(&positions(&seen));

    let job = client.finished(&id).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["attempt_count"], 1);
    client.png(&job).await;
}
