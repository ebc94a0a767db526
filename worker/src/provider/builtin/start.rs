//! A picture to start from, and where it may change.
//!
//! Comes in: the source of a call, and a scene drawn for it. Goes out: the picture through which the
//! scene shows as much as the strength says, and its look on the way there: a little noise for a
//! little strength, as a diffusion model begins the less from noise the less it shall change.
//! Invariant: a pixel that the mask leaves black is the start picture's to the last bit. The edge is
//! soft on the white side alone.

use framewire_shared::domain::{ErrorCode, Failure};
use image::imageops::{self, FilterType};
use image::{GrayImage, ImageFormat, Rgb, RgbImage, load_from_memory_with_format};

use super::super::{Picture, Source};
use super::chance::smoothstep;
use super::develop;

/// Width of a mask's soft edge: one part in so many of the shorter side.
const EDGE_SHARE: f32 = 128.0;

/// A start picture with its mask.
#[derive(Debug)]
pub(super) struct Start {
    picture: RgbImage,
    /// How much each pixel may change at full strength; all of it when `None`.
    open: Option<GrayImage>,
    strength: f32,
}

impl Start {
    /// Decodes a call's source; `size` is what the frame shall have.
    pub(super) fn read(source: &Source, size: (u32, u32)) -> Result<Self, Failure> {
        let picture = decode(&source.picture)?.into_rgb8();
        let mask = source.mask.as_ref().map(decode).transpose()?;
        let mask = mask.map(image::DynamicImage::into_luma8);
        let sizes = [Some(picture.dimensions()), mask.as_ref().map(GrayImage::dimensions)];
        if sizes.into_iter().flatten().any(|its| its != size) {
            let failure = Failure::new(ErrorCode::Permanent, UNUSABLE);
            return Err(failure.detail(format!("{sizes:?} for a frame of {size:?}")));
        }
        Ok(Self { picture, open: mask.map(|mask| soft(&mask)), strength: source.strength as f32 })
    }

    /// Gives the same at the size of a preview.
    pub(super) fn scaled(&self, (width, height): (u32, u32)) -> Self {
        let scale = |open| imageops::resize(open, width, height, FilterType::Triangle);
        Self {
            picture: imageops::resize(&self.picture, width, height, FilterType::Triangle),
            open: self.open.as_ref().map(scale),
            strength: self.strength,
        }
    }

    /// Gives the finished picture.
    pub(super) fn finished(&self, scene: &RgbImage) -> RgbImage {
        self.over(scene, self.strength)
    }

    /// Gives the look after `step` of `steps`.
    pub(super) fn develop(&self, scene: &RgbImage, seed: u64, step: u32, steps: u32) -> RgbImage {
        let done = step as f32 / steps as f32;
        let underway = mixed(&self.picture, scene, |_, _| self.strength * done);
        self.over(&develop::noised(&underway, seed, self.strength * (1.0 - done)), 1.0)
    }

    /// Lays a picture over the start picture, where that may change.
    fn over(&self, top: &RgbImage, share: f32) -> RgbImage {
        match &self.open {
            None => mixed(&self.picture, top, |_, _| share),
            Some(open) => mixed(&self.picture, top, |x, y| {
                share * f32::from(open.get_pixel(x, y).0[0]) / f32::from(u8::MAX)
            }),
        }
    }
}

const UNUSABLE: &str = "the picture to start from can't be used";

fn decode(picture: &Picture) -> Result<image::DynamicImage, Failure> {
    let unusable = |detail: String| Failure::new(ErrorCode::Permanent, UNUSABLE).detail(detail);
    let format = ImageFormat::from_mime_type(picture.media_type.as_str());
    let format = format.ok_or_else(|| unusable(picture.media_type.as_str().into()))?;
    load_from_memory_with_format(&picture.bytes, format)
        .map_err(|error| unusable(error.to_string()))
}

/// Softens a mask's edge towards its white side.
fn soft(mask: &GrayImage) -> GrayImage {
    let edge_px = (mask.width().min(mask.height()) as f32 / EDGE_SHARE).max(1.0);
    let blurred = imageops::blur(mask, edge_px);
    let mut open = mask.clone();
    for (pixel, near) in open.pixels_mut().zip(blurred.pixels()) {
        let inside = smoothstep(0.35, 0.9, f32::from(near.0[0]) / f32::from(u8::MAX));
        pixel.0[0] = (f32::from(pixel.0[0]) * inside).round() as u8;
    }
    open
}

fn mixed(below: &RgbImage, top: &RgbImage, share: impl Fn(u32, u32) -> f32) -> RgbImage {
    RgbImage::from_fn(below.width(), below.height(), |x, y| {
        let (below, top, share) = (below.get_pixel(x, y), top.get_pixel(x, y), share(x, y));
        Rgb(std::array::from_fn(|i| {
            let (from, to) = (f32::from(below.0[i]), f32::from(top.0[i]));
            (from + (to - from) * share).round() as u8
        }))
    })
}
