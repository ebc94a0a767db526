//! Jobs that start from a picture: how one is named, found, kept, and refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framewire_shared::domain::{Abilities, Place};
use framewire_shared::store::blobs::inputs::JobInput;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http_files::{png, upload};
use crate::support::{Gateway, User, Worker, job_id, json_of, problem_of};

fn starting_from(image: &str) -> Value {
    json!({"input": {"prompt": "a fox", "image": image}})
}

fn data_uri(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

fn pointers(problem: &Value) -> Vec<&str> {
    let faults = problem["errors"].as_array().expect("faults by field");
    faults.iter().map(|fault| fault["pointer"].as_str().unwrap()).collect()
}

async fn has_input(gateway: &Gateway, job: &Value, place: Place) -> bool {
    let job = job_id(job["id"].as_str().unwrap());
    gateway.blobs.read_whole(&JobInput { job: &job, place }).await.unwrap().is_some()
}

/// Gives the URL of a frame that a session has, of 64 × 64 pixels.
async fn frame(gateway: &Gateway, user: &User<'_>) -> String {
    let mut worker = Worker::start(gateway, 1).await;
    user.job("a fox").await;
    let lease = worker.claim().await;
    worker.complete(&lease, &png(64, 64)).await.url()
}

#[tokio::test]
async fn a_job_keeps_its_pictures_when_the_file_goes_and_loses_them_when_it_goes_itself() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let file = upload(&user, png(200, 104)).await;
    let (id, url) = (file["id"].as_str().unwrap(), file["url"].as_str().unwrap());
    // By its name and by its URL, which mean the same.
    let input = json!({"prompt": "x", "image": id, "mask": url, "strength": 0.5});
    let job = user.submit(&json!({"input": input}), 202).await;
    assert_eq!((&job["input"]["image"], &job["input"]["mask"]), (&json!(id), &json!(id)));
    assert_eq!(job["input"]["strength"], 0.5);
    assert_eq!((&job["input"]["width"], &job["input"]["height"]), (&json!(200), &json!(104)));
    user.ask(Method::DELETE, url).send().await.unwrap();
    for place in Place::ALL {
        assert!(has_input(&gateway, &job, place).await, "{place:?}");
    }
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    user.post(&format!("{path}/cancel"), 200).await;
    assert!(has_input(&gateway, &job, Place::Image).await, "it may be tried again");
    assert_eq!(user.ask(Method::DELETE, &path).send().await.unwrap().status(), 204);
    assert!(!has_input(&gateway, &job, Place::Image).await);
}

#[tokio::test]
async fn the_frame_has_the_pictures_size_unless_one_is_named_or_the_model_draws_others() {
    let gateway = Gateway::start_with(|settings| {
        let mut gpt = settings.models.0["builtin"].clone();
        (gpt.default, gpt.abilities) = (false, Abilities::openai("gpt-image-1"));
        settings.models.0.insert("gpt".into(), gpt);
    })
    .await;
    let user = gateway.user().await;
    let file = upload(&user, png(300, 200)).await;
    let size_of = async |model: &str, size: Value| {
        let mut input = json!({"prompt": "x", "image": file["id"]});
        input.as_object_mut().unwrap().extend(size.as_object().unwrap().clone());
        let job = user.submit(&json!({"model": model, "input": input}), 202).await;
        assert_eq!(job["input"]["strength"], 0.75);
        [&job["input"]["width"], &job["input"]["height"]].map(|side| side.as_u64().unwrap())
    };
    assert_eq!(size_of("builtin", json!({})).await, [304, 200]);
    assert_eq!(size_of("builtin", json!({"width": 64, "height": 64})).await, [64, 64]);
    assert_eq!(size_of("gpt", json!({})).await, [1536, 1024]);
}

#[tokio::test]
async fn a_frame_of_ones_own_is_named_by_its_url_or_its_name() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let url = frame(&gateway, &user).await;
    for named in [&*url, url.rsplit('/').next().unwrap()] {
        let job = user.submit(&starting_from(named), 202).await;
        assert_eq!(job["input"]["image"], url);
        assert_eq!(job["input"]["width"], 64);
        assert!(has_input(&gateway, &job, Place::Image).await);
    }
    let preview = url.replace("-0.png", "-0p4.png");
    let problem = user.submit(&starting_from(&preview), 422).await;
    assert_eq!(pointers(&problem), ["#/input/image"]);
}

#[tokio::test]
async fn what_is_anothers_is_refused_as_what_is_not_there() {
    let gateway = Gateway::start().await;
    let (owner, stranger) = (gateway.user().await, gateway.user().await);
    let file = upload(&owner, png(64, 64)).await["id"].as_str().unwrap().to_owned();
    let frame = frame(&gateway, &owner).await;
    let job = frame.trim_start_matches("/v1/artifacts/").split('-').next().unwrap();
    let fresh = format!("job_c0_{}", "0".repeat(32));
    for (theirs, nobodys) in [
        (file.clone(), format!("file_c0_{}", "0".repeat(32))),
        (file.clone(), file.replace("file_c0", "file_c7")),
        (frame.clone(), frame.replace(job, &fresh)),
    ] {
        let detail = async |user: &User<'_>, named: &str| {
            let problem = user.submit(&starting_from(named), 422).await;
            assert_eq!(pointers(&problem), ["#/input/image"]);
            problem["detail"].clone()
        };
        assert_eq!(detail(&stranger, &theirs).await, detail(&owner, &nobodys).await);
    }
    let both = json!({"prompt": "x", "image": file, "mask": frame});
    let problem = stranger.submit(&json!({"input": both}), 422).await;
    assert_eq!(pointers(&problem), ["#/input/image", "#/input/mask"]);
    assert_eq!(problem["fallback"]["kind"], "static");
    assert!(!gateway.folder().join("inputs").exists(), "a refused job leaves nothing");
}

#[tokio::test]
async fn a_data_uri_becomes_a_file_and_the_same_request_becomes_no_second_one() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let input =
        json!({"prompt": "x", "image": data_uri(&png(96, 64)), "mask": data_uri(&png(96, 64))});
    let body = json!({"input": input});
    let submit = || user.ask(Method::POST, "/v1/jobs").header("idempotency-key", "k").json(&body);
    let first: Value = submit().send().await.unwrap().json().await.unwrap();
    assert_eq!(first["status"], "queued", "{first}");
    assert!(first["input"]["image"].as_str().unwrap().starts_with("file_c0_"), "{first}");
    assert!(!first.to_string().contains("base64"));
    assert_eq!((&first["input"]["width"], &first["input"]["height"]), (&json!(96), &json!(64)));
    let again = submit().send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], first["id"]);
    let files = gateway.redis_cli(&["HLEN", &format!("fw:{{c0}}:files:{}", user.session())]);
    assert_eq!(files, "2", "files of a request that was answered before stay");
    let folder = |name: &str| gateway.folder().join(name).read_dir().unwrap().count();
    assert_eq!((folder("files"), folder("inputs")), (2, 1));
    let url = format!("/v1/files/{}", first["input"]["image"].as_str().unwrap());
    assert_eq!(user.ask(Method::GET, &url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_request_sent_again_is_answered_whatever_became_of_its_pictures() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let file = upload(&user, png(64, 64)).await;
    let by_file = starting_from(file["id"].as_str().unwrap());
    let by_data = starting_from(&data_uri(&png(64, 64)));
    let submit = async |key: &str, body: &Value, status: u16| {
        let request = user.ask(Method::POST, "/v1/jobs").header("idempotency-key", key).json(body);
        let response = request.send().await.unwrap();
        let replayed = response.headers().contains_key("idempotent-replayed");
        (json_of(response, status).await, replayed)
    };
    let (first, second) = (submit("a", &by_file, 202).await.0, submit("b", &by_data, 202).await.0);
    user.ask(Method::DELETE, file["url"].as_str().unwrap()).send().await.unwrap();
    // As many files as a session may have.
    let list = format!("fw:{{c0}}:files:{}", user.session());
    gateway.redis_cli(&["HSET", &list, &format!("file_c0_{:032x}", 0), "9999999999999 268435456"]);
    for (key, body, job) in [("a", &by_file, &first), ("b", &by_data, &second)] {
        let (again, replayed) = submit(key, body, 202).await;
        assert_eq!((&again["id"], replayed), (&job["id"], true), "{key}");
    }
    assert_eq!(submit("b", &by_file, 422).await.0["code"], "idempotency_key_reused");
    // What is new is refused for its picture.
    assert_eq!(submit("c", &by_file, 422).await.0["code"], "invalid_value");
    let full = submit("c", &by_data, 429).await.0;
    assert_eq!(full["code"], "too_many_files");
    assert_eq!(full["fallback"]["kind"], "static", "{full}");
}

#[tokio::test]
async fn a_job_that_is_not_accepted_leaves_nothing_behind() {
    let gateway = Gateway::start_with(|settings| {
        settings.queue.session_max = std::num::NonZeroU32::MIN;
        settings.queue.session_cap = std::num::NonZeroU32::MIN;
    })
    .await;
    let user = gateway.user().await;
    user.job("the only one").await;
    user.submit(&starting_from(&data_uri(&png(64, 64))), 429).await;
    let files = gateway.redis_cli(&["HLEN", &format!("fw:{{c0}}:files:{}", user.session())]);
    assert_eq!(files, "0");
    let left = |name: &str| gateway.folder().join(name).read_dir().map_or(0, Iterator::count);
    assert_eq!((left("files"), left("inputs")), (0, 0));
}

#[tokio::test]
async fn what_can_not_be_a_picture_is_refused_with_its_field() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let long = format!("data:image/png;base64,{}", "A".repeat(1024 * 1024));
    for (image, word) in [
        ("", "file id of POST /v1/files"),
        ("my picture", "file id of POST /v1/files"),
        ("http://a.example/x.png", "https://"),
        ("https://me:pw@a.example/x.png", "password"),
        ("data:image/png;base64,***", "base64"),
        ("data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=", "an SVG"),
        (&*data_uri(&png(64, 64)[..60]), "cut off"),
        (&*data_uri(&png(2, 2)), "2x2"),
        (&*long, "POST /v1/files"),
    ] {
        let problem = user.submit(&starting_from(image), 422).await;
        assert_eq!(pointers(&problem), ["#/input/image"], "{image:.60}");
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{image:.60}: {detail}");
    }
    let alone = json!({"prompt": "x", "mask": "https://a.example/x.png", "strength": 0.5});
    let problem = user.submit(&json!({"input": alone}), 422).await;
    assert_eq!(pointers(&problem), ["#/input/mask", "#/input/strength"]);
    let wrong = json!({"prompt": "x", "image": 7, "strength": "much"});
    let problem = user.submit(&json!({"input": wrong}), 422).await;
    assert_eq!(pointers(&problem), ["#/input/image", "#/input/strength"]);
}

#[tokio::test]
async fn a_body_may_be_larger_by_its_data_uris_and_by_nothing_else() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let noise = image::RgbImage::from_fn(300, 300, |x, y| {
        image::Rgb([x, y, x ^ y].map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8))
    });
    let noise = crate::http_files::encoded(noise, image::ImageFormat::Png);
    assert!(noise.len() > 100_000, "{}", noise.len());
    user.submit(&starting_from(&data_uri(&noise)), 202).await;
    let mut heavy = starting_from(&data_uri(&noise));
    heavy["metadata"]["note"] = "x".repeat(70_000).into();
    let response = user.ask(Method::POST, "/v1/jobs").json(&heavy).send().await.unwrap();
    problem_of(response, 413, "payload_too_large").await;
}

#[tokio::test]
async fn a_model_that_starts_from_no_picture_refuses_it_at_submit() {
    let gateway = Gateway::start_with(|settings| {
        let builtin = settings.models.0.get_mut("builtin").unwrap();
        builtin.abilities = Abilities { image: false, mask: false, ..Abilities::default() };
    })
    .await;
    let user = gateway.user().await;
    let input = json!({"prompt": "x", "image": "https://a.example/x.png",
        "mask": "https://a.example/y.png"});
    let problem = user.submit(&json!({"input": input}), 422).await;
    assert_eq!(pointers(&problem), ["#/input/image", "#/input/mask"]);
}

#[tokio::test]
async fn an_address_is_left_to_the_worker() {
    let gateway = Gateway::start().await;
    let user = gateway.user().await;
    let job = user.submit(&starting_from("https://a.example/x.png"), 202).await;
    assert_eq!(job["input"]["image"], "https://a.example/x.png");
    assert_eq!((&job["input"]["width"], &job["input"]["strength"]), (&json!(512), &json!(0.75)));
    assert!(!has_input(&gateway, &job, Place::Image).await);
}
