//! Jobs that are drawn, and what is handed on of them.

use std::sync::Arc;

use framewire_shared::domain::{ErrorCode, GuardOptions, MediaType};
use framewire_worker::provider::comfyui::ComfyUi;
use framewire_worker::provider::{Picture, Provider, Update};
use framewire_worker::routes::Routes;
use framewire_worker::upkeep::prober::{Probed, Prober};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::server::{Answer, Asked, Comfy};
use super::*;
use crate::guard::break_it;
use crate::world::World;

#[tokio::test]
async fn a_job_is_told_step_by_step_and_its_picture_comes_without_the_workflow() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    let prompt = server.asked("POST /prompt")[0].json();
    assert_eq!(prompt["prompt_id"], *id);
    let workflow = &prompt["prompt"];
    assert_eq!(workflow["6"]["inputs"]["text"], "a fox");
    assert_eq!(workflow["3"]["inputs"]["seed"], 7);
    assert_eq!(workflow["5"]["inputs"]["width"], 64);

    server.start_prompt(&id);
    server.step(&id, 7, 20);
    assert_eq!(drawing.sees("progress", progress).await, (7, 20));
    server.preview(&id, b"\xff\xd8\xff\xe0");
    let preview = |update: &Update| match update {
        Update::Preview { index, step, picture } => Some((*index, *step, picture.media_type)),
        _ => None,
    };
    assert_eq!(drawing.sees("a preview", preview).await, (0, 7, MediaType::Jpeg));

    let mut telling = png();
    telling.splice(33..33, *b"\0\0\0\x04tEXta\0{}\0\0\0\0");
    server.finish(&id, &telling);
    let updates = drawing.end().await.unwrap();
    let Some(Update::Frame { index: 0, seed: 7, picture }) = updates.last() else { panic!() };
    assert_eq!((picture.media_type, &picture.bytes[..]), (MediaType::Png, &png()[..]));
    assert_eq!(server.asked("POST /interrupt").len(), 0);
}

#[tokio::test]
async fn nothing_is_asked_of_the_server_before_the_checkpoint_is_taken() {
    let server = Comfy::start("").await;
    server.runs_at_once(png());
    let comfy = provider(&server);
    let (sender, mut updates) = mpsc::channel(16);
    let take = async {
        until("the checkpoint", async || (!updates.is_empty()).then_some(())).await;
        // The server hears of us, and so would have heard of a submission.
        for _ in 0..5 {
            comfy.health().await.unwrap();
        }
        assert_eq!(server.asked("").len(), 5, "{:?}", server.asked(""));
        let mut seen = Vec::new();
        while let Some(update) = updates.recv().await {
            seen.push(update);
        }
        seen
    };
    let (result, seen) = tokio::join!(comfy.generate(call(1), sender), take);
    result.unwrap();
    assert!(matches!(&seen[0], Update::Checkpoint(_)));
    let id = server.asked("POST /prompt")[0].json()["prompt_id"].as_str().unwrap().to_owned();
    assert_eq!(checkpoints(&seen), [id]);
}

#[tokio::test]
async fn each_frame_is_a_prompt_of_its_own_with_the_next_seed() {
    let server = Comfy::start("").await;
    server.runs_at_once(png());
    let updates = draw(&provider(&server), call(3)).end().await.unwrap();
    assert_eq!(frames(&updates), [(0, 7), (1, 8), (2, 9)]);
    let prompts: Vec<Value> = server.asked("POST /prompt").iter().map(Asked::json).collect();
    let seeds: Vec<&Value> =
        prompts.iter().map(|it| &it["prompt"]["3"]["inputs"]["seed"]).collect();
    assert_eq!(seeds, [7, 8, 9]);
    let ids: Vec<&str> = prompts.iter().map(|it| it["prompt_id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| Uuid::try_parse(id).unwrap().to_string() == **id));
    assert_eq!(checkpoints(&updates).last().unwrap(), &ids.join(","));
    let clients: std::collections::HashSet<&str> =
        prompts.iter().map(|it| it["client_id"].as_str().unwrap()).collect();
    assert_eq!(clients.len(), 3, "no client id is used twice");
}

#[tokio::test]
async fn an_attempt_has_its_own_prompt_ids_and_always_the_same() {
    let mut ids = Vec::new();
    for name in ["job_c0_1-1", "job_c0_1-1", "job_c0_1-2"] {
        let server = Comfy::start("").await;
        server.runs_at_once(png());
        let call = Call { id: name.into(), ..call(1) };
        ids.extend(checkpoints(&draw(&provider(&server), call).end().await.unwrap()));
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn another_jobs_steps_and_previews_are_not_ours() {
    let server = Comfy::start("").await;
    let drawing = draw(&provider(&server), call(1));
    let id = server.queued().await;
    let step = |id: &str, value: u32| {
        let data = json!({"value": value, "max": 20, "prompt_id": id, "node": "3"});
        Message::text(json!({"type": "progress", "data": data}).to_string())
    };
    let preview = Message::binary([&[0, 0, 0, 1, 0, 0, 0, 1][..], b"\xff\xd8\xff\xe0"].concat());
    server.broadcast(step("somebody", 3));
    server.broadcast(preview);
    let interrupted = json!({"type": "execution_interrupted", "data": {"prompt_id": "somebody"}});
    server.broadcast(Message::text(interrupted.to_string()));
    server.start_prompt(&id);
    server.step(&id, 1, 20);
    drawing.sees("progress", progress).await;
    server.finish(&id, &png());
    let updates = drawing.end().await.unwrap();
    let told: Vec<_> = updates.iter().filter_map(progress).collect();
    assert_eq!(told, [(1, 20)]);
    assert!(!updates.iter().any(|update| matches!(update, Update::Preview { .. })));
}

#[tokio::test]
async fn pictures_to_start_from_are_loaded_under_the_name_that_the_server_gave() {
    let server = Comfy::start("").await;
    server.runs_at_once(png());
    let mut options = options(&server);
    options.template = template(&repaint(), &Marks::default());
    let comfy = Arc::new(ComfyUi::new(options).unwrap());
    let mask = Picture { media_type: MediaType::Png, bytes: png().into() };
    for mask in [Some(mask), None] {
        let call = Call { source: source(mask), ..call(2) };
        draw(&comfy, call).end().await.unwrap();
    }
    // Two pictures for each job, not for each frame.
    let uploads = server.asked("POST /upload/image");
    assert_eq!(uploads.len(), 4);
    assert_ne!(uploads[1].body, uploads[3].body, "without a mask, everything is drawn anew");
    let prompt = server.asked("POST /prompt")[0].json();
    let image = prompt["prompt"]["5"]["inputs"]["image"].as_str().unwrap().to_owned();
    assert!(image.starts_with("framewire/renamed ") && image.ends_with(".png"), "{image}");
    assert!(prompt["prompt"]["8"]["inputs"]["image"].as_str().unwrap().starts_with("framewire/"));
    assert_eq!(prompt["prompt"]["3"]["inputs"]["denoise"], 0.5);
}

#[tokio::test]
async fn what_the_workflow_has_no_slot_for_is_refused_before_the_server_is_asked() {
    let server = Comfy::start("").await;
    server.runs_at_once(png());
    let mut plain = workflow();
    plain["3"]["inputs"]["negative"] = json!(["6", 0]);
    let with = |workflow: Value| {
        let mut options = options(&server);
        let slots = [("prompt".into(), "6.text".into())].into();
        options.template = template(&workflow, &Marks { slots, output: None });
        Arc::new(ComfyUi::new(options).unwrap())
    };
    let mut negative = call(1);
    negative.input.negative_prompt = "fog".into();
    let mut unmasked = repaint();
    unmasked.as_object_mut().unwrap().remove("8");
    let mask = Some(crate::world::png(64, 64));
    let refused = [
        (with(plain.clone()), negative, "negative_prompt"),
        (with(plain), Call { source: source(None), ..call(1) }, "starts from no picture"),
        (with(repaint()), call(1), "starts from a picture"),
        (with(unmasked), Call { source: source(mask), ..call(1) }, "takes no mask"),
    ];
    for (comfy, call, message) in refused {
        let failure = draw(&comfy, call).failure().await;
        assert_eq!(failure.code, ErrorCode::Permanent);
        assert!(failure.message.contains(message), "{failure:?}");
    }
    assert_eq!(server.asked("").len(), 0);
}

#[tokio::test]
async fn a_workflow_that_starts_from_a_picture_is_probed_with_one() {
    let server = Comfy::start("").await;
    server.runs_at_once(png());
    let mut options = options(&server);
    options.template = template(&repaint(), &Marks::default());
    let world = World::with_clock();
    let mut routes = Routes::default();
    let provider = Arc::new(ComfyUi::new(options).unwrap());
    let guard = GuardOptions::local();
    routes.add(&world.store, world.pool.clone(), provider, Some(guard.clone()));
    break_it(&world.store, "comfyui", &guard).await;
    world.at(Duration::from_secs(60));
    let probed = Prober { routes: Arc::new(routes) }.tick().await.unwrap();
    assert_eq!(probed, Probed { succeeded: 1, failed: 0 });
    assert_eq!(server.asked("POST /upload/image").len(), 2, "the picture, and a mask that is open");
}

#[tokio::test]
async fn a_server_below_a_path_is_asked_there_and_its_key_goes_nowhere_else() {
    for slash in ["", "/", "//"] {
        let server = Comfy::start("/tools/comfy").await;
        server.runs_at_once(png());
        let mut options = options(&server);
        options.url = format!("{}{slash}", server.url).parse().unwrap();
        options.headers = vec![("X-Key".into(), "s3cret".to_owned().into())];
        assert!(!format!("{options:?}").contains("s3cret"));
        let comfy = Arc::new(ComfyUi::new(options).unwrap());
        assert!(!format!("{comfy:?}").contains("s3cret"));
        draw(&comfy, call(1)).end().await.unwrap();
        let asked = server.asked("");
        let paths: Vec<&str> = asked.iter().map(|it| it.path.split('?').next().unwrap()).collect();
        assert!(paths.contains(&"/ws") && paths.contains(&"/prompt") && paths.contains(&"/view"));
        assert!(asked.iter().all(|it| it.headers.get("x-key").is_some_and(|key| key == "s3cret")));
    }

    let (server, other) = (Comfy::start("").await, Comfy::start("").await);
    let elsewhere = Answer::Headed(307, "Location", format!("{}/prompt", other.url));
    server.trap("/prompt", elsewhere, 1);
    let mut options = options(&server);
    options.headers = vec![("X-Key".into(), "s3cret".to_owned().into())];
    let failure = draw(&Arc::new(ComfyUi::new(options).unwrap()), call(1)).failure().await;
    assert_eq!((failure.code, failure.origin.status), (ErrorCode::Unknown, Some(307)));
    assert_eq!(other.asked("").len(), 0, "a redirect was followed");
}

#[tokio::test]
async fn health_is_the_servers_version_or_why_there_is_none() {
    let server = Comfy::start("").await;
    let comfy = provider(&server);
    assert_eq!(comfy.health().await.unwrap().version, "0.3.75");
    server.trap("/system_stats", Answer::Is(401, Vec::new()), 1);
    assert_eq!(comfy.health().await.unwrap_err().code, ErrorCode::AuthError);
    server.trap("/system_stats", Answer::Is(200, b"<html>hello</html>".to_vec()), 1);
    assert_eq!(comfy.health().await.unwrap_err().code, ErrorCode::Unknown);
    server.die();
    let down = async || {
        let failure = comfy.health().await.err()?;
        (failure.code == ErrorCode::Temporary).then_some(())
    };
    until("the server to be down", down).await;
}

#[test]
fn a_url_or_header_that_would_leak_or_fail_is_refused_at_the_start() {
    let with = |url: &str, header: (&str, &str)| {
        let mut options =
            ComfyUiOptions::new(url.parse().unwrap(), template(&workflow(), &Marks::default()));
        options.headers = vec![(header.0.into(), header.1.to_owned().into())];
        ComfyUi::new(options).unwrap_err().to_string()
    };
    let fine = ("X-Key", "s3cret");
    assert!(with("ftp://host", fine).contains("not http"));
    for url in ["http://me:s3cret@host", "http://host?token=s3cret", "http://host#s3cret"] {
        assert!(!with(url, fine).contains("s3cret"), "{url}");
    }
    assert!(!with("http://host", ("X-Key", "s3cret\n")).contains("s3cret"));
    assert!(with("http://host", ("X Key", "v")).contains("X Key"));
}
