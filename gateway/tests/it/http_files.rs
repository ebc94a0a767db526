//! Uploads: what is taken, what is refused and why, and who may have it back.

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, RgbImage};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Gateway, User, json_of, problem_of};

/// Bytes of an EXIF block: turn by a quarter, and a description.
fn exif() -> Vec<u8> {
    let secret = b"SECRET-PLACE\0";
    let mut tiff = b"II*\0\x08\0\0\0\x02\0".to_vec();
    tiff.extend([0x0e, 0x01, 2, 0, secret.len() as u8, 0, 0, 0, 38, 0, 0, 0]);
    tiff.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]);
    tiff.extend([0; 4]);
    assert_eq!(tiff.len(), 38);
    tiff.extend(secret);
    tiff
}

/// A picture that is not the same anywhere.
pub(crate) fn pixels(width: u32, height: u32) -> RgbImage {
    let pixel = |x: u32, y: u32| [(x * 3) as u8, (y * 5) as u8, (x * y) as u8];
    RgbImage::from_fn(width, height, |x, y| image::Rgb(pixel(x, y)))
}

pub(crate) fn encoded(pixels: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(pixels(width, height), ImageFormat::Png)
}

fn form(bytes: Vec<u8>) -> Form {
    Form::new().part("file", Part::bytes(bytes).file_name("../me.png"))
}

async fn send(user: &User<'_>, form: Form) -> Response {
    user.ask(Method::POST, "/v1/files").multipart(form).send().await.unwrap()
}

/// Uploads a picture that is taken.
pub(crate) async fn upload(user: &User<'_>, bytes: Vec<u8>) -> Value {
    json_of(send(user, form(bytes)).await, 201).await
}

#[tokio::test]
async fn an_upload_is_turned_upright_and_keeps_nothing_but_its_pixels() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let mut photo = Vec::new();
    let mut encoder = JpegEncoder::new(&mut photo);
    encoder.set_exif_metadata(exif()).unwrap();
    encoder.write_image(pixels(64, 32).as_raw(), 64, 32, image::ExtendedColorType::Rgb8).unwrap();
    assert!(photo.windows(6).any(|bytes| bytes == b"SECRET"), "the photo has no metadata");
    let file = upload(&user, photo).await;
    assert_eq!((&file["width"], &file["height"]), (&json!(32), &json!(64)));
    let response = user.ask(Method::GET, file["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "image/jpeg");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let kept = response.bytes().await.unwrap();
    assert_eq!(file["bytes"], kept.len());
    assert!(!kept.windows(6).any(|bytes| bytes == b"SECRET" || bytes == b"Exif\0\0"));
    let kept = image::load_from_memory(&kept).unwrap();
    assert_eq!((kept.width(), kept.height()), (32, 64));
}

#[tokio::test]
async fn every_kind_that_is_accepted_is_given_back_as_that_kind() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Jpeg] {
        let sent = form(encoded(pixels(40, 24), format)).text("purpose", "vision");
        let file = json_of(send(&user, sent).await, 201).await;
        assert_eq!(file["content_type"], format.to_mime_type());
        assert!(file["id"].as_str().unwrap().starts_with("file_c0_"));
        let bytes = user.ask(Method::GET, file["url"].as_str().unwrap()).send().await.unwrap();
        let kept = image::load_from_memory(&bytes.bytes().await.unwrap()).unwrap().into_rgb8();
        assert_eq!(kept == pixels(40, 24), format != ImageFormat::Jpeg, "{format:?}");
    }
}

#[tokio::test]
async fn what_is_not_accepted_is_refused_by_name() {
    let bomb = encoded(image::GrayImage::new(5_000, 5_000), ImageFormat::Png);
    assert!(bomb.len() < 1_000_000, "a bomb is small");
    let whole = png(64, 64);
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    for (bytes, status, code, word) in [
        (Vec::new(), 422, "invalid_file", "empty"),
        (b"<html>hello</html>".to_vec(), 415, "unsupported_picture", "PNG, JPEG and WebP"),
        (svg.to_vec(), 415, "unsupported_picture", "an SVG"),
        (b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), 415, "unsupported_picture", "a GIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0".to_vec(), 415, "unsupported_picture", "a HEIC"),
        (whole[..whole.len() / 2].to_vec(), 422, "invalid_file", "cut off"),
        (png(1, 1), 422, "invalid_file", "1x1"),
        (bomb, 413, "picture_too_large", "5000x5000"),
        (vec![0; 12 * 1024 * 1024 + 1], 413, "picture_too_large", "12582912 bytes"),
        (vec![0; 14 * 1024 * 1024], 413, "picture_too_large", "12582912 bytes"),
    ] {
        let problem = problem_of(send(&user, form(bytes)).await, status, code).await;
        assert!(problem["detail"].as_str().unwrap().contains(word), "{word}: {problem}");
        assert_eq!(problem["error"]["param"], "file");
        assert_eq!(problem.get("fallback"), None, "nobody waits for a picture");
    }
    // Nothing of it was kept.
    assert_eq!(gateway.redis_cli(&["HLEN", &format!("fw:{{c0}}:files:{}", user.session())]), "0");
    let folder = gateway.folder().join("files");
    assert!(!folder.exists() || folder.read_dir().unwrap().next().is_none());
}

#[tokio::test]
async fn a_form_has_exactly_one_file_and_nothing_that_means_nothing() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let twice = form(png(64, 64)).part("file", Part::bytes(png(64, 64)));
    let other = Form::new().part("image", Part::bytes(png(64, 64)));
    let beside = form(png(64, 64)).text("colour", "red");
    for (form, word) in [
        (Form::new().text("purpose", "x"), "missing"),
        (twice, "twice"),
        (other, "\"image\""),
        (beside, "\"colour\""),
    ] {
        let problem = problem_of(send(&user, form).await, 422, "invalid_file").await;
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let post = || user.ask(Method::POST, "/v1/files");
    let plain = post().body(png(64, 64)).header("content-type", "image/png");
    problem_of(plain.send().await.unwrap(), 415, "unsupported_media_type").await;
    let nothing = post().send().await.unwrap();
    problem_of(nothing, 415, "unsupported_media_type").await;
    let unbound = post().header("content-type", "multipart/form-data").body("x");
    problem_of(unbound.send().await.unwrap(), 415, "unsupported_media_type").await;
    let cut = "--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\n\x7fabc";
    let cut = post().header("content-type", "multipart/form-data; boundary=b").body(cut);
    problem_of(cut.send().await.unwrap(), 400, "bad_request").await;
}

#[tokio::test]
async fn a_file_is_its_sessions_alone_and_goes_when_that_says_so() {
    let gateway = Gateway::start().await;
    let (owner, stranger) = (gateway.user().await, gateway.user().await);
    let file = upload(&owner, png(64, 48)).await;
    let url = file["url"].as_str().unwrap();
    let missing = format!("{}0", &url[..url.len() - 1]);
    for (user, path) in [(&stranger, url), (&owner, &*missing), (&owner, "/v1/files/x")] {
        for method in [Method::GET, Method::DELETE] {
            let response = user.ask(method, path).send().await.unwrap();
            let problem = problem_of(response, 404, "file_not_found").await;
            assert!(!problem["detail"].as_str().unwrap().contains("file_c"), "{problem}");
        }
    }
    let nobody = gateway.ask(Method::GET, url).send().await.unwrap();
    problem_of(nobody, 401, "invalid_token").await;
    let part = owner.ask(Method::GET, url).header("range", "bytes=1-3").send().await.unwrap();
    assert_eq!((part.status().as_u16(), &*part.bytes().await.unwrap()), (206, &b"PNG"[..]));
    let gone = owner.ask(Method::DELETE, url).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    for method in [Method::GET, Method::DELETE] {
        problem_of(owner.ask(method, url).send().await.unwrap(), 404, "file_not_found").await;
    }
    assert_eq!(gateway.folder().join("files").read_dir().map(Iterator::count).unwrap_or(0), 0);
}

#[tokio::test]
async fn a_session_has_only_so_many_files_and_is_told_when_one_goes() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let list = format!("fw:{{c0}}:files:{}", user.session());
    let at = |ms: i64| jiff_now_ms() + ms;
    let others = (0..199).flat_map(|n| [format!("file_c0_{n:032x}"), format!("{} 10", at(90_000))]);
    let set = ["HSET".to_owned(), list.clone()].into_iter().chain(others).collect::<Vec<_>>();
    gateway.redis_cli(&set.iter().map(String::as_str).collect::<Vec<_>>());
    let last = upload(&user, png(64, 64)).await;
    let full = send(&user, form(png(64, 64))).await;
    let retry_s: i64 = full.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=90).contains(&retry_s), "{retry_s}");
    let problem = problem_of(full, 429, "too_many_files").await;
    assert!(problem["detail"].as_str().unwrap().contains("200 files"), "{problem}");
    // One that is deleted, and one that has expired, make room.
    user.ask(Method::DELETE, last["url"].as_str().unwrap()).send().await.unwrap();
    upload(&user, png(64, 64)).await;
    let first = format!("file_c0_{:032x}", 0);
    gateway.redis_cli(&["HSET", &list, &first, &format!("{} 10", at(-1_000))]);
    upload(&user, png(64, 64)).await;
    assert_eq!(gateway.redis_cli(&["HEXISTS", &list, &first]), "0");
    // Bytes are counted too.
    gateway.redis_cli(&["DEL", &list]);
    gateway.redis_cli(&["HSET", &list, &first, &format!("{} 268435456", at(90_000))]);
    problem_of(send(&user, form(png(64, 64))).await, 429, "too_many_files").await;
}

fn jiff_now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis() as i64
}
