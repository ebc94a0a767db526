//! A job that starts from a picture, from its upload to its frame.

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::client::Client;
use crate::launcher::Launcher;

fn png(pixels: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn decoded(client: &Client, path: &str) -> RgbImage {
    let bytes = client.get(path).await.bytes().await.expect("a picture's bytes");
    image::load_from_memory(&bytes).expect("a picture").into_rgb8()
}

fn url(value: &Value) -> &str {
    value["url"].as_str().expect("an address")
}

#[tokio::test]
async fn only_what_a_mask_leaves_open_changes_on_the_way_from_upload_to_frame() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let photo = RgbImage::from_fn(160, 96, |x, y| Rgb([(x * 3) as u8, (y * 5) as u8, 128]));
    // Open on the right half.
    let mask = GrayImage::from_fn(160, 96, |x, _| Luma([if x < 80 { 0 } else { 255 }]));
    let image = client.upload(png(photo.clone())).await;
    let mask = client.upload(png(mask)).await;
    assert_eq!(decoded(&client, url(&image)).await, photo);

    let mut events = client.listen().await;
    let input = json!({"prompt": "a lighthouse at dusk", "steps": 8, "step_ms": 10, "seed": 7,
        "image": image["id"], "mask": mask["id"], "strength": 1.0});
    let id = client.submit_body(&json!({"model": "builtin", "input": input})).await;
    let seen = events.until("completed").await;
    assert!(seen.iter().any(|event| event.name == "preview"), "it develops");
    let job = client.finished(&id).await;
    let frame = &job["frames"][0];
    assert_eq!(
        (&frame["width"], &frame["height"]),
        (&json!(160), &json!(96)),
        "the picture's size"
    );
    let drawn = decoded(&client, url(frame)).await;
    let same = |x: u32, y: u32| drawn.get_pixel(x, y) == photo.get_pixel(x, y);
    let pixels = |from: u32, to: u32| (0..96).flat_map(move |y| (from..to).map(move |x| (x, y)));
    assert!(pixels(0, 80).all(|(x, y)| same(x, y)), "what is black in the mask stays");
    let changed = pixels(96, 160).filter(|&(x, y)| !same(x, y)).count();
    assert!(changed > 5_000, "only {changed} of 6144 open pixels have changed");

    // The frame is a picture to start from in its turn.
    let input = json!({"prompt": "a red fox in snow", "steps": 4, "step_ms": 0, "seed": 7,
        "image": url(frame), "strength": 0.5});
    let id = client.submit_body(&json!({"model": "builtin", "input": input})).await;
    let job = client.finished(&id).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_ne!(decoded(&client, url(&job["frames"][0])).await, drawn);
}
