//! A slow but soft function of the place, sampled coarsely once and read smoothly often.
//!
//! Clouds and nebulas have no edges as fine as a pixel, and noise is most of a picture's cost: a
//! quarter of the samples looks the same. Water reads the sky once more through the same map.

use super::paint::View;

/// Pixels from one sample to the next, each way.
const STRIDE: f32 = 2.0;

/// Two values for every place of a view.
pub(super) struct Map {
    values: Vec<[f32; 2]>,
    columns: usize,
    rows: usize,
    left: f32,
    step: f32,
}

impl Map {
    /// Samples a function from the view's top down to a height.
    pub(super) fn new(view: View, bottom: f32, value: impl Fn(f32, f32) -> [f32; 2]) -> Self {
        let step = STRIDE * view.pixel;
        let left = -view.aspect / 2.0 - step / 2.0;
        let columns = (view.aspect / step) as usize + 3;
        let rows = (bottom / step) as usize + 3;
        let place = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            value(left + column as f32 * step, (row as f32 - 0.5) * step)
        };
        let values = (0..columns * rows).map(place).collect();
        Self { values, columns, rows, left, step }
    }

    /// Reads the values at a place; places outside read the edge.
    pub(super) fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let across = ((x - self.left) / self.step).clamp(0.0, (self.columns - 2) as f32);
        let down = (y / self.step + 0.5).clamp(0.0, (self.rows - 2) as f32);
        let (column, row) = (across as usize, down as usize);
        let (right, below) = (across - column as f32, down - row as f32);
        let upper = &self.values[row * self.columns + column..][..2];
        let lower = &self.values[(row + 1) * self.columns + column..][..2];
        std::array::from_fn(|i| {
            let top = upper[0][i] + (upper[1][i] - upper[0][i]) * right;
            let bottom = lower[0][i] + (lower[1][i] - lower[0][i]) * right;
            top + (bottom - top) * below
        })
    }
}
