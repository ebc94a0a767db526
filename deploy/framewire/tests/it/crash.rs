//! Kills, and what comes after: the launcher starts it again, and no job and no event is lost.

use std::fs::File;
use std::io::Write;
use std::process::Command;

use crate::client::Client;
use crate::events::{assert_dense, durable, positions};
use crate::launcher::{Launcher, runs};
use crate::tidy::redis_cli;

#[tokio::test]
async fn a_job_whose_only_worker_is_killed_finishes_on_the_next_without_burning_an_attempt() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    let id = client.submit("a bridge in fog", 20, 100).await;
    events.until("progress").await;

    launcher.kill_child("worker-1");

    let seen = events.until("completed").await;
    let again = seen.iter().find(|event| event.name == "queued").expect("it is queued again");
    assert_eq!(again.data["reason"], "lease_lapsed");
    let job = client.finished(&id).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["attempt_count"], 1, "the lost one is not counted");
    let key = format!("fw:{{c0}}:job:{id}");
    assert_eq!(redis_cli(&launcher.socket(), &["HGET", &key, "losses"]), "1");
    client.png(&job).await;
}

#[tokio::test]
async fn a_stream_whose_gateway_is_killed_resumes_and_shows_each_event_once() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    client.submit("a market at noon", 20, 100).await;
    let mut seen = events.until("started").await;
    launcher.kill_child("gateway");
    // The browser's part: read what still comes, and come back with the last id when it has ended.
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    let cursor = seen.iter().rev().find_map(|event| event.id.clone()).expect("a durable event");
    launcher.wait_for("listening on http://", 2);
    let mut events = client.events(Some(&cursor)).await;
    let sync = events.next().await.expect("a stream");
    assert_eq!(sync.data["mode"], "resumed", "{sync:?}");
    seen.extend(events.until("completed").await);

    let told = durable(&seen);
    let milestones: Vec<_> = told.iter().filter(|name| **name != "preview").collect();
    assert_eq!(milestones, [&"queued", &"started", &"frame-ready", &"completed"]);
    assert_dense(&positions(&seen));
}

#[tokio::test]
async fn jobs_finish_and_their_stream_goes_on_when_redis_was_killed_under_them() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    let running = client.submit("a harbour", 20, 100).await;
    let waiting = client.submit("a hill", 2, 10).await;
    let mut seen = events.until("progress").await;

    launcher.kill_child("redis");

    // The stream is the sign that it is back: a request may be told 503 until then.
    seen.extend(events.until("completed").await);
    seen.extend(events.until("completed").await);
    assert_dense(&positions(&seen));
    for id in [running, waiting] {
        let job = client.finished(&id).await;
        assert_eq!(job["status"], "completed", "{job}");
        client.png(&job).await;
    }
}

#[tokio::test]
async fn nothing_survives_a_launcher_that_is_killed_and_the_next_one_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let mut launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    let id = client.submit("a forest", 20, 100).await;
    events.until("progress").await;
    let children = ["redis", "gateway", "worker-1"].map(|name| launcher.pid_of(name));

    launcher.kill();
    if cfg!(target_os = "linux") {
        // Children print into pipes of the launcher, so only `runs` can tell; the next launcher
        // waits for those that need a moment.
        drop(Launcher::start(data.path()));
        assert_eq!(children.map(runs), [false; 3]);
    }

    let next = Launcher::start(data.path());
    let client = client.at(&next.url);
    assert_eq!(client.finished(&id).await["status"], "completed");
}

#[test]
fn a_process_that_a_killed_launcher_left_is_stopped_before_anything_is_started() {
    let data = tempfile::tempdir().unwrap();
    let run = data.path().join("run");
    std::fs::create_dir(&run).unwrap();
    // What is left where the kernel doesn't tell children of their parent's end: a process whose
    // standard input is its locked file. `tail` on nothing stays until it is signalled.
    let file = File::create(run.join("worker-1.pid")).unwrap();
    file.try_lock().unwrap();
    let mut left = Command::new("tail")
        .args(["-f", "/dev/null"])
        .stdin(file.try_clone().unwrap())
        .spawn()
        .unwrap();
    writeln!(&file, "{}", left.id()).unwrap();
    drop(file);
    // One that was left by a process that is gone is only a file.
    std::fs::write(run.join("worker-2.pid"), "1\n").unwrap();

    let launcher = Launcher::start(data.path());

    launcher.wait_for(&format!("stopping worker-1 (process {})", left.id()), 1);
    assert!(left.wait().unwrap().code().is_none(), "ended by a signal");
    assert!(!run.join("worker-2.pid").exists());
}
