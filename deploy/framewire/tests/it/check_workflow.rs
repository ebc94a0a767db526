//! `framewire check-workflow`: what it says of a workflow, and what it asks of a server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

fn workflow() -> Value {
    json!({
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20,
            "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
        "6": {"class_type": "CLIPTextEncode", "_meta": {"title": "Positive"}, "inputs": {"text": "a"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "b"}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "fw", "images": ["3", 0]}},
    })
}

fn catalog() -> Value {
    let size = json!(["INT", {"min": 16, "max": 16384}]);
    json!({
        "KSampler": {"input": {"required": {"seed": ["INT", {}], "steps": ["INT", {}]}}, "output": ["IMAGE"]},
        "EmptyLatentImage": {"input": {"required": {"width": size, "height": size}}},
        "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {}]}}},
        "SaveImage": {"input": {"required": {"images": ["IMAGE", {}]}}, "output_node": true},
    })
}

/// Writes a workflow to a file of its own.
fn file(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("workflow.json");
    std::fs::write(&file, text).unwrap();
    file
}

fn check(file: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewire"));
    command.arg("check-workflow").arg(file).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("start the command");
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
    (status.code(), text.concat())
}

/// Serves a catalog until the test ends; gives the URL, and the heads of the requests that came.
fn server(catalog: Value) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/comfy/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> =
                lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let body = match head[0].split(' ').nth(1) {
                Some("/comfy/system_stats") => json!({"system": {"comfyui_version": "0.3.75"}}),
                Some("/comfy/object_info") => catalog.clone(),
                other => json!(format!("{other:?} is not served")),
            };
            let body = body.to_string();
            let length = body.len();
            heads.lock().unwrap().push(head.join("\n"));
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    (url, asked)
}

#[test]
fn a_workflow_that_fits_is_shown_with_its_slots_and_nothing_is_queued() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), &workflow().to_string());
    let (code, said) = check(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "ok    prompt           text of node 6 (CLIPTextEncode \"Positive\"), the only one it can be",
        "ok    output           node 9 (SaveImage)",
        "note  image            has no slot: jobs that start from a picture are refused",
    ] {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }

    let (url, asked) = server(catalog());
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "X-Key: s3cret\n").unwrap();
    let (code, said) = check(&file, &["--url", &url, "--headers", headers.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("compared with ComfyUI 0.3.75, which has 4 node classes\nit fits"),
        "{said}"
    );
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|head| head.starts_with("GET ") && head.contains("x-key: s3cret")));
    assert_eq!(asked.len(), 2);
}

#[test]
fn what_a_server_lacks_is_named_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), &workflow().to_string());
    let mut catalog = catalog();
    catalog.as_object_mut().unwrap().remove("KSampler");
    let (url, _) = server(catalog);
    let (code, said) = check(&file, &["--url", &url]);
    assert_eq!(code, Some(1), "{said}");
    let fault = "WRONG node 3 (KSampler): the server has no class KSampler; \
                 are its custom nodes installed?\n\n1 thing does not fit";
    assert!(said.contains(fault), "{said}");
}

#[test]
fn a_workflow_without_what_a_job_needs_ends_with_1_and_can_be_helped_by_slots() {
    let folder = tempfile::tempdir().unwrap();
    let mut workflow = workflow();
    workflow["5"]["inputs"] = json!({"w": 1, "h": 1});
    let file = file(folder.path(), &workflow.to_string());
    let (code, said) = check(&file, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WRONG it has no slot for width"), "{said}");
    assert!(said.contains("2 things do not fit"), "{said}");
    let (code, said) = check(&file, &["--slot", "width=5.w", "--slot", "height=5.h"]);
    assert_eq!(code, Some(0), "{said}");

    let saved = self::file(folder.path(), r#"{"nodes": [], "links": []}"#);
    let (code, said) = check(&saved, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Workflow > Export (API)"), "{said}");
}

#[test]
fn what_cannot_be_looked_at_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = check(&folder.path().join("none.json"), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("failed to read") && said.contains("none.json"), "{said}");
    let file = file(folder.path(), &workflow().to_string());
    let (code, said) = check(&file, &["--url", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("failed to ask http://127.0.0.1:1/"), "{said}");
}
