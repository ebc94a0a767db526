//! Puts a scene on a canvas of a given size.
//!
//! Comes in: a scene, a size and a token. Goes out: the picture, or nothing when the token fired.
//! A scene has no pixels: all places are in units of the picture's height, with x = 0 in the
//! middle, so a thumbnail shows the same as the full picture. The backdrop is computed row by row
//! and dithered, because eight bits of a soft sky show bands; figures and snow are drawn over it
//! as vector shapes.

use image::RgbImage;
use tiny_skia::Pixmap;
use tokio_util::sync::CancellationToken;

use super::figures;
use super::land::Land;
use super::palette::{Rgb, scale};
use super::scene::{Place, Scene};
use super::silk::Silk;
use super::space::Space;

/// Size of a canvas, and where its pixels are.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Width over height.
    pub(super) aspect: f32,
    /// Size of a pixel.
    pub(super) pixel: f32,
}

impl View {
    fn new(width: u32, height: u32) -> Self {
        let (columns, rows) = (width as usize, height as usize);
        Self { columns, rows, aspect: width as f32 / height as f32, pixel: 1.0 / height as f32 }
    }

    /// Gives the place across of a column's middle.
    pub(super) fn x(self, column: usize) -> f32 {
        (column as f32 + 0.5) * self.pixel - self.aspect / 2.0
    }

    /// Gives the column nearest to a place across.
    pub(super) fn column(self, x: f32) -> usize {
        (((x + self.aspect / 2.0) / self.pixel) as usize).min(self.columns - 1)
    }
}

/// Everything behind the figures.
pub(super) trait Backdrop {
    /// Paints the row of pixels at a height; called from the top row down.
    fn row(&mut self, y: f32, row: &mut [Rgb]);

    /// Gives the height on which a figure stands.
    fn ground(&self, _x: f32) -> f32 {
        0.9
    }

    /// Gives the height of the water's far edge.
    fn shore(&self) -> Option<f32> {
        None
    }
}

/// Paints a scene; gives nothing when stopped midway.
pub(super) fn paint(
    scene: &Scene,
    width: u32,
    height: u32,
    stop: &CancellationToken,
) -> Option<RgbImage> {
    let view = View::new(width, height);
    let mut backdrop: Box<dyn Backdrop> = match scene.place {
        Place::Silk => Box::new(Silk::new(scene, view)),
        Place::Space => Box::new(Space::new(scene, view)),
        _ => Box::new(Land::new(scene, view)),
    };
    let mut canvas = Pixmap::new(width, height)?;
    let mut row = vec![[0.0; 3]; view.columns];
    for (number, pixels) in canvas.data_mut().chunks_exact_mut(view.columns * 4).enumerate() {
        if stop.is_cancelled() {
            return None;
        }
        backdrop.row((number as f32 + 0.5) * view.pixel, &mut row);
        for (column, pixel) in pixels.chunks_exact_mut(4).enumerate() {
            let colour = vignette(
                row[column],
                column as f32 / view.columns as f32,
                number as f32 / view.rows as f32,
            );
            pixel[..3].copy_from_slice(&dither(colour, column, number));
            pixel[3] = u8::MAX;
        }
    }
    figures::draw(&mut canvas, scene, view, backdrop.as_ref());
    let pixels = canvas.data().chunks_exact(4).flat_map(|pixel| &pixel[..3]).copied();
    RgbImage::from_raw(width, height, pixels.collect())
}

/// Darkens the corners a little.
fn vignette(colour: Rgb, across: f32, down: f32) -> Rgb {
    let (across, down) = (across - 0.5, down - 0.5);
    scale(colour, 1.0 - 0.34 * (across * across + down * down))
}

/// Rounds to eight bits, up or down by a fixed pattern (Jimenez, "interleaved gradient noise").
fn dither(colour: Rgb, column: usize, row: usize) -> [u8; 3] {
    let wave = 0.067_110_56 * column as f32 + 0.005_837_15 * row as f32;
    let threshold = (52.982_918 * wave.fract()).fract();
    colour.map(|channel| (channel * 255.0 + threshold) as u8)
}
