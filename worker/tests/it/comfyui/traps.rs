//! Answers that are not what the documentation promises.

use framewire_shared::domain::ErrorCode;
use framewire_shared::domain::failure::Resend;

use super::server::{Answer, Comfy};
use super::*;

#[tokio::test]
async fn a_prompt_taken_without_the_branch_that_makes_the_frame_is_refused_and_stopped() {
    let server = Comfy::start("").await;
    server.leaves_out(json!({"5": {"errors": [{"type": "value_smaller_than_min",
        "message": "Value 0 smaller than min of 1", "details": "width", "extra_info": {}}],
        "dependent_outputs": ["9"], "class_type": "EmptyLatentImage"}}));
    let drawing = draw(&provider(&server), call(1));
    let failure = drawing.failure().await;
    assert_eq!((failure.code, failure.resend), (ErrorCode::Permanent, Resend::Never));
    let words = "node 5 (EmptyLatentImage): Value 0 smaller than min of 1: width";
    assert!(failure.detail.contains(words), "{failure:?}");
    let id = server.asked("POST /prompt")[0].json()["prompt_id"].as_str().unwrap().to_owned();
    server.gone(&id).await;
}

#[tokio::test]
async fn a_prompt_taken_without_another_branch_is_drawn() {
    let server = Comfy::start("").await;
    server
        .leaves_out(json!({"15": {"errors": [], "dependent_outputs": ["14"], "class_type": "X"}}));
    server.runs_at_once(png());
    assert_eq!(frames(&draw(&provider(&server), call(1)).end().await.unwrap()), [(0, 7)]);
}

#[tokio::test]
async fn history_that_is_written_late_is_waited_for() {
    let server = Comfy::start("").await;
    server.writes_history_late(3);
    server.runs_at_once(png());
    assert_eq!(frames(&draw(&provider(&server), call(1)).end().await.unwrap()), [(0, 7)]);
}

#[tokio::test]
async fn a_socket_that_falls_silent_costs_no_picture() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.deafen(&id);
    server.start_prompt(&id);
    server.finish(&id, &png());
    assert_eq!(frames(&drawing.end().await.unwrap()), [(0, 7)]);
}

#[tokio::test]
async fn a_socket_that_breaks_is_opened_again_and_progress_goes_on() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.cut(&id);
    until("the second socket", async || (server.asked("GET /ws").len() == 2).then_some(())).await;
    server.socket(&id).await;
    server.step(&id, 9, 20);
    assert_eq!(drawing.sees("progress", progress).await, (9, 20));
    server.finish(&id, &png());
    drawing.end().await.unwrap();
}

#[tokio::test]
async fn a_server_without_sockets_is_asked_instead() {
    let server = Comfy::start("").await;
    server.trap("/ws", Answer::Is(400, b"Can \"Upgrade\" only to \"WebSocket\".".to_vec()), 99);
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.finish(&id, &png());
    assert_eq!(frames(&drawing.end().await.unwrap()), [(0, 7)]);
}

#[tokio::test]
async fn a_submission_whose_answer_is_lost_is_found_and_not_repeated() {
    let server = Comfy::start("").await;
    server.trap("/prompt", Answer::DoneButCut, 1);
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.finish(&id, &png());
    assert_eq!(frames(&drawing.end().await.unwrap()), [(0, 7)]);
    assert_eq!(server.asked("POST /prompt").len(), 1);
}

#[tokio::test]
async fn a_prompt_that_ends_between_two_questions_is_not_taken_for_lost() {
    let server = Comfy::start("").await;
    server.trap("/prompt", Answer::DoneButCut, 1);
    server.ends_at_look(png());
    assert_eq!(frames(&draw(&provider(&server), call(1)).end().await.unwrap()), [(0, 7)]);
    assert_eq!(server.asked("POST /prompt").len(), 1);
}

#[tokio::test]
async fn a_server_that_chooses_the_ids_itself_is_followed() {
    let server = Comfy::start("").await;
    server.chooses_ids();
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.finish(&id, &png());
    let updates = drawing.end().await.unwrap();
    assert_eq!(checkpoints(&updates).last(), Some(&id));
}

#[tokio::test]
async fn a_refusal_tells_the_operator_what_the_server_said_and_the_user_that_it_refused() {
    let server = Comfy::start("").await;
    let body = json!({"error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""},
        "node_errors": {"4": {"class_type": "CheckpointLoaderSimple", "dependent_outputs": ["9"],
            "errors": [{"type": "value_not_in_list", "message": "Value not in list",
                "details": "ckpt_name: 'gone.safetensors' not in []", "extra_info": {}}]}}});
    server.trap("/prompt", Answer::Is(400, body.to_string().into_bytes()), 1);
    let failure = draw(&provider(&server), call(1)).failure().await;
    assert_eq!(failure.code, ErrorCode::Permanent);
    assert_eq!(failure.message, "the image server does not accept this request");
    assert!(failure.detail.contains("ckpt_name: 'gone.safetensors' not in []"), "{failure:?}");
    assert_eq!(failure.origin.status, Some(400));
    assert_eq!(failure.origin.code.as_deref(), Some("value_not_in_list"));
    assert!(failure.origin.request_id.is_some());
}

#[tokio::test]
async fn a_node_that_fails_is_told_without_traceback_and_the_users_words() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.fail(&id, "RuntimeError", "expected scalar type Half\n");
    let failure = drawing.failure().await;
    assert_eq!((failure.code, failure.resend), (ErrorCode::Unknown, Resend::Once));
    assert_eq!(failure.detail, "node 3 (KSampler): RuntimeError: expected scalar type Half");
    assert_eq!(failure.origin.request_id, Some(id));
}

#[tokio::test]
async fn a_failure_that_only_history_tells_is_told_the_same() {
    let server = Comfy::start("").await;
    server.trap("/ws", Answer::Is(404, Vec::new()), 99);
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    server.start_prompt(&id);
    server.fail(&id, "ValueError", "no such LoRA");
    let failure = drawing.failure().await;
    assert_eq!(failure.code, ErrorCode::Permanent);
    assert_eq!(failure.detail, "node 3 (KSampler): ValueError: no such LoRA");
}

#[tokio::test]
async fn memory_that_ran_out_is_freed_and_asked_for_once_more() {
    for (attempt, code) in [(1, ErrorCode::Temporary), (2, ErrorCode::Permanent)] {
        let server = Comfy::start("").await;
        let drawing = draw(&provider(&server), Call { attempt, ..call(1) });
        let id = server.queued().await;
        server.start_prompt(&id);
        server.fail(&id, "torch.OutOfMemoryError", "Allocation on device 0 would exceed memory");
        assert_eq!(drawing.failure().await.code, code);
        assert_eq!(server.asked("POST /free").len(), 1);
    }
}

#[tokio::test]
async fn nonsense_is_never_a_picture_and_never_a_hang() {
    use ErrorCode::*;
    let html = Answer::Is(200, b"<html><h1>Sign in</h1></html>".to_vec());
    let nothing = Answer::Is(200, Vec::new());
    let bad = |status| Answer::Is(status, b"<html>nginx</html>".to_vec());
    let cases = [
        ("/prompt", html.clone(), Unknown),
        ("/prompt", nothing.clone(), Unknown),
        ("/prompt", Answer::Flood, Unknown),
        ("/prompt", bad(401), AuthError),
        ("/prompt", bad(404), Permanent),
        ("/prompt", bad(413), Permanent),
        ("/prompt", bad(429), RateLimit),
        ("/prompt", bad(502), Temporary),
        ("/view", html.clone(), Unknown),
        ("/view", nothing.clone(), Unknown),
        ("/view", Answer::Flood, Unknown),
        ("/view", bad(404), Temporary),
        ("/view", Answer::Is(200, b"GIF89a\0\0".to_vec()), Unknown),
        ("/history", html.clone(), Temporary),
        ("/history", nothing, Temporary),
        ("/history", Answer::Flood, Temporary),
        ("/history", Answer::Is(200, b"{\"x\": 1}".to_vec()), Temporary),
    ];
    for (path, answer, code) in cases {
        let server = Comfy::start("").await;
        if path != "/prompt" {
            server.runs_at_once(png());
        }
        server.trap(path, answer, 999);
        let failure = draw(&provider(&server), call(1)).failure().await;
        assert_eq!(failure.code, code, "{path}: {failure:?}");
        assert!(failure.detail.chars().count() <= 500);
        assert!(!failure.message.contains("127.0.0.1") && !failure.detail.contains("127.0.0.1"));
    }
}

#[tokio::test]
async fn a_prompt_that_saved_nothing_is_no_success() {
    let server = Comfy::start("").await;
    let mut options = options(&server);
    let marks = Marks { output: Some("3".into()), ..Marks::default() };
    options.template = template(&workflow(), &marks);
    server.runs_at_once(png());
    let comfy = Arc::new(ComfyUi::new(options).unwrap());
    let failure = draw(&comfy, call(1)).failure().await;
    assert_eq!((failure.code, failure.resend), (ErrorCode::Unknown, Resend::Once));
}

#[tokio::test]
async fn a_picture_whose_download_broke_is_fetched_again_and_not_drawn_again() {
    let server = Comfy::start("").await;
    server.runs_at_once(png());
    server.trap("/view", Answer::DoneButCut, 2);
    assert_eq!(frames(&draw(&provider(&server), call(1)).end().await.unwrap()), [(0, 7)]);
    assert_eq!(server.asked("POST /prompt").len(), 1);
}

#[tokio::test]
async fn tls_to_a_server_without_it_is_a_failure_and_no_panic() {
    let server = Comfy::start("").await;
    let mut options = options(&server);
    options.url = server.url.replace("http:", "https:").parse().unwrap();
    let failure = draw(&Arc::new(ComfyUi::new(options).unwrap()), call(1)).failure().await;
    assert_eq!(failure.code, ErrorCode::Temporary);
}
