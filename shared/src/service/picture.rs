//! Pictures that strangers have made, decoded within bounds and written anew.
//!
//! Comes in: bytes from an upload, a data URI or an address. Goes out: pixels, eight bits a channel,
//! upright, and those as bytes of our own making, so that nothing of a file but its picture goes
//! any further: no EXIF, no place where it was taken, no thumbnail, no trailing archive. Invariant:
//! no more is unpacked than the header's size allows, and that is judged before. Takes a thread for a
//! while: callers keep it off the async ones, and decode few at a time.

use std::fmt;
use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::domain::MediaType;

/// Largest picture as it is brought: a good camera's JPEG.
pub const BYTES_MAX: usize = 12 * 1024 * 1024;
/// Largest picture as it is kept; what a lossless picture may grow to when it is written anew.
pub const STORED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most pixels: 4096 × 4096, four times the largest frame.
pub const PIXELS_MAX: u64 = 4096 * 4096;
/// Bounds of a side: smaller shows nothing, longer is no picture.
pub const SIDE_PX: std::ops::RangeInclusive<u32> = 16..=8_192;
/// Memory that one decoding may take: the most pixels, four channels of sixteen bits.
const DECODED_BYTES_MAX: u64 = PIXELS_MAX * 8;
/// JPEG quality of what is written anew: the loss of once more is not seen.
const JPEG_QUALITY: u8 = 95;

/// Why bytes are not taken as a picture; reads well behind the name of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// There are none.
    Empty,
    /// There are more than [`BYTES_MAX`].
    TooManyBytes,
    /// They are of a kind that is not accepted, where it is known which.
    Unsupported(Option<&'static str>),
    /// The picture has more pixels, or a longer side, than is unpacked.
    TooManyPixels(u32, u32),
    /// The picture has a side that shows nothing.
    TooSmall(u32, u32),
    /// They begin as a picture and do not go on as one.
    Broken,
    /// Without loss it takes more than [`STORED_BYTES_MAX`].
    TooDetailed,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ACCEPTED: &str = "PNG, JPEG and WebP are accepted";
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooManyBytes => {
                write!(f, "has more than the {BYTES_MAX} bytes that are accepted")
            }
            Self::Unsupported(Some(kind)) => write!(f, "is {kind}; {ACCEPTED}"),
            Self::Unsupported(None) => write!(f, "is no picture; {ACCEPTED}"),
            Self::TooManyPixels(width, height) => write!(
                f,
                "has {width}x{height} pixels; at most {PIXELS_MAX} are accepted, and no side over {}",
                SIDE_PX.end()
            ),
            Self::TooSmall(width, height) => write!(
                f,
                "has {width}x{height} pixels; each side must have at least {}",
                SIDE_PX.start()
            ),
            Self::TooDetailed => write!(
                f,
                "takes more than {STORED_BYTES_MAX} bytes without loss; send it as a JPEG, or smaller"
            ),
            Self::Broken => f.write_str("can't be decoded; it may be cut off or damaged"),
        }
    }
}

/// Tells by its first bytes what a picture is, whatever its headers and names say.
pub fn recognise(bytes: &[u8]) -> Option<MediaType> {
    match image::guess_format(bytes).ok()? {
        ImageFormat::Png => Some(MediaType::Png),
        ImageFormat::WebP => Some(MediaType::Webp),
        ImageFormat::Jpeg => Some(MediaType::Jpeg),
        _ => None,
    }
}

/// Decodes a picture and turns it upright.
pub fn read(bytes: &[u8]) -> Result<(DynamicImage, MediaType), Unreadable> {
    if bytes.is_empty() {
        return Err(Unreadable::Empty);
    }
    let media_type = recognise(bytes).ok_or_else(|| Unreadable::Unsupported(kind_of(bytes)))?;
    if media_type == MediaType::Jpeg && !jpeg_has_an_end(bytes) {
        return Err(Unreadable::Broken);
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format_of(media_type));
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|_| Unreadable::Broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS_MAX || width.max(height) > *SIDE_PX.end() {
        return Err(Unreadable::TooManyPixels(width, height));
    }
    if width.min(height) < *SIDE_PX.start() {
        return Err(Unreadable::TooSmall(width, height));
    }
    let turn = decoder.orientation().ok();
    let mut pixels = DynamicImage::from_decoder(decoder).map_err(|_| Unreadable::Broken)?;
    if let Some(turn) = turn {
        pixels.apply_orientation(turn);
    }
    let eight_bits = match pixels.color().has_alpha() {
        true => DynamicImage::ImageRgba8(pixels.into_rgba8()),
        false => DynamicImage::ImageRgb8(pixels.into_rgb8()),
    };
    Ok((eight_bits, media_type))
}

/// Writes pixels, as [`read`] gives them; PNG and WebP lose nothing.
pub fn write(pixels: &DynamicImage, media_type: MediaType) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    let written = match media_type {
        // Speed before size: somebody waits.
        MediaType::Png => pixels.write_with_encoder(PngEncoder::new_with_quality(
            &mut bytes,
            CompressionType::Fast,
            FilterType::Adaptive,
        )),
        MediaType::Webp => pixels.write_with_encoder(WebPEncoder::new_lossless(&mut bytes)),
        MediaType::Jpeg => {
            pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        }
    };
    match written {
        Ok(()) if bytes.len() > STORED_BYTES_MAX => Err(Unreadable::TooDetailed),
        Ok(()) => Ok(bytes),
        Err(_) => Err(Unreadable::Broken),
    }
}

fn format_of(media_type: MediaType) -> ImageFormat {
    match media_type {
        MediaType::Png => ImageFormat::Png,
        MediaType::Webp => ImageFormat::WebP,
        MediaType::Jpeg => ImageFormat::Jpeg,
    }
}

/// Names what else people take for a picture, so that they know what to convert.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let brand = || bytes.get(8..12).filter(|_| bytes.get(4..8) == Some(b"ftyp".as_slice()));
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).to_ascii_lowercase();
    let begins = |start: &[u8]| bytes.starts_with(start);
    match () {
        () if begins(b"GIF8") => Some("a GIF"),
        () if brand() == Some(b"avif") || brand() == Some(b"avis") => Some("an AVIF"),
        () if brand().is_some_and(|brand| {
            [b"heic", b"heix", b"mif1", b"msf1", b"hevc"]
                .iter()
                .any(|known| known.as_slice() == brand)
        }) =>
        {
            Some("a HEIC")
        }
        () if begins(b"II*\0") || begins(b"MM\0*") => Some("a TIFF"),
        () if begins(b"BM") => Some("a BMP"),
        () if begins(b"%PDF") => Some("a PDF"),
        () if begins(&[0xff, 0x0a]) || begins(b"\0\0\0\x0cJXL ") => Some("a JPEG XL"),
        () if start.contains("<svg") => Some("an SVG"),
        () => None,
    }
}

/// Tells whether a JPEG's data come to their end: decoders fill what is missing with grey, and
/// nobody would know.
fn jpeg_has_an_end(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    // Segments before the first scan are skipped whole: a thumbnail in one has an end of its own.
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        at += match marker {
            // Fill bytes may stand before a marker.
            0xff => 1,
            _ => 2 + usize::from(u16::from_be_bytes([high, low])),
        };
        if marker == START_OF_SCAN {
            // Within a scan 0xff is never followed by this.
            return bytes
                .get(at..)
                .is_some_and(|scan| scan.windows(2).any(|two| two == [0xff, 0xd9]));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    fn picture(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 3) as u8, (y * 5) as u8, 90])).into()
    }

    #[test]
    fn what_is_written_is_read_the_same_where_nothing_may_be_lost() {
        for media_type in MediaType::ALL {
            let bytes = write(&picture(40, 24), media_type).unwrap();
            let (pixels, read_as) = read(&bytes).unwrap();
            assert_eq!((read_as, pixels.width(), pixels.height()), (media_type, 40, 24));
            assert_eq!(pixels == picture(40, 24), media_type != MediaType::Jpeg);
        }
    }

    #[test]
    fn a_cut_picture_of_any_kind_is_broken() {
        for media_type in MediaType::ALL {
            let bytes = write(&picture(64, 64), media_type).unwrap();
            for part in [bytes.len() / 2, bytes.len() - 30, 40] {
                assert_eq!(read(&bytes[..part]), Err(Unreadable::Broken), "{media_type:?} {part}");
            }
        }
    }

    #[test]
    fn a_picture_is_judged_by_its_header_before_it_is_unpacked() {
        for (width, height) in [(8_193, 16), (4_097, 4_096)] {
            let bomb = write(&DynamicImage::new_rgb8(width, height), MediaType::Png).unwrap();
            // Only the header is left: what is not unpacked need not be there.
            let head = read(&bomb[..60.min(bomb.len())]);
            assert_eq!(head, Err(Unreadable::TooManyPixels(width, height)));
        }
        let dot = write(&picture(1, 1), MediaType::Png).unwrap();
        assert_eq!(read(&dot), Err(Unreadable::TooSmall(1, 1)));
    }

    #[test]
    fn what_is_not_accepted_is_named() {
        let kinds: [(&[u8], Unreadable); 9] = [
            (b"", Unreadable::Empty),
            (b"hello", Unreadable::Unsupported(None)),
            (b"GIF89a\x01\0\x01\0", Unreadable::Unsupported(Some("a GIF"))),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Unreadable::Unsupported(Some("a HEIC"))),
            (b"\0\0\0\x18ftypavif\0\0\0\0", Unreadable::Unsupported(Some("an AVIF"))),
            (b"II*\0\x08\0\0\0", Unreadable::Unsupported(Some("a TIFF"))),
            (b"%PDF-1.7", Unreadable::Unsupported(Some("a PDF"))),
            (b"BM\0\0\0\0", Unreadable::Unsupported(Some("a BMP"))),
            (
                b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
                Unreadable::Unsupported(Some("an SVG")),
            ),
        ];
        for (bytes, expected) in kinds {
            assert_eq!(read(bytes), Err(expected));
        }
    }
}
