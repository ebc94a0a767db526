//! Pictures and masks of all shapes, cut to a frame.

use image::{GrayImage, Luma, Rgb, Rgba, RgbaImage};

use super::*;

fn bytes(pixels: impl Into<DynamicImage>) -> Vec<u8> {
    picture::write(&pixels.into(), MediaType::Png).unwrap()
}

fn striped(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, 40]))
}

fn fitted(
    image: Vec<u8>,
    mask: Option<Vec<u8>>,
    size: (u32, u32),
) -> (RgbImage, Option<GrayImage>) {
    let (picture, mask) = fit(&image, mask.as_deref(), size).unwrap();
    let decoded = |picture: Picture| image::load_from_memory(&picture.bytes).unwrap();
    (decoded(picture).into_rgb8(), mask.map(|mask| decoded(mask).into_luma8()))
}

#[test]
fn a_picture_of_the_frames_size_is_left_as_it_is() {
    let (picture, _) = fitted(bytes(striped(64, 48)), None, (64, 48));
    assert_eq!(picture, striped(64, 48));
}

#[test]
fn what_sticks_out_is_cut_on_both_sides_alike() {
    let (picture, _) = fitted(bytes(striped(128, 64)), None, (64, 64));
    let middle = DynamicImage::from(striped(128, 64)).crop_imm(32, 0, 64, 64).into_rgb8();
    assert_eq!(picture, middle);
    let (tall, _) = fitted(bytes(striped(64, 200)), None, (128, 64));
    assert_eq!(tall.dimensions(), (128, 64));
}

#[test]
fn a_mask_of_another_size_marks_the_same_part_of_the_picture() {
    // White on the right half, at a quarter of the picture's size.
    let mask = GrayImage::from_fn(64, 32, |x, _| Luma([if x < 32 { 0 } else { 255 }]));
    let (_, mask) = fitted(
        bytes(striped(256, 128)),
        Some(bytes(DynamicImage::from(mask).to_rgb8())),
        (128, 128),
    );
    let mask = mask.unwrap();
    assert_eq!(mask.dimensions(), (128, 128));
    assert_eq!((mask.get_pixel(60, 9).0[0], mask.get_pixel(68, 99).0[0]), (0, 255));
}

#[test]
fn an_unpainted_mask_is_black_and_a_see_through_picture_lies_on_white() {
    let clear = RgbaImage::from_pixel(64, 64, Rgba([9, 9, 9, 0]));
    let (picture, mask) = fitted(bytes(clear.clone()), Some(bytes(clear)), (64, 64));
    assert_eq!(picture.get_pixel(5, 5).0, [255; 3]);
    assert_eq!(mask.unwrap().get_pixel(5, 5).0, [0]);
}

#[test]
fn an_address_fails_for_good_or_for_now_and_says_which_field() {
    let codes = [
        (Unfetched::Refused("it is private"), ErrorCode::Permanent, "private"),
        (Unfetched::Answered(404), ErrorCode::Permanent, "404"),
        (Unfetched::Answered(429), ErrorCode::Temporary, "429"),
        (Unfetched::Answered(503), ErrorCode::Temporary, "503"),
        (Unfetched::Failed("10.0.0.7 refused".into()), ErrorCode::Temporary, "reached"),
    ];
    for (error, code, word) in codes {
        let failure = unfetched(Place::Mask, &error);
        assert_eq!((failure.code, failure.kind), (code, FailureKind::Ours));
        assert!(failure.message.contains("input.mask"), "{failure:?}");
        assert!(failure.message.contains(word), "{failure:?}");
        assert!(!failure.message.contains("10.0.0.7"), "{failure:?}");
    }
}
