//! The AUTOMATIC1111 adapter against a server that plays the family's answers, and their traps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framewire_shared::domain::{ErrorCode, FailureKind, OutputFormat, Resend};
use framewire_shared::testing::until;
use framewire_worker::provider::automatic1111::{Automatic1111, Automatic1111Options};
use framewire_worker::provider::{Provider, Source};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::scripted::{Play, Server, alive_tasks, call, drawn, essence, failure, word};
use crate::world::png;

fn adapter_of(base_url: &str, more: Value) -> Automatic1111 {
    let mut options = json!({"name": "forge", "base_url": base_url});
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let options: Automatic1111Options = serde_json::from_value(options).unwrap();
    Automatic1111::new(options).unwrap()
}

fn adapter(server: &Server) -> Automatic1111 {
    adapter_of(&server.url, json!({}))
}

fn picture() -> String {
    STANDARD.encode(png(64, 64).bytes)
}

fn image(info: Value) -> Value {
    json!({"images": [picture()], "parameters": {}, "info": info})
}

#[tokio::test]
async fn every_frame_is_a_request_of_its_own_with_its_own_seed() {
    let server = Server::start(|request| {
        // Forge tells what it used as JSON in a string; stable-diffusion.cpp as an empty one.
        let seed = request.json()["seed"].as_u64().unwrap();
        let info = if seed == 7 { json!(r#"{"seed": 99, "all_seeds": [99]}"#) } else { json!("") };
        Play::json(200, image(info))
    })
    .await;
    let more = json!({"key": "me:hush", "model": "sdxl", "extra": {"cfg_scale": 5.0}});
    let adapter = adapter_of(&format!("{}/sub/", server.url), more);
    let mut wanted = call(2);
    wanted.input.negative_prompt = "rain".into();
    wanted.input.output_format = OutputFormat::Webp;
    let (updates, result) = drawn(&adapter, wanted).await;
    result.unwrap();
    let words: Vec<_> = updates.iter().map(word).collect();
    assert_eq!(words, ["frame 0 of 99 as image/webp", "frame 1 of 8 as image/webp"]);
    assert_eq!(server.asked(), ["POST /sub/sdapi/v1/txt2img"; 2], "or it was interrupted");
    let request = &server.requests()[1];
    assert_eq!(request.header("authorization"), Some("Basic bWU6aHVzaA=="));
    let expected = json!({"prompt": "a red fox", "negative_prompt": "rain", "width": 64,
        "height": 64, "steps": 20, "seed": 8, "batch_size": 1, "n_iter": 1, "cfg_scale": 5.0,
        "force_task_id": "job-1-1", "override_settings": {"sd_model_checkpoint": "sdxl"}});
    assert_eq!(request.json(), expected);
}

#[tokio::test]
async fn a_picture_to_start_from_and_its_mask_are_sent_as_they_are() {
    let server = Server::start(|_| Play::json(200, image(json!(null)))).await;
    let mut edit = call(1);
    edit.source = Some(Source { picture: png(64, 64), mask: Some(png(64, 64)), strength: 0.25 });
    drawn(&adapter(&server), edit).await.1.unwrap();
    assert_eq!(server.asked(), ["POST /sdapi/v1/img2img"]);
    let sent = server.requests()[0].json();
    assert_eq!((&sent["init_images"], &sent["mask"]), (&json!([picture()]), &json!(picture())));
    assert_eq!(sent["denoising_strength"], json!(0.25));
}

#[tokio::test]
async fn progress_and_looks_are_told_of_our_task_alone_while_it_draws() {
    let (gate, looks) = (Arc::new(Notify::new()), AtomicU32::new(0));
    let done = gate.clone();
    let server = Server::start(move |request| {
        if request.method == "POST" {
            return Play::After(gate.clone(), Box::new(Play::json(200, image(json!("{}")))));
        }
        let look = looks.fetch_add(1, Ordering::SeqCst);
        let (task, step) = if look == 0 { ("x", 9) } else { ("job-1-0", 3 * look) };
        let shown = request.path.ends_with("=false").then(picture);
        // It takes half of the steps that were asked for.
        let state = json!({"job_count": 1, "sampling_step": step, "sampling_steps": 10});
        if look == 3 {
            done.notify_one();
        }
        Play::json(
            200,
            json!({"progress": 0.1, "state": state, "current_image": shown,
            "current_task": task}),
        )
    })
    .await;
    let (updates, result) = drawn(&adapter(&server), call(1)).await;
    result.unwrap();
    let words: Vec<_> = updates.iter().map(word).collect();
    let until_the_end = ["progress 6/20", "progress 12/20", "preview 0 at 12"];
    assert_eq!(words[..3], until_the_end);
    assert_eq!(words.last().unwrap(), "frame 0 of 7 as image/png");
}

#[tokio::test]
async fn a_server_without_progress_draws_all_the_same() {
    let gate = Arc::new(Notify::new());
    let sign = gate.clone();
    let server = Server::start(move |request| {
        if request.method == "POST" {
            return Play::After(gate.clone(), Box::new(Play::json(200, image(json!("")))));
        }
        sign.notify_one();
        Play::json(404, json!({"detail": "Not Found"}))
    })
    .await;
    let (updates, result) = drawn(&adapter(&server), call(1)).await;
    result.unwrap();
    assert_eq!(updates.iter().map(word).collect::<Vec<_>>(), ["frame 0 of 7 as image/png"]);
}

#[tokio::test]
async fn documented_errors_mean_what_they_say() {
    use ErrorCode::{AuthError, Permanent, RateLimit, Temporary, Unknown};
    use FailureKind::{Client, Quota, Server as Broken};
    use Resend::{Freely, Never, Once};
    let fields = json!({"detail": [{"loc": ["body", "steps"], "msg": "not a number", "type": "x",
        "input": "hush"}]});
    let memory = json!({"error": "OutOfMemoryError", "detail": "", "body": "",
        "errors": "CUDA out of memory. Tried to allocate 2 GiB"});
    for (status, body, expected) in [
        (404, json!({"detail": "Sampler not found"}), (Permanent, Client, Never)),
        (404, json!({"detail": "Not Found"}), (Permanent, Client, Never)),
        (422, fields, (Permanent, Client, Never)),
        (401, json!({"detail": "Incorrect username or password"}), (AuthError, Client, Never)),
        (429, json!({"detail": "slow"}), (RateLimit, Quota, Freely)),
        (500, memory, (Temporary, Broken, Once)),
        (500, json!({"error": "ValueError", "errors": "bad size"}), (Permanent, Client, Never)),
        (
            500,
            json!({"error": "AttributeError", "errors": "'NoneType'", "code": 500}),
            (Unknown, FailureKind::Unknown, Once),
        ),
        (500, json!("<html>"), (Temporary, Broken, Freely)),
        (
            500,
            json!({"error": "generate_image returned no results"}),
            (Unknown, FailureKind::Unknown, Once),
        ),
        (400, json!({"error": "empty body"}), (Permanent, Client, Never)),
        (200, json!({"images": [], "info": ""}), (Unknown, FailureKind::Unknown, Once)),
        (200, json!({"images": ["aGVsbG8="]}), (Unknown, FailureKind::Unknown, Once)),
        (200, json!("<html>"), (Unknown, FailureKind::Unknown, Once)),
        (204, json!(null), (Unknown, FailureKind::Unknown, Once)),
    ] {
        let server = Server::always(status, body.to_string()).await;
        let failure = failure(&adapter(&server)).await;
        assert_eq!(essence(&failure), expected, "{status} {body}: {failure:?}");
        assert!(!failure.detail.contains("hush"), "{failure:?}");
        assert_eq!(server.asked(), ["POST /sdapi/v1/txt2img"], "{status} {body}");
    }
}

#[tokio::test]
async fn a_server_behind_a_proxy_that_gave_up_is_interrupted() {
    let server = Server::start(|request| match request.path.as_str() {
        "/sdapi/v1/txt2img" => Play::new(504, &[], "<html>"),
        "/sdapi/v1/interrupt" => Play::json(200, json!({})),
        _ => Play::json(200, json!({"current_task": "job-1-0"})),
    })
    .await;
    let failure = failure(&adapter(&server)).await;
    let expected = (ErrorCode::Timeout, FailureKind::Timeout, Resend::Once);
    assert_eq!(essence(&failure), expected);
    let told = "POST /sdapi/v1/interrupt".to_owned();
    until("the interrupt", async || server.asked().contains(&told).then_some(())).await;
}

#[tokio::test]
async fn the_password_is_in_no_failure_and_no_debug_form() {
    let server = Server::always(401, r#"{"detail":"not me:hush, nor bWU6aHVzaA=="}"#).await;
    let adapter = adapter_of(&server.url, json!({"key": "me:hush"}));
    let shown = format!("{:?} {adapter:?}", failure(&adapter).await);
    assert!(!shown.contains("hush") && !shown.contains("bWU6"), "{shown}");
}

/// Plays a server that draws for ever, and says whose task it draws.
async fn endless(current_task: Value) -> Server {
    Server::start(move |request| match request.path.as_str() {
        "/sdapi/v1/txt2img" => Play::Hang(Vec::new()),
        "/sdapi/v1/interrupt" => Play::new(204, &[], ""),
        _ => Play::json(200, json!({"current_task": current_task})),
    })
    .await
}

#[tokio::test]
async fn a_server_that_draws_on_for_nobody_is_interrupted_and_nobody_elses_picture_is() {
    for (task, interrupted) in [(json!("job-1-0"), true), (json!(null), true), (json!("x"), false)]
    {
        for dropped in [false, true] {
            let server = endless(task.clone()).await;
            let adapter = adapter(&server);
            let before = alive_tasks();
            let running = call(1);
            let stop = running.stop.clone();
            let (sender, _receiver) = mpsc::channel(1);
            let mut generating = adapter.generate(running, sender);
            tokio::select! {
                _ = &mut generating => panic!("it ended by itself"),
                () = until("the call", async || (server.asked().len() == 1).then_some(())) => {}
            }
            if !dropped {
                stop.cancel();
                assert!((&mut generating).await.is_err());
            }
            drop(generating);
            until("the socket's end", async || (server.left() == 1).then_some(())).await;
            until("the look", async || (server.asked().len() >= 2).then_some(())).await;
            if interrupted {
                let told = "POST /sdapi/v1/interrupt".to_owned();
                until("the interrupt", async || server.asked().contains(&told).then_some(())).await;
            }
            // Both connections that are kept have a task here, and another one at the server.
            until("the end of the interrupting task", async || {
                (alive_tasks() <= before + 2).then_some(())
            })
            .await;
            assert_eq!(server.asked().len(), if interrupted { 3 } else { 2 });
        }
    }
}
