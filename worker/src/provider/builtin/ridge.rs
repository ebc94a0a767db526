//! One layer of ground, and how much of a pixel it hides.
//!
//! Comes in: an outline, which is a function of the place across. Goes out: cover and crest of each
//! column. The outline is sampled four times a pixel, so that steep edges (firs, towers) are
//! smooth.

use super::blocks::Blocks;
use super::paint::View;
use super::palette::{Colours, Rgb};

/// Samples of an outline in one pixel.
const SAMPLES: usize = 4;

/// One layer of ground.
pub(super) struct Ridge {
    /// Heights of the outline, [`SAMPLES`] for each column.
    tops: Vec<f32>,
    /// Highest and lowest sample of each column.
    bounds: Vec<(f32, f32)>,
    /// 0 far to 1 near.
    pub(super) depth: f32,
    pub(super) colour: Rgb,
    /// How much its foot fades into the haze.
    pub(super) mist: f32,
    /// Height from which down the haze grows.
    pub(super) mist_from: f32,
    /// How rugged its surface is; 0 is a silhouette.
    pub(super) relief: f32,
    /// How far snow reaches down from the crest.
    pub(super) snow: f32,
    /// Shaded like sand.
    pub(super) slopes: bool,
    /// Houses with windows.
    pub(super) blocks: Option<Blocks>,
}

impl Ridge {
    pub(super) fn new(
        view: View,
        depth: f32,
        colours: &Colours,
        outline: impl Fn(f32) -> f32,
    ) -> Self {
        let step = view.pixel / SAMPLES as f32;
        let left = view.x(0) - view.pixel / 2.0 + step / 2.0;
        let samples = view.columns * SAMPLES;
        let tops: Vec<f32> = (0..samples).map(|i| outline(left + step * i as f32)).collect();
        let bounds: Vec<(f32, f32)> = tops.chunks_exact(SAMPLES).map(bounds).collect();
        Self {
            mist_from: bounds.iter().map(|(highest, _)| *highest).fold(1.0, f32::min) + 0.02,
            tops,
            bounds,
            depth,
            colour: colours.ground.at(depth),
            mist: 0.75 * (1.0 - depth),
            relief: 0.0,
            snow: 0.0,
            slopes: false,
            blocks: None,
        }
    }

    /// Gives how much of a pixel is under the outline.
    pub(super) fn cover(&self, column: usize, y: f32, pixel: f32) -> f32 {
        let (highest, lowest) = self.bounds[column];
        if y + pixel / 2.0 <= highest {
            return 0.0;
        }
        if y - pixel / 2.0 >= lowest {
            return 1.0;
        }
        let tops = &self.tops[column * SAMPLES..][..SAMPLES];
        let under = tops.iter().map(|top| ((y - top) / pixel + 0.5).clamp(0.0, 1.0));
        under.sum::<f32>() / SAMPLES as f32
    }

    /// Gives the height of the outline.
    pub(super) fn crest(&self, column: usize) -> f32 {
        self.tops[column * SAMPLES + SAMPLES / 2]
    }
}

fn bounds(tops: &[f32]) -> (f32, f32) {
    tops.iter().fold((f32::MAX, f32::MIN), |(high, low), top| (high.min(*top), low.max(*top)))
}
