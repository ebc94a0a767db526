//! Whether a provider's bytes are the picture that was promised.
//!
//! Nothing is stored, and no event points at it, before it has been decoded whole and has the size
//! that was asked for. Providers answer with error pages, cut-off bodies and other sizes; here is
//! where that is found, as the provider's failure and not as a broken image in somebody's page.

use bytes::Bytes;
use framewire_shared::domain::{ErrorCode, Failure, MediaType};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
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
/// `size` is the promised width and height; `None` accepts any. A bad picture is a failure that
/// nobody foresaw: the same request may well give a good one, but this one is paid for, so it is sent
/// again once at most.
pub async fn check(picture: Picture, size: Option<(u32, u32)>) -> Result<Checked, Failure> {
    let checked = tokio::task::spawn_blocking(move || check_now(picture, size)).await;
    checked.unwrap_or_else(|error| {
        Err(Failure::new(ErrorCode::Unknown, BROKEN)
            .detail(format!("the decoder gave up: {error}")))
    })
}

const BROKEN: &str = "the provider sent something that is not the promised picture";

fn check_now(picture: Picture, size: Option<(u32, u32)>) -> Result<Checked, Failure> {
    let broken = |detail: String| Failure::new(ErrorCode::Unknown, BROKEN).detail(detail);
    if picture.bytes.len() > PICTURE_BYTES_MAX {
        return Err(broken(format!(
            "{} bytes, more than the {PICTURE_BYTES_MAX} that one picture may have",
            picture.bytes.len()
        )));
    }
    let (decoded, media_type) = decode(&picture.bytes).map_err(broken)?;
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

/// Decodes a picture of a kind that we serve, within the limits; takes a thread for a while.
pub(crate) fn decode(bytes: &[u8]) -> Result<(DynamicImage, MediaType), String> {
    let (format, media_type) = recognise(bytes).ok_or("its first bytes are not of an image")?;
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    Ok((reader.decode().map_err(|error| error.to_string())?, media_type))
}

/// Tells by its first bytes what a picture is, whatever its headers and names say.
pub(crate) fn recognise(bytes: &[u8]) -> Option<(ImageFormat, MediaType)> {
    let format = image::guess_format(bytes).ok()?;
    let media_type = match format {
        ImageFormat::Png => MediaType::Png,
        ImageFormat::WebP => MediaType::Webp,
        ImageFormat::Jpeg => MediaType::Jpeg,
        _ => return None,
    };
    Some((format, media_type))
}

#[cfg(test)]
mod tests {
    use framewire_shared::domain::Resend;

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
        let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
        let bad = [
            (b"<html>busy</html>".to_vec(), MediaType::Png),
            (svg.into(), MediaType::Png),
            (Vec::new(), MediaType::Png),
            (png(1, 1), MediaType::Png),
            (png(9_000, 9_000), MediaType::Png),
            (whole[..whole.len() - 20].to_vec(), MediaType::Png),
            (png(32, 64), MediaType::Png),
            (whole.clone(), MediaType::Jpeg),
            (vec![0; PICTURE_BYTES_MAX + 1], MediaType::Png),
        ];
        for (bytes, media_type) in bad {
            let failure = checked(bytes, media_type).await.unwrap_err();
            assert_eq!((failure.code, failure.resend), (ErrorCode::Unknown, Resend::Once));
            assert!(!failure.detail.is_empty());
        }
    }
}
