//! What must hold of every adapter, whatever it speaks: all of them against one server that plays all
//! five services, from settings to a settled job.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framewire_shared::domain::{ErrorCode, JobId, State};
use framewire_shared::service::settings::Settings;
use framewire_shared::service::telemetry;
use framewire_shared::testing::until;
use framewire_worker::app;
use framewire_worker::lease_keeper::StopReason;
use framewire_worker::routes::Routes;
use framewire_worker::runner::Settled;
use image::{DynamicImage, GrayImage, ImageFormat};
use serde_json::{Value, json};

use crate::configured::{load, run};
use crate::scripted::{Play, Request, Server};
use crate::world::{World, png};

/// Below which path, with a slash at its end, the services are.
const BASE: &str = "/some/path/";
const LONG: Duration = Duration::from_secs(60);
/// Time that a stopped call has to close its socket, and a slow machine's own.
const STOP_LIMIT: Duration = Duration::from_millis(2_000);

/// Every adapter with what its settings need besides the address.
const SERVICES: [(&str, &str); 5] = [
    ("openai", "model = \"any\"\napi_key = \"sk-hush\"\n"),
    ("automatic1111", "api_key = \"me:sk-hush\"\n"),
    ("replicate", "api_key = \"sk-hush\"\nmodel = \"a/b\"\ninput = { prompt = \"$prompt\" }\n"),
    ("fal", "api_key = \"sk-hush\"\n"),
    ("comfyui", "headers = { x-key = \"sk-hush\" }\n"),
];

fn workflow() -> Value {
    json!({
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20,
            "positive": ["6", 0], "latent_image": ["5", 0]}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a"}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "fw", "images": ["3", 0]}},
    })
}

/// Settings of the model `m` that one adapter draws.
fn settings((adapter, its): (&str, &str), server: &Server, guard: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flow.json");
    std::fs::write(&file, workflow().to_string()).unwrap();
    let flow = if adapter == "comfyui" { format!("workflow = {file:?}\n") } else { String::new() };
    load(&format!(
        "[models.m]\nprovider = \"p\"\n[providers.p]\nadapter = {adapter:?}\n\
         url = \"{}{BASE}\"\n{its}{flow}[providers.p.guard]\nbudget_capacity = 0\n{guard}",
        server.url
    ))
}

fn routes(settings: &Settings, world: &World) -> Routes {
    app::routes(settings, &world.store, Arc::default()).unwrap()
}

/// Tells whether a request is the one that waits for the drawing.
fn waits(request: &Request) -> bool {
    let ends = ["/images/generations", "/txt2img", "/predictions/p0", "/status?logs=1"];
    let path = &request.path;
    (ends.iter().any(|end| path.ends_with(end))) || path.contains("/history/")
}

/// Plays all five services; every picture has these bytes.
fn answer(request: &Request, picture: &[u8]) -> Play {
    let path = request.path.as_str();
    if path == "/out.png" || path.contains("/view?") {
        return Play::new(200, &[], picture);
    }
    let host = request.header("host").unwrap();
    let out = format!("http://{host}/out.png");
    let path = path.strip_prefix(BASE).unwrap_or_else(|| panic!("asked elsewhere: {path}"));
    let text = || STANDARD.encode(picture);
    let (status, body) = match (request.method.as_str(), path) {
        ("POST", "images/generations") => {
            (200, json!({"data": [{"b64_json": text()}], "usage": {"output_tokens": 9}}))
        }
        ("POST", "sdapi/v1/txt2img") => (200, json!({"images": [text()], "info": "{}"})),
        ("POST", "models/a/b/predictions") => (201, json!({"id": "p0", "status": "starting"})),
        ("GET", "predictions/p0") => {
            (200, json!({"id": "p0", "status": "succeeded", "output": [out]}))
        }
        ("POST", "fal-ai/flux/dev") => (200, json!({"request_id": "r-1"})),
        ("GET", "fal-ai/flux/requests/r-1/status?logs=1") => (200, json!({"status": "COMPLETED"})),
        ("GET", "fal-ai/flux/requests/r-1") => (200, json!({"images": [{"url": out}]})),
        ("POST", "prompt") => {
            (200, json!({"prompt_id": request.json()["prompt_id"], "node_errors": {}}))
        }
        ("GET", "queue") => (200, json!({"queue_running": [], "queue_pending": []})),
        ("GET", path) if path.starts_with("history/") => {
            let id = path.strip_prefix("history/").unwrap();
            let images = json!([{"filename": "x.png", "subfolder": "", "type": "output"}]);
            let status = json!({"status_str": "success", "completed": true, "messages": []});
            (200, json!({ id: {"outputs": {"9": {"images": images}}, "status": status} }))
        }
        // Cancels and interrupts, in every service's own way.
        ("POST" | "PUT", _) => (200, json!({})),
        _ => (404, json!({})),
    };
    Play::json(status, body)
}

#[tokio::test]
async fn every_adapter_draws_from_its_settings_below_a_path_that_ends_with_a_slash() {
    for service in SERVICES {
        let world = World::new();
        let server = Server::start(|request| answer(request, &png(64, 64).bytes)).await;
        let routes = routes(&settings(service, &server, ""), &world);
        let (id, settled) = run(&world, &routes, "m").await;
        let job = world.job(&id).await;
        assert_eq!(settled, Settled::Completed, "{}: {job:?}", service.0);
        assert_eq!((job.artifacts[0].width, job.artifacts[0].height), (64, 64));
    }
}

/// Bytes that come as a picture, and are none that was asked for.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    let mut bomb = std::io::Cursor::new(Vec::new());
    let huge = DynamicImage::ImageLuma8(GrayImage::new(9_000, 9_000));
    huge.write_to(&mut bomb, ImageFormat::Png).unwrap();
    vec![
        ("nothing", Vec::new()),
        ("a page", b"<html>busy</html>".to_vec()),
        ("one pixel", png(1, 1).bytes.to_vec()),
        ("a script", svg.into()),
        ("half of it", png(64, 64).bytes[..60].to_vec()),
        ("a bomb", bomb.into_inner()),
    ]
}

/// Runs a job until no attempt follows; gives how many there were.
async fn run_out(world: &World, routes: &Routes) -> (JobId, u32) {
    let (id, mut settled) = run(world, routes, "m").await;
    while settled == Settled::Retrying {
        let passes = routes.passes(std::slice::from_ref(&world.pool)).await.unwrap();
        let pass = passes.take(&world.pool).expect("a pass");
        let claimed = world.claimed_again(&id).await;
        settled = world.runner(LONG).run(id.clone(), claimed, pass).await;
    }
    assert_eq!(settled, Settled::Failed);
    let attempts = world.job(&id).await.attempt_count;
    (id, attempts)
}

#[tokio::test]
async fn what_is_no_picture_is_asked_for_once_more_at_most_and_never_becomes_a_frame() {
    let nonsense = nonsense();
    for service in SERVICES {
        for (what, bytes) in &nonsense {
            let world = World::new();
            let bytes = bytes.clone();
            let server = Server::start(move |request| answer(request, &bytes)).await;
            let routes = routes(&settings(service, &server, ""), &world);
            let (id, attempts) = run_out(&world, &routes).await;
            let job = world.job(&id).await;
            let shown = format!("{} and {what}: {job:?}", service.0);
            assert_eq!((job.error_code, attempts), (Some(ErrorCode::Unknown), 2), "{shown}");
            assert!(job.artifacts.is_empty() && job.state == State::Failed, "{shown}");
            assert!(!world.events().await.contains(&"frame-ready".to_owned()), "{shown}");
        }
    }
}

#[tokio::test]
async fn half_a_gigabyte_is_not_read_from_anybody() {
    const HUGE: usize = 500_000_000;
    let head = || "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n".into();
    for service in SERVICES {
        let world = World::new();
        let server = Server::start(move |request| {
            let path = &request.path;
            let draws = ["/out.png", "/images/generations", "/txt2img"];
            let gives = draws.iter().any(|end| path.ends_with(end)) || path.contains("/view?");
            if gives { Play::Flood(head(), HUGE) } else { answer(request, &[]) }
        })
        .await;
        let routes = routes(&settings(service, &server, ""), &world);
        let (id, attempts) = run_out(&world, &routes).await;
        let job = world.job(&id).await;
        assert!(attempts <= 2 && job.artifacts.is_empty(), "{}: {job:?}", service.0);
        assert_eq!(server.left(), attempts as usize, "{}: it was read to its end", service.0);
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_for_any_reason_closes_its_socket_within_a_second() {
    for service in SERVICES {
        for reason in [StopReason::Deadline, StopReason::Cancel, StopReason::Lost] {
            let world = World::new();
            let server = Server::start(|request| match waits(request) {
                true => Play::Hang(Vec::new()),
                false => answer(request, &[]),
            })
            .await;
            let routes = routes(&settings(service, &server, ""), &world);
            let stopping = async {
                until("the call", async || server.requests().iter().any(waits).then_some(())).await;
                let stopped_at = Instant::now();
                world.keeper.stop_all(reason);
                until("the socket's end", async || (server.left() > 0).then_some(())).await;
                stopped_at.elapsed()
            };
            let (_, took) = tokio::join!(run(&world, &routes, "m"), stopping);
            assert!(took < STOP_LIMIT, "{} at {reason:?}: {took:?}", service.0);
        }
    }
}

#[tokio::test]
async fn a_service_that_sleeps_past_its_timeout_is_left_on_time() {
    let timeout = "timeout_floor_ms = 300\ntimeout_ceiling_ms = 300\ntimeout_margin_ms = 0\n";
    for service in SERVICES {
        let world = World::new();
        let server = Server::start(|request| match waits(request) {
            true => Play::Hang(Vec::new()),
            false => answer(request, &[]),
        })
        .await;
        let routes = routes(&settings(service, &server, timeout), &world);
        let began_at = Instant::now();
        let (id, settled) = run(&world, &routes, "m").await;
        assert_eq!(settled, Settled::Retrying, "{}", service.0);
        assert_eq!(world.job(&id).await.error_code, Some(ErrorCode::Timeout), "{}", service.0);
        until("the socket's end", async || (server.left() > 0).then_some(())).await;
        let took = began_at.elapsed();
        assert!(took < Duration::from_millis(300) + STOP_LIMIT, "{}: {took:?}", service.0);
    }
}

/// What a test's logs are written to.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_key_is_in_any_log_event_job_guard_or_debug_form_whatever_happens() {
    let page = Page::default();
    let writer = page.clone();
    tracing_subscriber::fmt()
        .with_env_filter(telemetry::filter("trace,tungstenite=trace"))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let timeout = "timeout_floor_ms = 300\ntimeout_ceiling_ms = 300\ntimeout_margin_ms = 0\n";
    for service in SERVICES {
        for what in ["a picture", "a refusal", "a redirect", "a silence", "a cut"] {
            let world = World::new();
            let server = Server::start(move |request| {
                if !request.path.starts_with(BASE) {
                    let seen = ["authorization", "x-key"].map(|name| request.header(name));
                    assert_eq!(seen, [None, None], "the key left for {}", request.path);
                }
                let key = |name| request.header(name).unwrap_or_default().to_owned();
                let echo = key("authorization") + &key("x-key");
                match what {
                    "a refusal" => Play::json(
                        401,
                        json!({"error": {"message": echo, "code": echo}, "detail": echo}),
                    ),
                    "a redirect" => Play::new(307, &[("location", "/elsewhere")], echo),
                    "a silence" if waits(request) => Play::Hang(Vec::new()),
                    "a cut" => Play::Cut(format!("HTTP/1.1 200 OK\r\nx: {echo}").into()),
                    _ => answer(request, &png(64, 64).bytes),
                }
            })
            .await;
            let settings = settings(service, &server, timeout);
            let routes = routes(&settings, &world);
            let (id, settled) = run(&world, &routes, "m").await;
            let shown = format!("{} and {what}", service.0);
            assert_eq!(settled == Settled::Completed, what == "a picture", "{shown}");
            let zero = "0-00000000".parse().unwrap();
            let events = world.store.replay(&world.session, Some(&zero)).await.unwrap().events;
            let guard = world.store.guard("p").await.unwrap().0;
            let record = world.store.dead_letter(&id).await.unwrap();
            let job = world.job(&id).await;
            let told = format!("{events:?} {job:?} {guard:?} {record:?} {settings:?}");
            for secret in ["sk-hush", "bWU6c2staHVzaA"] {
                assert!(!told.contains(secret), "{shown}: {told}");
            }
        }
    }
    let logs = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("TRACE") && logs.contains("gen.request"), "nothing was captured");
    assert!(logs.contains("gen.success") && logs.contains("outputTokens=9"), "no bill");
    for secret in ["sk-hush", "bWU6c2staHVzaA"] {
        let found = logs.lines().find(|line| line.contains(secret));
        assert_eq!(found, None);
    }
}
