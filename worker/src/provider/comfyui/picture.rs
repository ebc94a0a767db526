//! Pictures as a server sends them: what they are, and without what they should not tell. Pure.
//!
//! What a picture is, is told by its first bytes; a `Content-Type` may be a proxy's guess. ComfyUI
//! writes the whole workflow into a PNG's text chunks, and the workflow is the operator's, not the
//! user's who gets the picture. Whether it decodes is checked by [`crate::picture_check`].

use bytes::{Bytes, BytesMut};
use framewire_shared::domain::MediaType;

use crate::provider::Picture;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Chunks that are text or about the file; without them every PNG looks the same.
const TELLING: [&[u8]; 5] = [b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"];

/// Reads what a picture is from its first bytes; `None` if it is no picture that we serve.
pub(super) fn of(bytes: Bytes) -> Option<Picture> {
    let media_type = match &bytes[..] {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => MediaType::Webp,
        [0xff, 0xd8, 0xff, ..] => MediaType::Jpeg,
        whole if whole.starts_with(PNG) => MediaType::Png,
        _ => return None,
    };
    Some(Picture { media_type, bytes })
}

/// Takes the text out of a PNG; other encodings, and a PNG that is broken, stay as they are.
pub(super) fn without_text(picture: Picture) -> Picture {
    match cleaned(&picture.bytes) {
        Some(bytes) if picture.media_type == MediaType::Png => Picture { bytes, ..picture },
        _ => picture,
    }
}

/// Copies a PNG chunk by chunk: length, name, data, checksum.
fn cleaned(png: &Bytes) -> Option<Bytes> {
    let mut kept = BytesMut::with_capacity(png.len());
    kept.extend_from_slice(png.get(..PNG.len())?);
    let mut rest = &png[PNG.len()..];
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let chunk = rest.get(..length.checked_add(12)?)?;
        if !TELLING.contains(&&chunk[4..8]) {
            kept.extend_from_slice(chunk);
        }
        rest = &rest[chunk.len()..];
    }
    Some(kept.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png() -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(64, 64).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// A PNG with ComfyUI's chunk after the header; nobody checks its checksum.
    fn telling() -> Vec<u8> {
        let text = b"prompt\0{\"1\": {}}";
        let mut bytes = png();
        let chunk = [&(text.len() as u32).to_be_bytes()[..], b"tEXt", text, b"\0\0\0\0"].concat();
        bytes.splice(33..33, chunk);
        bytes
    }

    #[test]
    fn a_workflow_leaves_the_png_and_the_pixels_stay() {
        let picture = of(telling().into()).unwrap();
        assert_eq!(without_text(picture).bytes, png());
    }

    #[test]
    fn a_broken_png_is_left_to_the_check() {
        for length in [PNG.len() + 2, 40, 60] {
            let cut = Bytes::from(telling()).slice(..length);
            assert_eq!(without_text(of(cut.clone()).unwrap()).bytes, cut);
        }
    }

    #[test]
    fn first_bytes_tell_what_a_picture_is_and_what_is_none() {
        let kind = |bytes: &'static [u8]| of(Bytes::from_static(bytes)).map(|it| it.media_type);
        assert_eq!(kind(b"\xff\xd8\xff\xe0"), Some(MediaType::Jpeg));
        assert_eq!(kind(b"RIFF\x57\0\0\0WEBPVP8 "), Some(MediaType::Webp));
        for none in [&b""[..], b"<html>", b"GIF89a", b"RIFF\0\0\0\0WAVE", b"\x89PNG"] {
            assert_eq!(kind(none), None);
        }
    }
}
