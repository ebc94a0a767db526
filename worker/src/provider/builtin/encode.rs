//! Pictures as bytes.
//!
//! Comes in: pixels. Goes out: a [`Picture`] in the encoding that was asked for. Speed goes before
//! size: an artifact is read a few times, but every frame is encoded while somebody waits.

use bytes::Bytes;
use framewire_shared::domain::{ErrorCode, Failure, MediaType};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ImageError, RgbImage};

use super::super::Picture;

/// JPEG quality of a finished frame.
const FRAME_QUALITY: u8 = 90;
/// JPEG quality of a preview, which is looked at for a second.
const PREVIEW_QUALITY: u8 = 60;

/// Encodes a finished frame.
pub(super) fn frame(pixels: &RgbImage, media_type: MediaType) -> Result<Picture, Failure> {
    encode(pixels, media_type, FRAME_QUALITY)
}

/// Encodes a preview.
pub(super) fn preview(pixels: &RgbImage) -> Result<Picture, Failure> {
    encode(pixels, MediaType::Jpeg, PREVIEW_QUALITY)
}

fn encode(pixels: &RgbImage, media_type: MediaType, quality: u8) -> Result<Picture, Failure> {
    let mut bytes = Vec::new();
    let written: Result<(), ImageError> = match media_type {
        MediaType::Png => pixels.write_with_encoder(PngEncoder::new_with_quality(
            &mut bytes,
            CompressionType::Fast,
            FilterType::Adaptive,
        )),
        MediaType::Webp => pixels.write_with_encoder(WebPEncoder::new_lossless(&mut bytes)),
        MediaType::Jpeg => {
            pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))
        }
    };
    match written {
        Ok(()) => Ok(Picture { media_type, bytes: Bytes::from(bytes) }),
        Err(error) => Err(Failure::new(ErrorCode::Unknown, "the picture could not be encoded")
            .detail(error.to_string())),
    }
}
