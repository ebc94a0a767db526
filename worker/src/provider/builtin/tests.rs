//! What the built-in provider promises, seen from the runner's side.

use std::time::Duration;

use framewire_shared::domain::{ErrorCode, Failure, Fault, FrameInput, MediaType, OutputFormat};
use image::{ImageFormat, RgbImage, load_from_memory_with_format};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::Source;
use super::*;

fn input(prompt: &str) -> FrameInput {
    let mut input = FrameInput::new(prompt);
    (input.width, input.height, input.seed) = (96, 64, Some(7));
    (input.steps, input.step_ms) = (8, Some(0));
    input
}

fn call(input: FrameInput) -> Call {
    Call {
        id: "test".into(),
        input,
        source: None,
        attempt: 1,
        checkpoint: None,
        stop: CancellationToken::new(),
        handed_on: CancellationToken::new(),
    }
}

/// Runs a call with faults on and gives everything it yielded.
async fn run(call: Call) -> (Vec<Update>, Result<(), Failure>) {
    let builtin = Builtin::new(BuiltinOptions { faults: true, step_ms_default: 120 });
    let (sender, mut receiver) = mpsc::channel(1);
    let gather = async {
        let mut updates = Vec::new();
        while let Some(update) = receiver.recv().await {
            updates.push(update);
        }
        updates
    };
    let (result, updates) = tokio::join!(builtin.generate(call, sender), gather);
    (updates, result)
}

/// Runs a call that succeeds and gives its frames.
async fn frames(input: FrameInput) -> Vec<Picture> {
    let (updates, result) = run(call(input)).await;
    result.unwrap();
    let frame = |update| {
        if let Update::Frame { picture, .. } = update { Some(picture) } else { None }
    };
    updates.into_iter().filter_map(frame).collect()
}

async fn bytes(input: FrameInput) -> Bytes {
    frames(input).await.remove(0).bytes
}

fn decoded(picture: &Picture) -> RgbImage {
    let format = ImageFormat::from_mime_type(picture.media_type.as_str()).unwrap();
    load_from_memory_with_format(&picture.bytes, format).unwrap().into_rgb8()
}

fn difference(left: &RgbImage, right: &RgbImage) -> f64 {
    let pairs = left.as_raw().iter().zip(right.as_raw());
    let sum: u64 = pairs.map(|(left, right)| u64::from(left.abs_diff(*right))).sum();
    sum as f64 / left.as_raw().len() as f64
}

#[tokio::test]
async fn the_same_input_gives_the_same_bytes_and_another_seed_or_prompt_gives_others() {
    let first = bytes(input("a red fox in snow")).await;
    assert_eq!(first, bytes(input("a red fox in snow")).await);
    let mut other_seed = input("a red fox in snow");
    other_seed.seed = Some(8);
    assert_ne!(first, bytes(other_seed).await);
}

#[tokio::test]
async fn another_prompt_gives_a_clearly_different_picture() {
    let prompts =
        ["a red fox in snow", "neon city", "a planet", "silk", "dunes", "a cat", "qwerty"];
    let mut pictures = Vec::new();
    for prompt in prompts {
        pictures.push(decoded(&frames(input(prompt)).await[0]));
    }
    for (i, left) in pictures.iter().enumerate() {
        for (right, prompt) in pictures[..i].iter().zip(prompts) {
            let apart = difference(left, right);
            assert!(apart > 12.0, "{} and {prompt} differ by {apart} only", prompts[i]);
        }
    }
}

#[tokio::test]
async fn frames_have_the_promised_size_in_every_encoding() {
    for format in [OutputFormat::Png, OutputFormat::Webp, OutputFormat::Jpeg] {
        for (width, height) in [(64, 64), (64, 2048), (2048, 64), (200, 120)] {
            let mut input = input("a lighthouse and a boat at night");
            (input.width, input.height, input.steps) = (width, height, 1);
            input.output_format = format;
            let picture = frames(input).await.remove(0);
            assert_eq!(picture.media_type, format.media_type());
            assert_eq!(decoded(&picture).dimensions(), (width, height));
        }
    }
}

#[tokio::test]
async fn every_frame_comes_once_in_order_with_its_own_seed_after_all_its_steps() {
    let mut input = input("sunset over mountains");
    (input.n, input.steps) = (3, 4);
    let (updates, result) = run(call(input)).await;
    result.unwrap();
    let mut last_step = 0;
    let mut seeds = Vec::new();
    for update in updates {
        match update {
            Update::Progress { step, steps } => {
                assert_eq!((step, steps), (last_step + 1, 12));
                last_step = step;
            }
            Update::Frame { index, seed, .. } => {
                assert_eq!((index, last_step), (seeds.len() as u32, 4 * (index + 1)));
                seeds.push(seed);
            }
            Update::Preview { index, step, .. } => assert_eq!(index * 4 + step, last_step),
            Update::Checkpoint(_) => panic!("there is nothing to resume"),
        }
    }
    assert_eq!(seeds, [7, 8, 9]);
}

#[tokio::test]
async fn every_preview_is_small_and_nearer_to_the_frame_than_the_one_before() {
    for prompt in ["a red fox in snow", "a lighthouse at night", "silk", "a planet", "japanese ink"]
    {
        let mut input = input(prompt);
        (input.width, input.height, input.steps) = (256, 256, 20);
        let (updates, result) = run(call(input)).await;
        result.unwrap();
        let mut looks = Vec::new();
        for update in &updates {
            if let Update::Preview { picture, .. } | Update::Frame { picture, .. } = update {
                looks.push(decoded(picture));
            }
            if let Update::Preview { picture, .. } = update {
                assert!(picture.bytes.len() < 24_000, "{} bytes", picture.bytes.len());
            }
        }
        let frame = looks.last().unwrap();
        let distances: Vec<f64> = looks.iter().map(|look| difference(look, frame)).collect();
        assert_eq!(distances.len(), 5);
        assert!(distances.is_sorted_by(|left, right| left > right), "{prompt}: {distances:?}");
        assert!(distances[0] > 20.0, "{prompt}: {distances:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_thinks_for_step_ms_at_every_step() {
    let began_at = Instant::now();
    let mut input = input("a cat");
    (input.step_ms, input.n) = (Some(250), 2);
    frames(input).await;
    assert_eq!(began_at.elapsed().as_millis() / 10, 16 * 25);
}

#[tokio::test(start_paused = true)]
async fn a_stop_cuts_a_long_thought_short() {
    let mut call = call(input("a cat"));
    call.input.step_ms = Some(5_000);
    let (stop, began_at) = (call.stop.clone(), Instant::now());
    let stop_soon = async {
        sleep(Duration::from_millis(700)).await;
        stop.cancel();
    };
    let ((_, result), ()) = tokio::join!(run(call), stop_soon);
    assert!(result.is_err());
    assert!(began_at.elapsed() < Duration::from_millis(750), "{:?}", began_at.elapsed());
}

#[test]
fn a_stop_ends_the_painting_itself() {
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(picture(&input("a cat"), 1, (2048, 2048), &stop).is_err());
}

#[tokio::test]
async fn a_fault_is_refused_where_faults_are_off() {
    let mut call = call(input("a cat"));
    call.input.fault = Some(Fault::Hang);
    let builtin = Builtin::new(BuiltinOptions::default());
    let failure = builtin.generate(call, mpsc::channel(1).0).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Permanent);
    assert!(failure.message.contains("`builtin.faults = true`"), "{}", failure.message);
}

#[tokio::test]
async fn a_fault_fails_with_its_own_code() {
    let faults = [
        (Fault::Temporary, ErrorCode::Temporary),
        (Fault::Permanent, ErrorCode::Permanent),
        (Fault::RateLimit, ErrorCode::RateLimit),
        (Fault::Auth, ErrorCode::AuthError),
    ];
    for (fault, code) in faults {
        let mut call = call(input("a cat"));
        call.input.fault = Some(fault);
        let (_, result) = run(call).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.code, code);
        let wait = (fault == Fault::RateLimit).then(|| Duration::from_secs(2));
        assert_eq!(failure.retry_after, wait);
    }
}

#[tokio::test]
async fn a_breakdown_comes_after_the_first_step() {
    let mut call = call(input("a cat"));
    call.input.fault = Some(Fault::Temporary);
    let (updates, _) = run(call).await;
    assert!(matches!(updates[..], [Update::Progress { step: 1, steps: 8 }]), "{updates:?}");
}

#[tokio::test]
async fn a_fault_is_over_after_its_attempts() {
    for (attempt, is_failure) in [(1, true), (2, true), (3, false)] {
        let mut call = call(input("a cat"));
        (call.input.fault, call.input.fault_attempts) = (Some(Fault::Temporary), Some(2));
        call.attempt = attempt;
        assert_eq!(run(call).await.1.is_err(), is_failure, "attempt {attempt}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_answers_only_to_a_stop() {
    let mut call = call(input("a cat"));
    call.input.fault = Some(Fault::Hang);
    let (stop, began_at) = (call.stop.clone(), Instant::now());
    let stop_late = async {
        sleep(Duration::from_secs(3_600)).await;
        stop.cancel();
    };
    let ((updates, result), ()) = tokio::join!(run(call), stop_late);
    assert!(result.is_err());
    assert_eq!(updates.len(), 1);
    assert_eq!(began_at.elapsed().as_secs(), 3_600);
}

#[tokio::test]
async fn garbage_is_no_image() {
    let mut input = input("a cat");
    input.fault = Some(Fault::Garbage);
    assert!(image::load_from_memory(&bytes(input).await).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_comes_late_but_whole() {
    let began_at = Instant::now();
    let mut slow = input("a cat");
    slow.fault = Some(Fault::SlowBody);
    assert_eq!(bytes(slow).await, bytes(input("a cat")).await);
    assert_eq!(began_at.elapsed().as_secs(), 30);
}

/// Gives a picture to start from, with a mask that is open on the right half, if there is one.
fn source(strength: f64, masked: bool) -> (RgbImage, Source) {
    let pixels = RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 3) as u8, 77]));
    let png = |pixels: image::DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        pixels.write_to(&mut bytes, ImageFormat::Png).unwrap();
        Picture { media_type: MediaType::Png, bytes: bytes.into_inner().into() }
    };
    let open = |x, _| image::Luma([if x < 48 { 0 } else { 255 }]);
    let mask = masked.then(|| png(image::GrayImage::from_fn(96, 64, open).into()));
    (pixels.clone(), Source { picture: png(pixels.into()), mask, strength })
}

/// Draws from a start picture; gives the frame and the previews.
async fn drawn_from(source: Source) -> (RgbImage, Vec<RgbImage>) {
    let (updates, result) = run(Call { source: Some(source), ..call(input("a red fox")) }).await;
    result.unwrap();
    let (mut frame, mut previews) = (None, Vec::new());
    for update in updates {
        match update {
            Update::Frame { picture, .. } => frame = Some(decoded(&picture)),
            Update::Preview { picture, .. } => previews.push(decoded(&picture)),
            _ => {}
        }
    }
    (frame.unwrap(), previews)
}

#[tokio::test]
async fn the_start_picture_shows_through_the_less_the_more_may_change() {
    let alone = decoded(&frames(input("a red fox")).await[0]);
    let mut far = Vec::new();
    for strength in [0.1, 0.5, 0.9, 1.0] {
        let (start, source) = source(strength, false);
        let (frame, previews) = drawn_from(source).await;
        far.push(difference(&frame, &start));
        assert!(previews.len() > 2, "{}", previews.len());
        if strength == 1.0 {
            assert_eq!(frame, alone, "nothing of it is left");
        }
    }
    assert!(far.is_sorted() && far[0] > 0.0 && far[0] < far[3] / 5.0, "{far:?}");
}

#[tokio::test]
async fn previews_develop_from_the_start_picture_to_the_frame() {
    let (start, source) = source(0.5, false);
    let (frame, previews) = drawn_from(source).await;
    let off: Vec<f64> = previews.iter().map(|look| difference(look, &frame)).collect();
    assert!(off.first() > off.last(), "{off:?}");
    // A little noise for a little strength: the first look is nearer to the start than pure noise.
    let noise = develop::noised(&start, 7, 1.0);
    assert!(difference(&previews[0], &start) < difference(&noise, &start) / 1.5);
}

#[tokio::test]
async fn outside_of_a_mask_every_pixel_stays_and_its_edge_is_soft() {
    for format in [OutputFormat::Png, OutputFormat::Webp] {
        let (start, source) = source(1.0, true);
        let wanted = FrameInput { output_format: format, ..input("a red fox") };
        let (updates, result) = run(Call { source: Some(source), ..call(wanted) }).await;
        result.unwrap();
        let frame = updates.iter().find_map(|update| match update {
            Update::Frame { picture, .. } => Some(decoded(picture)),
            _ => None,
        });
        let frame = frame.unwrap();
        for (x, y, pixel) in start.enumerate_pixels().filter(|(x, ..)| *x < 48) {
            assert_eq!(frame.get_pixel(x, y), pixel, "{x},{y}");
        }
        let alone = decoded(&frames(input("a red fox")).await[0]);
        let column =
            |from: &RgbImage, x: u32| image::imageops::crop_imm(from, x, 0, 1, 64).to_image();
        // Just inside it is neither the one nor the other; further in it is the new picture alone.
        assert_ne!(column(&frame, 48), column(&alone, 48));
        assert_eq!(column(&frame, 80), column(&alone, 80));
    }
}

#[tokio::test]
async fn a_start_picture_of_another_size_is_refused_and_not_stretched() {
    let (_, source) = source(0.5, false);
    let wider = FrameInput { width: 128, ..input("a red fox") };
    let (_, result) = run(Call { source: Some(source), ..call(wider) }).await;
    assert_eq!(result.unwrap_err().code, ErrorCode::Permanent);
}
