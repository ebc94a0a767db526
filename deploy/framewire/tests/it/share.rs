//! The very same asked for twice, by two users: one drawing, two frames, whoever is killed.

use serde_json::{Value, json};

use crate::client::Client;
use crate::events::{assert_dense, durable, positions};
use crate::launcher::Launcher;
use crate::operate::framewire;

/// A request that shares, and takes a while.
fn same(steps: u32, step_ms: u32) -> Value {
    let input = json!({"prompt": "a lighthouse", "width": 128, "height": 64, "steps": steps,
        "step_ms": step_ms, "seed": 7});
    json!({"model": "builtin", "input": input, "cache": true})
}

#[tokio::test]
async fn two_users_see_a_life_of_their_own_of_one_drawing_even_if_its_worker_is_killed() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let (ann, ben) = (Client::new(&launcher.url).await, Client::new(&launcher.url).await);
    let (mut hers, mut his) = (ann.listen().await, ben.listen().await);
    let first = ann.submit_body(&same(20, 100)).await;
    hers.until("progress").await;
    let second = ben.submit_body(&same(20, 100)).await;
    his.until("queued").await;
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(0), "{said}");

    launcher.kill_child("worker-1");

    hers.until("completed").await;
    let seen = his.until("completed").await;
    assert_eq!(durable(&seen), ["frame-ready", "completed"]);
    assert_dense(&positions(&seen));
    assert!(seen.iter().all(|event| event.data["job"] != first.as_str()), "another's job");
    let (drawn, given) = (ann.finished(&first).await, ben.finished(&second).await);
    assert_eq!((&drawn["attempt_count"], &drawn["cached"]), (&json!(1), &json!(false)));
    assert_eq!((&given["attempt_count"], &given["cached"]), (&json!(0), &json!(true)));
    assert_eq!(ann.png(&drawn).await, ben.png(&given).await);

    // Who comes later is answered at once, and sees the same.
    let third = ben.answered(&same(20, 100)).await;
    assert_eq!(durable(&his.until("completed").await), ["queued", "frame-ready", "completed"]);
    assert_eq!(ben.png(&third).await, ann.png(&drawn).await);
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn a_user_who_cancels_a_shared_drawing_leaves_it_to_the_other() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let (ann, ben) = (Client::new(&launcher.url).await, Client::new(&launcher.url).await);
    let (mut hers, mut his) = (ann.listen().await, ben.listen().await);
    let first = ann.submit_body(&same(20, 50)).await;
    hers.until("progress").await;
    let second = ben.submit_body(&same(20, 50)).await;
    ann.cancel(&first).await;
    hers.until("cancelled").await;
    let seen = his.until("completed").await;
    assert!(durable(&seen).contains(&"started"), "it draws for itself now: {seen:?}");
    let job = ben.finished(&second).await;
    assert_eq!((&job["status"], &job["cached"]), (&json!("completed"), &json!(false)));
    ben.png(&job).await;
    assert_eq!(ann.finished(&first).await["status"], "cancelled");
}
