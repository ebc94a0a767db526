//! A stop, and the next start.

use crate::client::Client;
use crate::launcher::{Launcher, runs, up};

#[tokio::test]
async fn jobs_that_were_left_at_a_stop_finish_after_the_next_start() {
    let data = tempfile::tempdir().unwrap();
    let mut launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    // One slot, and a grace of one second: the first is handed back, the second never started.
    let running = client.submit("a glacier", 30, 100).await;
    let waiting = client.submit("a desert", 2, 10).await;
    events.until("progress").await;

    assert!(launcher.stop().success());

    let next = Launcher::start(data.path());
    let client = client.at(&next.url);
    for id in [running, waiting] {
        let job = client.finished(&id).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["attempt_count"], 1, "a hand-back burns none: {job}");
        client.png(&job).await;
    }
}

#[tokio::test]
async fn a_stop_ends_every_process_and_leaves_no_file_of_one() {
    let data = tempfile::tempdir().unwrap();
    let mut launcher = Launcher::start_with(up(data.path()).args(["--workers", "2"]), data.path());
    let names = ["redis", "gateway", "worker-1", "worker-2"];
    let children = names.map(|name| launcher.pid_of(name));
    assert_eq!(children.map(runs), [true; 4]);

    assert!(launcher.stop().success());

    assert_eq!(children.map(runs), [false; 4]);
    assert_eq!(std::fs::read_dir(data.path().join("run")).unwrap().count(), 0);
    assert!(!launcher.socket().exists());
}

#[tokio::test]
async fn a_second_ctrl_c_does_not_wait_for_the_frame_and_loses_no_job() {
    let data = tempfile::tempdir().unwrap();
    // Longer than any test may take: only the second signal can end it.
    let mut patient = up(data.path());
    patient.env("FRAMEWIRE_WORKER_DRAIN_S", "600");
    let mut launcher = Launcher::start_with(&mut patient, data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    let id = client.submit("a cathedral", 20, 5_000).await;
    events.until("progress").await;

    launcher.interrupt();
    launcher.wait_for("draining", 2);
    assert!(launcher.stop().success());

    let next = Launcher::start(data.path());
    let client = client.at(&next.url);
    let job = client.job(&id).await;
    assert!(job["finished_at"].is_null(), "{job}");
    client.cancel(&id).await;
    assert_eq!(client.finished(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn a_directory_of_any_name_and_length_will_do() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join(format!("it's a #1 100% \"dïr\" {}", "x".repeat(120)));
    let launcher = Launcher::start(&data);
    let client = Client::new(&launcher.url).await;
    let id = client.submit("a room", 1, 0).await;
    let job = client.finished(&id).await;
    assert_eq!(job["status"], "completed");
    client.png(&job).await;
    assert!(!launcher.socket().exists(), "its path would be too long for a socket");
}
