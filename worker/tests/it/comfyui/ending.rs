//! Stops, deaths, and jobs that are continued.

use std::time::Instant;

use framewire_shared::domain::ErrorCode;
use framewire_shared::domain::failure::Resend;
use futures::future::join_all;

use super::server::{Answer, Comfy};
use super::*;
use crate::scripted::{alive_tasks, descriptors, resident_bytes};

/// What the allocator may keep, and the server's list of what it was asked.
const RESIDENT_GROWTH_MAX: usize = 8 * 1024 * 1024;
/// Within which a socket must be closed after a stop.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// How a call is left.
#[derive(Debug, Clone, Copy)]
enum Leave {
    Cancelled,
    Dropped,
}

async fn leave(drawing: Drawing, how: Leave) {
    match how {
        Leave::Cancelled => {
            drawing.stop.cancel();
            drawing.task.await.unwrap().expect_err("a stopped call has no result");
        }
        Leave::Dropped => {
            drawing.task.abort();
            drawing.task.await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn a_running_prompt_is_stopped_however_the_call_is_left_and_no_other_is() {
    for how in [Leave::Cancelled, Leave::Dropped] {
        let server = Comfy::start("").await;
        server.loses_interrupts(2);
        let drawing = draw(&provider(&server), call(1));
        let id = server.queued().await;
        server.start_prompt(&id);
        server.step(&id, 1, 20);
        drawing.sees("progress", progress).await;
        server.queue("somebody", "their client");
        let left_at = Instant::now();
        leave(drawing, how).await;
        assert_eq!(server.asked("GET /ws").len(), 1);
        assert!(left_at.elapsed() < STOP_LIMIT, "{how:?}");
        server.gone(&id).await;
        assert_eq!(server.place("somebody"), Some("pending"));
        let interrupts = server.asked("POST /interrupt");
        assert_eq!(interrupts.len(), 3, "two were lost: {how:?}");
        assert!(interrupts.iter().all(|it| it.json()["prompt_id"] == *id));
    }
}

#[tokio::test]
async fn a_prompt_whose_job_is_handed_on_is_left_to_the_next_worker() {
    for how in [Leave::Cancelled, Leave::Dropped] {
        let server = Comfy::start("").await;
        let call = call(1);
        call.handed_on.cancel();
        let provider = provider(&server);
        let drawing = draw(&provider, call);
        let id = server.queued().await;
        server.start_prompt(&id);
        server.step(&id, 1, 20);
        drawing.sees("progress", progress).await;
        leave(drawing, how).await;
        // Whoever resumes it finds it, and what it is asked comes after all that we asked.
        let checkpoint = Some(id.clone());
        let heir = draw(&provider, Call { id: "job_c0_1-2".into(), checkpoint, ..self::call(1) });
        server.socket(&id).await;
        server.finish(&id, &png());
        assert_eq!(frames(&heir.end().await.unwrap()), [(0, 7)]);
        let ways = ["POST /prompt", "POST /interrupt", "POST /queue"];
        assert_eq!(ways.map(|way| server.asked(way).len()), [1, 0, 0], "{how:?}");
    }
}

#[tokio::test]
async fn a_waiting_prompt_leaves_the_queue_and_what_runs_is_not_interrupted() {
    for how in [Leave::Cancelled, Leave::Dropped] {
        let server = Comfy::start("").await;
        server.queue("somebody", "their client");
        server.start_prompt("somebody");
        let drawing = draw(&provider(&server), call(1));
        let id = server.queued().await;
        leave(drawing, how).await;
        server.gone(&id).await;
        assert_eq!(server.place("somebody"), Some("running"));
        assert_eq!(server.asked("POST /interrupt").len(), 0);
    }
}

#[tokio::test]
async fn a_submission_that_was_under_way_at_the_stop_is_taken_back_when_it_arrives() {
    let server = Comfy::start("").await;
    server.trap("/prompt", Answer::Hang, 1);
    let drawing = draw(&provider(&server), call(1));
    let asked = async || server.asked("POST /prompt").first().cloned();
    let id = until("the submission", asked).await.json()["prompt_id"].as_str().unwrap().to_owned();
    leave(drawing, Leave::Dropped).await;
    until("a look at the queue", async || server.asked("GET /queue").first().cloned()).await;
    server.queue(&id, &id);
    server.gone(&id).await;
}

#[tokio::test]
async fn sockets_and_requests_end_with_the_call() {
    for answer in [None, Some(("/prompt", Answer::Hang)), Some(("/view", Answer::Hang))] {
        let server = Comfy::start("").await;
        let path = answer.as_ref().map_or("/ws", |(path, _)| path);
        if let Some((path, answer)) = answer.clone() {
            server.trap(path, answer, 1);
        }
        if path == "/view" {
            server.runs_at_once(png());
        }
        let drawing = draw(&provider(&server), call(1));
        until("the request", async || {
            server.asked("").iter().any(|it| it.path.starts_with(path)).then_some(())
        })
        .await;
        let left_at = Instant::now();
        leave(drawing, Leave::Cancelled).await;
        // Between the short requests that stop the prompt, nothing is open.
        let none = async || (server.open_connections() == 0).then_some(());
        until("all connections to be closed", none).await;
        assert!(left_at.elapsed() < STOP_LIMIT, "{path}");
    }
}

#[tokio::test]
async fn three_hundred_calls_that_are_left_leave_no_task_no_connection_and_no_memory() {
    const ROUNDS: usize = 10;
    const CALLS: usize = 30;
    let server = Comfy::start("").await;
    let comfy = provider(&server);
    let (idle, files) = (alive_tasks(), descriptors());
    let mut resident = 0;
    for round in 0..ROUNDS {
        if round == 3 {
            resident = resident_bytes();
        }
        let how = if round % 2 == 0 { Leave::Cancelled } else { Leave::Dropped };
        let id = |nth: usize| format!("job_c0_{round}_{nth}-1");
        let drawings: Vec<_> =
            (0..CALLS).map(|nth| draw(&comfy, Call { id: id(nth), ..call(1) })).collect();
        let asked = || server.asked("POST /prompt").len();
        until("the prompts", async || (asked() == (round + 1) * CALLS).then_some(())).await;
        // One of them runs, the others wait.
        server.start_prompt(&server.queued().await);
        join_all(drawings.into_iter().map(|drawing| leave(drawing, how))).await;
        until("an empty queue", async || server.is_idle().then_some(())).await;
    }
    let quiet = || server.open_connections() == 0 && alive_tasks() <= idle;
    until("everything to be as before", async || (quiet() && descriptors() <= files).then_some(()))
        .await;
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < RESIDENT_GROWTH_MAX, "210 calls that were left keep {grown} bytes");
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_noticed_without_the_deadline() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.step(&id, 1, 20);
    drawing.sees("progress", progress).await;
    let died_at = Instant::now();
    server.die();
    let failure = drawing.failure().await;
    assert_eq!((failure.code, failure.resend), (ErrorCode::Temporary, Resend::Freely));
    assert_eq!(failure.message, "the image server stopped answering");
    assert!(died_at.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_server_that_restarts_and_forgets_the_prompt_may_be_asked_again() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.restart();
    let failure = drawing.failure().await;
    assert_eq!((failure.code, failure.resend), (ErrorCode::Temporary, Resend::Freely));
    assert_eq!(failure.message, "the image server lost the request");
}

#[tokio::test]
async fn a_server_that_is_only_slow_is_not_given_up() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.trap("/history", Answer::Is(503, Vec::new()), 2);
    // Longer than a dead server is waited for, without a word on the socket.
    let looks = async || (server.asked("GET /queue").len() > 15).then_some(());
    until("many looks", looks).await;
    server.finish(&id, &png());
    drawing.end().await.unwrap();
}

#[tokio::test]
async fn a_prompt_that_somebody_else_stopped_is_tried_again() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    let body = json!({ "prompt_id": id });
    let http = reqwest::Client::new();
    http.post(format!("{}/interrupt", server.url)).json(&body).send().await.unwrap();
    let failure = drawing.failure().await;
    assert_eq!((failure.code, failure.resend), (ErrorCode::Temporary, Resend::Freely));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_so() {
    let server = Comfy::start("").await;
    let comfy = provider(&server);
    server.die();
    let refused = async || (comfy.health().await.is_err()).then_some(());
    until("the port to be closed", refused).await;
    let failure = draw(&comfy, call(1)).failure().await;
    assert_eq!((failure.code, failure.resend), (ErrorCode::Temporary, Resend::Freely));
    assert_eq!(failure.message, "the image server can't be reached");
    assert!(!failure.detail.contains("127.0.0.1"), "{}", failure.detail);
}

/// Ids of prompts that an earlier worker has submitted.
const OLD: [&str; 2] =
    ["11111111-1111-8111-8111-111111111111", "22222222-2222-8222-8222-222222222222"];

fn resumed(n: u32) -> Call {
    Call { id: "job_c0_1-2".into(), checkpoint: Some(OLD.join(",")), ..call(n) }
}

#[tokio::test]
async fn prompts_of_a_lost_worker_are_waited_for_with_progress_and_not_drawn_again() {
    let server = Comfy::start("").await;
    server.queue(OLD[0], OLD[0]);
    server.start_prompt(OLD[0]);
    server.finish(OLD[0], &png());
    server.queue(OLD[1], OLD[1]);
    server.start_prompt(OLD[1]);
    let drawing = draw(&provider(&server), resumed(2));
    server.socket(OLD[1]).await;
    server.step(OLD[1], 5, 20);
    assert_eq!(drawing.sees("progress", progress).await, (25, 40));
    server.finish(OLD[1], &png());
    let updates = drawing.end().await.unwrap();
    assert_eq!(frames(&updates), [(0, 7), (1, 8)]);
    assert_eq!(server.asked("POST /prompt").len(), 0);
}

#[tokio::test]
async fn what_the_server_forgot_or_stopped_is_drawn_anew_under_a_new_id() {
    for is_known in [false, true] {
        let server = Comfy::start("").await;
        if is_known {
            server.queue(OLD[0], OLD[0]);
            server.start_prompt(OLD[0]);
        }
        let comfy = provider(&server);
        if is_known {
            let body = json!({ "prompt_id": OLD[0] });
            let http = reqwest::Client::new();
            http.post(format!("{}/interrupt", server.url)).json(&body).send().await.unwrap();
        }
        server.runs_at_once(png());
        let updates = draw(&comfy, resumed(1)).end().await.unwrap();
        assert_eq!(frames(&updates), [(0, 7)]);
        let id = server.asked("POST /prompt")[0].json()["prompt_id"].as_str().unwrap().to_owned();
        assert!(!OLD.contains(&&*id));
        assert_eq!(checkpoints(&updates), [id]);
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_no_id_of_ours_is_as_good_as_none() {
    let server = Comfy::start("").await;
    server.runs_at_once(png());
    for checkpoint in ["", "../../etc", "pred_abc123"] {
        let call = Call { checkpoint: Some(checkpoint.into()), ..call(1) };
        assert_eq!(frames(&draw(&provider(&server), call).end().await.unwrap()), [(0, 7)]);
    }
    assert_eq!(server.asked("POST /prompt").len(), 3);
}

#[tokio::test]
async fn a_resumed_prompt_is_stopped_too() {
    let server = Comfy::start("").await;
    server.queue(OLD[0], OLD[0]);
    server.start_prompt(OLD[0]);
    let drawing = draw(&provider(&server), resumed(1));
    server.socket(OLD[0]).await;
    leave(drawing, Leave::Dropped).await;
    server.gone(OLD[0]).await;
}
