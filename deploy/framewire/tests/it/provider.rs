//! A provider that is set up by variables alone.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::client::Client;
use crate::launcher::{Launcher, refused, up};

/// Answers every request with one picture, until the test's process ends.
fn painter() -> String {
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::new(1024, 1024).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let picture = STANDARD.encode(png.into_inner());
    let body = json!({ "data": [{ "b64_json": picture }] }).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(paint(stream, &body));
        }
    });
    url
}

/// Reads one request to its end, and answers it.
fn paint(stream: TcpStream, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(said) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = said.trim().parse().expect("a length");
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    let length = body.len();
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
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

#[test]
fn a_key_that_is_empty_is_refused_by_its_variable() {
    let data = tempfile::tempdir().unwrap();
    let said = refused(up(data.path()).env("FRAMEWIRE_OPENAI_API_KEY", ""));
    assert!(said.contains("FRAMEWIRE_OPENAI_API_KEY"), "{said}");
}
