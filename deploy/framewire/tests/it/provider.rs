//! A provider that is set up by variables alone.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::Client;
use crate::launcher::{Launcher, refused, up};

/// Answers every request with one picture.
fn painter() -> String {
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::new(1024, 1024).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let picture = STANDARD.encode(png.into_inner());
    let body = json!({ "data": [{ "b64_json": picture }] }).to_string().into_bytes();
    serve(move |_| (200, body.clone())) + "/v1"
}

/// What a service was asked.
struct Request {
    /// Without its first slash; with the query.
    path: String,
    host: String,
    body: Vec<u8>,
}

/// Answers every request, one after the other, until the test's process ends.
fn serve(answer: impl Fn(&Request) -> (u16, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(reply(stream, &answer));
        }
    });
    url
}

/// Reads one request to its end, and answers it.
fn reply(
    mut stream: TcpStream,
    answer: impl Fn(&Request) -> (u16, Vec<u8>),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (mut host, mut length) = (String::new(), 0);
    line.clear();
    while reader.read_line(&mut line)? > 2 {
        match line.trim().split_once(": ").map(|(name, it)| (name.to_ascii_lowercase(), it)) {
            Some((name, it)) if name == "content-length" => length = it.parse().expect("a length"),
            Some((name, it)) if name == "host" => host = it.to_owned(),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, body) = answer(&Request { path, host, body });
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} Word\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

#[tokio::test]
async fn one_key_serves_a_second_model_beside_the_built_in_one() {
    let data = tempfile::tempdir().unwrap();
    let mut command = up(data.path());
    command.env("FRAMEWIRE_OPENAI_API_KEY", "sk-secret");
    command.env("FRAMEWIRE_OPENAI_BASE_URL", painter());
    let launcher = Launcher::start_with(&mut command, data.path());
    let client = Client::new(&launcher.url).await;
    let list = client.read("/v1/models").await;
    let models: Vec<_> = list["data"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(models, ["builtin", "gpt-image-1.5"]);
    for model in models {
        let body = json!({ "model": model, "input": { "prompt": "a red fox", "steps": 1 } });
        let id = client.submit_body(&body).await;
        let job = client.finished(&id).await;
        assert_eq!((&job["status"], &job["model"]), (&json!("completed"), model), "{job}");
    }
}

/// A workflow of which every slot is found without a word.
const WORKFLOW: &str = r#"{
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20,
        "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "b"}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "fw", "images": ["3", 0]}}
}"#;

/// Sections as the README has them; the rest is said by variables.
const SECTIONS: &str = r#"
[replicate]
model = "owner/name"
input = { prompt = "$prompt", seed = "$seed", output_format = "$format" }

[fal]
model = "fal-ai/flux/dev"
"#;

/// Plays the four services besides OpenAI's; every picture has 128 by 64 pixels.
fn services() -> String {
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::new(128, 64).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    serve(move |request| {
        let out = format!("http://{}/out.png", request.host);
        let (first, rest) = request.path.split_once(['/', '?']).unwrap_or((&request.path, ""));
        let body = match (first, rest) {
            ("out.png", _) | ("view", _) => return (200, png.clone()),
            ("sdapi", "v1/txt2img") => json!({ "images": [STANDARD.encode(&png)], "info": "{}" }),
            ("models", "owner/name/predictions") => json!({ "id": "p0", "status": "starting" }),
            ("predictions", "p0") => {
                let metrics = json!({ "predict_time": 1.5 });
                json!({ "id": "p0", "status": "succeeded", "output": [out], "metrics": metrics })
            }
            ("fal-ai", "flux/dev") => json!({ "request_id": "r-1" }),
            ("fal-ai", "flux/requests/r-1") => json!({ "images": [{ "url": out }] }),
            ("fal-ai", _) => json!({ "status": "COMPLETED" }),
            ("prompt", _) => {
                let sent: Value = serde_json::from_slice(&request.body).expect("a prompt");
                json!({ "prompt_id": sent["prompt_id"], "node_errors": {} })
            }
            ("queue", _) => json!({ "queue_running": [], "queue_pending": [] }),
            ("history", id) => {
                let image = json!({ "filename": "x.png", "subfolder": "", "type": "output" });
                let status = json!({ "status_str": "success", "completed": true, "messages": [] });
                json!({ id: { "outputs": { "9": { "images": [image] } }, "status": status } })
            }
            _ => return (404, b"{}".to_vec()),
        };
        (200, body.to_string().into_bytes())
    })
}

#[tokio::test]
async fn every_other_service_draws_from_settings_alone() {
    let data = tempfile::tempdir().unwrap();
    let (flow, file) = (data.path().join("flow.json"), data.path().join("framewire.toml"));
    std::fs::write(&flow, WORKFLOW).unwrap();
    std::fs::write(&file, SECTIONS).unwrap();
    let url = services();
    let mut command = up(data.path());
    command.arg("--config").arg(&file);
    command.env("FRAMEWIRE_REPLICATE_API_TOKEN", "r8_secret").env("FRAMEWIRE_REPLICATE_URL", &url);
    command.env("FRAMEWIRE_FAL_KEY", "id:secret").env("FRAMEWIRE_FAL_URL", &url);
    command.env("FRAMEWIRE_AUTOMATIC1111_URL", &url);
    command.env("FRAMEWIRE_COMFYUI_URL", &url).env("FRAMEWIRE_COMFYUI_WORKFLOW", &flow);
    let launcher = Launcher::start_with(&mut command, data.path());
    let client = Client::new(&launcher.url).await;
    let said = client.read("/v1/models").await;
    let abilities = |name: &str| {
        let list = said["data"].as_array().unwrap();
        list.iter().find(|it| it["id"] == name).unwrap()["abilities"].clone()
    };
    assert_eq!(abilities("comfyui")["negative_prompt"], true, "the workflow has a place for one");
    let mut jobs = Vec::new();
    let models = ["automatic1111", "comfyui", "fal-ai/flux/dev", "owner/name"];
    for model in models {
        let mut input = json!({ "prompt": "a red fox", "width": 128, "height": 64 });
        if model == "comfyui" {
            input["negative_prompt"] = json!("fog");
        }
        jobs.push(client.submit_body(&json!({ "model": model, "input": input })).await);
    }
    for (job, model) in jobs.iter().zip(models) {
        let job = client.finished(job).await;
        assert_eq!((&job["status"], &job["model"]), (&json!("completed"), &json!(model)), "{job}");
        let picture = image::load_from_memory(&client.png(&job).await).unwrap();
        assert_eq!((picture.width(), picture.height()), (128, 64));
        let usage = if model == "owner/name" { json!({ "predict_s": 1.5 }) } else { json!(null) };
        assert_eq!(job["usage"], usage);
    }
}

#[test]
fn a_workflow_that_does_not_fit_is_refused_by_its_node() {
    let data = tempfile::tempdir().unwrap();
    let flow = data.path().join("flow.json");
    std::fs::write(&flow, WORKFLOW.replace("[\"3\", 0]", "[\"33\", 0]")).unwrap();
    let mut command = up(data.path());
    command.env("FRAMEWIRE_COMFYUI_URL", "http://127.0.0.1:9");
    let said = refused(command.env("FRAMEWIRE_COMFYUI_WORKFLOW", &flow));
    assert!(said.contains("FRAMEWIRE_COMFYUI_WORKFLOW") && said.contains("node 9"), "{said}");
}

#[test]
fn a_key_that_is_empty_is_refused_by_its_variable() {
    let data = tempfile::tempdir().unwrap();
    let said = refused(up(data.path()).env("FRAMEWIRE_OPENAI_API_KEY", ""));
    assert!(said.contains("FRAMEWIRE_OPENAI_API_KEY"), "{said}");
}
