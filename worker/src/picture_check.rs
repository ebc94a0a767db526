//! Whether a provider's bytes are the picture that was promised.
//!
//! Nothing is stored, and no event points at it, before it has been decoded whole and has the size
//! that was asked for. Providers answer with error pages, cut-off bodies and other sizes; here is
//! where that is found, as the provider's failure and not as a broken image in somebody's page.

use bytes::Bytes;
use framewire_shared::domain::{ErrorCode, Failure, MediaType};
use image::{ImageFormat, ImageReader, Limits};
use sha2::{Digest, Sha256};

use crate::provider::Picture;

/// Largest stored form of one picture.
pub const PICTURE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest decoded form: 4096 × 4096 pixels of four bytes.
const DECODED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A picture that decodes.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The stored form.
    pub bytes: Bytes,
    /// What it really is.
    pub media_type: MediaType,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Digest of the stored form, in hex.
    pub sha256: String,
}

/// Decodes a picture off the async threads.
///
/// `size` is the promised width and height; `None` accepts any. A bad picture is a temporary
/// failure: the same request may well give a good one.
pub async fn check(picture: Picture, size: Option<(u32, u32)>) -> Result<Checked, Failure> {
    let checked = tokio::task::spawn_blocking(move || check_now(picture, size)).await;
    checked.unwrap_or_else(|error| {
        Err(Failure::new(ErrorCode::Temporary, BROKEN)
            .detail(format!("the decoder gave up: {error}")))
    })
}

const BROKEN: &str = "the provider sent something that is not the promised picture";

fn check_now(picture: Picture, size: Option<(u32, u32)>) -> Result<Checked, Failure> {
    let broken = |detail: String| Failure::new(ErrorCode::Temporary, BROKEN).detail(detail);
    if picture.bytes.len() > PICTURE_BYTES_MAX {
        return Err(broken(format!(
            "{} bytes, more than the {PICTURE_BYTES_MAX} that one picture may have",
            picture.bytes.len()
        )));
    }
    let mut reader = ImageReader::new(std::io::Cursor::new(&picture.bytes))
        .with_guessed_format()
        .map_err(|error| broken(error.to_string()))?;
    let media_type = match reader.format() {
        Some(ImageFormat::Png) => MediaType::Png,
        Some(ImageFormat::WebP) => MediaType::Webp,
        Some(ImageFormat::Jpeg) => MediaType::Jpeg,
        other => {
            return Err(broken(format!("its first bytes are of {other:?}, not of an image")));
        }
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    let decoded = reader.decode().map_err(|error| broken(error.to_string()))?;
    let (width, height) = (decoded.width(), decoded.height());
    if size.is_some_and(|size| size != (width, height)) {
        return Err(broken(format!("it has {width}x{height} pixels, {size:?} were asked for")));
    }
    if media_type != picture.media_type {
        return Err(broken(format!("it is {media_type:?}, announced as {:?}", picture.media_type)));
    }
    let sha256 = Sha256::digest(&picture.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Checked { bytes: picture.bytes, media_type, width, height, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    async fn checked(bytes: Vec<u8>, media_type: MediaType) -> Result<Checked, Failure> {
        check(Picture { media_type, bytes: bytes.into() }, Some((64, 32))).await
    }

    #[tokio::test]
    async fn only_a_whole_picture_of_the_promised_kind_and_size_passes() {
        assert_eq!(checked(png(64, 32), MediaType::Png).await.unwrap().width, 64);
        let whole = png(64, 32);
        let bad = [
            (b"<html>busy</html>".to_vec(), MediaType::Png),
            (Vec::new(), MediaType::Png),
            (whole[..whole.len() - 20].to_vec(), MediaType::Png),
            (png(32, 64), MediaType::Png),
            (whole.clone(), MediaType::Jpeg),
            (vec![0; PICTURE_BYTES_MAX + 1], MediaType::Png),
        ];
        for (bytes, media_type) in bad {
            let failure = checked(bytes, media_type).await.unwrap_err();
            assert_eq!(failure.code, ErrorCode::Temporary);
            assert!(!failure.detail.is_empty());
        }
    }
}
