//! What a picture looks like before it is finished.
//!
//! Comes in: the finished picture, small. Goes out: the same after some of its steps: noise first,
//! then coarse colours, then shapes, then details, as a diffusion model's latents look. Every
//! step is nearer to the finished picture than the one before; the last one is the picture.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::chance::{scramble, speckle};

/// Longest side of a preview.
const SIDE_PX_MAX: u32 = 256;
/// Most previews of one frame.
const PREVIEWS_MAX: u32 = 6;
/// Runs with fewer steps have no previews: they are over before anybody looks.
const STEPS_MIN: u32 = 4;
/// Size of a cell of noise: a latent model's, and a JPEG block's, so that noise is few bytes.
const CELL_PX: u32 = 8;

/// Tells whether a preview is due after a step.
pub(super) fn is_due(step: u32, steps: u32) -> bool {
    steps >= STEPS_MIN && step < steps && step.is_multiple_of(steps.div_ceil(PREVIEWS_MAX))
}

/// Gives the size of the previews of a frame.
pub(super) fn preview_size(width: u32, height: u32) -> (u32, u32) {
    let longest = width.max(height).max(SIDE_PX_MAX);
    let shrink = |side: u32| (side * SIDE_PX_MAX / longest).max(1);
    (shrink(width), shrink(height))
}

/// Gives the look of a picture after `step` of `steps`.
pub(super) fn develop(finished: &RgbImage, seed: u64, step: u32, steps: u32) -> RgbImage {
    noised(finished, seed, 1.0 - step as f32 / steps as f32)
}

/// Gives the look of a picture of which a share is still noise: all of it at 1, nothing at 0.
pub(super) fn noised(finished: &RgbImage, seed: u64, left: f32) -> RgbImage {
    if left <= 0.0 {
        return finished.clone();
    }
    let (width, height) = finished.dimensions();
    let coarse = 1.0 + 27.0 * left * left;
    let shrink = |side: u32| ((side as f32 / coarse) as u32).clamp(1, side);
    let small = imageops::resize(finished, shrink(width), shrink(height), FilterType::Triangle);
    let mut picture = imageops::resize(&small, width, height, FilterType::CatmullRom);
    let share = left.powf(1.6);
    let salt = scramble(seed) as u32;
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        *pixel = Rgb(std::array::from_fn(|i| {
            let channel = f32::from(pixel.0[i]);
            (channel + (noise(x, y, salt, i as u32) - channel) * share) as u8
        }));
    }
    picture
}

/// Gives one channel of coloured blotches with a grain, 0 to 255.
fn noise(x: u32, y: u32, salt: u32, channel: u32) -> f32 {
    let (column, row) = ((x / CELL_PX) as i32, (y / CELL_PX) as i32);
    let (grey, hue) = (speckle(column, row, salt), speckle(column, row, salt ^ (channel + 1)));
    let grain = speckle(x as i32, y as i32, !salt);
    20.0 + 215.0 * (0.48 * grey + 0.40 * hue + 0.12 * grain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_have_four_to_six_previews_and_short_runs_none() {
        let count = |steps| (1..=steps).filter(|step| is_due(*step, steps)).count();
        assert_eq!([1, 2, 3].map(count), [0, 0, 0]);
        for steps in 8..=50 {
            assert!((3..=6).contains(&count(steps)), "{} previews in {steps} steps", count(steps));
        }
        assert_eq!((count(20), count(30), count(50)), (4, 5, 5));
    }

    #[test]
    fn previews_keep_the_shape_and_are_never_larger_than_the_frame() {
        assert_eq!(preview_size(1024, 512), (256, 128));
        assert_eq!(preview_size(64, 2048), (8, 256));
        assert_eq!(preview_size(64, 128), (64, 128));
    }

    #[test]
    fn the_last_step_is_the_finished_picture() {
        let finished = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8 * 4, y as u8 * 5, 90]));
        assert_eq!(develop(&finished, 7, 20, 20), finished);
        assert_ne!(develop(&finished, 7, 19, 20), finished);
    }
}
