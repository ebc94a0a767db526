//! Pictures in the encoding that was asked for, and pictures as providers want them.
//!
//! Comes in: bytes that somebody else made, or base64 of them. Goes out: a [`Picture`] whose media
//! type is told by its first bytes, in the asked encoding: adapters ask for it where the provider
//! can be asked, and what comes otherwise is encoded anew here, once for all of them. Decoding has
//! the limits of `picture_check`, and is kept off the async threads.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use bytes::Bytes;
use framewire_shared::domain::{ErrorCode, Failure, MediaType, OutputFormat};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgba, RgbaImage};

use super::Picture;
use crate::picture_check::{PICTURE_BYTES_MAX, decode, recognise};

/// JPEG quality, as of the frames we draw ourselves.
const JPEG_QUALITY: u8 = 90;
/// Longest base64 form of one picture, with some room for a prefix.
pub(super) const BASE64_BYTES_MAX: usize = PICTURE_BYTES_MAX / 3 * 4 + 1024;

/// Gives a finished frame in the encoding that was asked for.
///
/// Errors: the bytes are no picture; the provider's failure.
pub(super) async fn frame(bytes: Bytes, asked: OutputFormat) -> Result<Picture, Failure> {
    let picture = as_it_is(bytes)?;
    if picture.media_type == asked.media_type() {
        return Ok(picture);
    }
    off_thread(move || encode(&decode(&picture.bytes)?.0, asked.media_type())).await
}

/// Gives a picture in whatever encoding it has.
pub(super) fn as_it_is(bytes: Bytes) -> Result<Picture, Failure> {
    if bytes.len() > PICTURE_BYTES_MAX {
        return Err(no_picture(format!("{} bytes are more than a picture may have", bytes.len())));
    }
    match recognise(&bytes) {
        Some((_, media_type)) => Ok(Picture { media_type, bytes }),
        None => Err(no_picture(format!("{} bytes that are no PNG, WebP or JPEG", bytes.len()))),
    }
}

/// Reads base64, with or without the head of a `data:` address.
pub(super) fn from_base64(text: &str) -> Result<Bytes, Failure> {
    if text.len() > BASE64_BYTES_MAX {
        return Err(no_picture(format!("{} bytes of base64 are too many", text.len())));
    }
    let text = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,").map_or("", |(_, data)| data),
        None => text,
    };
    let bytes = STANDARD_PAD_INDIFFERENT.decode(text.trim_ascii());
    bytes.map(Bytes::from).map_err(|error| no_picture(format!("not base64: {error}")))
}

/// Writes a picture as base64.
pub(super) fn to_base64(picture: &Picture) -> String {
    STANDARD_PAD_INDIFFERENT.encode(&picture.bytes)
}

/// Writes a picture as a `data:` address.
pub(super) fn to_data_url(picture: &Picture) -> String {
    format!("data:{};base64,{}", picture.media_type.as_str(), to_base64(picture))
}

/// Paints a picture of one grey: a mask that opens everything, a probe's start.
pub(crate) async fn plain(width: u32, height: u32, grey: u8) -> Result<Picture, Failure> {
    let pixels = move || GrayImage::from_pixel(width, height, Luma([grey]));
    off_thread(move || encode(&DynamicImage::ImageLuma8(pixels()), MediaType::Png)).await
}

/// Turns a mask that is white where to draw anew into one that is transparent there.
pub(super) async fn see_through(mask: Picture) -> Result<Picture, Failure> {
    off_thread(move || {
        let white = decode(&mask.bytes)?.0.into_luma8();
        let clear = RgbaImage::from_fn(white.width(), white.height(), |x, y| {
            Rgba([0, 0, 0, u8::MAX - white.get_pixel(x, y).0[0]])
        });
        encode(&DynamicImage::ImageRgba8(clear), MediaType::Png)
    })
    .await
}

fn encode(pixels: &DynamicImage, media_type: MediaType) -> Result<Picture, String> {
    let mut bytes = Cursor::new(Vec::new());
    let written = match media_type {
        MediaType::Png => pixels.write_to(&mut bytes, ImageFormat::Png),
        MediaType::Webp => {
            // The encoder takes eight bits per channel alone.
            let eight = match pixels.color().has_alpha() {
                true => DynamicImage::ImageRgba8(pixels.to_rgba8()),
                false => DynamicImage::ImageRgb8(pixels.to_rgb8()),
            };
            eight.write_to(&mut bytes, ImageFormat::WebP)
        }
        MediaType::Jpeg => pixels
            .to_rgb8()
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)),
    };
    written.map_err(|error| error.to_string())?;
    Ok(Picture { media_type, bytes: bytes.into_inner().into() })
}

async fn off_thread(
    work: impl FnOnce() -> Result<Picture, String> + Send + 'static,
) -> Result<Picture, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(no_picture),
        Err(error) => Err(no_picture(error.to_string())),
    }
}

fn no_picture(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Unknown, "the provider sent something that is not a picture")
        .detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png() -> Picture {
        let pixels = RgbaImage::from_fn(16, 8, |x, _| Rgba([if x < 8 { 255 } else { 0 }; 4]));
        encode(&DynamicImage::ImageRgba8(pixels), MediaType::Png).unwrap()
    }

    #[tokio::test]
    async fn a_frame_comes_in_the_asked_encoding_and_untouched_where_it_has_it() {
        for asked in [OutputFormat::Png, OutputFormat::Webp, OutputFormat::Jpeg] {
            let picture = frame(png().bytes, asked).await.unwrap();
            let (pixels, real) = decode(&picture.bytes).unwrap();
            assert_eq!((picture.media_type, real), (asked.media_type(), asked.media_type()));
            assert_eq!((pixels.width(), pixels.height()), (16, 8));
        }
        assert_eq!(frame(png().bytes, OutputFormat::Png).await.unwrap().bytes, png().bytes);
    }

    #[tokio::test]
    async fn pages_scripts_and_cut_pictures_are_no_frames() {
        let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        for bytes in [b"".as_slice(), b"<html>", svg.as_bytes(), &png().bytes[..40]] {
            let failure =
                frame(Bytes::copy_from_slice(bytes), OutputFormat::Jpeg).await.unwrap_err();
            assert_eq!(failure.code, ErrorCode::Unknown);
        }
    }

    #[tokio::test]
    async fn a_small_file_of_a_huge_picture_is_not_unpacked() {
        let huge = DynamicImage::ImageLuma8(GrayImage::new(9_000, 9_000));
        let bomb = encode(&huge, MediaType::Png).unwrap();
        assert!(bomb.bytes.len() < 1_000_000);
        let failure = frame(bomb.bytes, OutputFormat::Jpeg).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unknown);
        assert!(failure.detail.to_lowercase().contains("limit"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_masks_white_becomes_transparent() {
        let mask = see_through(png()).await.unwrap();
        let pixels = decode(&mask.bytes).unwrap().0.into_rgba8();
        assert_eq!((pixels.get_pixel(0, 0).0[3], pixels.get_pixel(15, 0).0[3]), (0, 255));
    }

    #[tokio::test]
    async fn a_plain_picture_has_one_grey_and_the_asked_size() {
        let pixels = decode(&plain(64, 72, 255).await.unwrap().bytes).unwrap().0.into_luma8();
        assert_eq!(pixels.dimensions(), (64, 72));
        assert!(pixels.pixels().all(|pixel| pixel.0 == [255]));
    }

    #[test]
    fn base64_is_read_with_and_without_its_head() {
        let picture = png();
        assert_eq!(from_base64(&to_base64(&picture)).unwrap(), picture.bytes);
        assert_eq!(from_base64(&to_data_url(&picture)).unwrap(), picture.bytes);
        assert!(from_base64("data:image/png,plain").unwrap().is_empty());
        assert!(from_base64("not base64!").is_err());
    }
}
