//! Abstract folds, as of silk or smoke.
//!
//! Comes in: a scene and a view. Goes out: rows of pixels. A field is bent by a field that is bent
//! by a field (Quilez, "domain warping"); the result is read as a height, coloured by it and lit
//! from the upper left by its slope, so that flat noise becomes cloth.

use super::chance::{Dice, Field, smoothstep};
use super::paint::{Backdrop, View};
use super::palette::{Rgb, glow, scale};
use super::scene::Scene;

/// A picture without a horizon.
pub(super) struct Silk<'a> {
    scene: &'a Scene,
    view: View,
    first: Field,
    second: Field,
    /// How far the warps reach, how many folds, and where the colours begin.
    bend: (f32, f32),
    folds: f32,
    shift: f32,
    turn: (f32, f32),
    /// Heights of the row above.
    above: Vec<f32>,
}

impl<'a> Silk<'a> {
    /// Lays out a scene.
    pub(super) fn new(scene: &'a Scene, view: View) -> Self {
        let mut dice = Dice::new(scene.seed ^ 8);
        Self {
            scene,
            view,
            first: Field::new(dice.roll(), 2),
            second: Field::new(dice.roll(), 1),
            bend: (dice.between(0.45, 0.7), dice.between(0.25, 0.45)),
            folds: dice.between(4.5, 7.0),
            shift: dice.between(0.0, 0.25),
            turn: dice.between(0.0, std::f32::consts::TAU).sin_cos(),
            above: Vec::new(),
        }
    }

    /// Gives the height of the cloth and what colours it.
    fn height(&self, x: f32, y: f32) -> (f32, f32) {
        let (sin, cos) = self.turn;
        let (x, y) = (x * cos - y * sin, (x * sin + y * cos) * 0.6);
        let (u, v) = (self.first.at(x * 0.75, y * 0.75), self.first.at(x * 0.75 + 31.0, y * 0.75));
        let (u, v) = (x + self.bend.0 * u, y + self.bend.0 * v);
        let w = self.second.at(u * 0.7, v * 0.7);
        let base = self.second.at(u * 0.62 + self.bend.1 * w, v * 0.62 - self.bend.1 * w + 17.0);
        let fold = (base * self.folds + w * 2.0).sin();
        (0.5 * fold + 0.9 * base, 0.5 + 0.62 * base + 0.16 * fold)
    }
}

impl Backdrop for Silk<'_> {
    fn row(&mut self, y: f32, row: &mut [Rgb]) {
        let pixel = self.view.pixel;
        if self.above.is_empty() {
            let columns = 0..self.view.columns;
            self.above = columns.map(|i| self.height(self.view.x(i), y - pixel).0).collect();
        }
        let mut left = self.height(self.view.x(0) - pixel, y).0;
        for (column, out) in row.iter_mut().enumerate() {
            let (height, tone) = self.height(self.view.x(column), y);
            let above = std::mem::replace(&mut self.above[column], height);
            let (across, down) = ((height - left) / pixel, (height - above) / pixel);
            left = height;
            let normal = 1.0 / (1.0 + 0.05 * (across * across + down * down)).sqrt();
            let facing = (0.13 * (across + 1.3 * down) + 0.62) * normal;
            let colour = self.scene.colours.silk.at(self.shift + tone * (1.0 - self.shift));
            let lit = scale(colour, 0.62 + 0.58 * facing);
            let sheen = smoothstep(0.55, 1.05, facing).powi(2);
            *out = glow(lit, self.scene.colours.light, 0.42 * sheen);
        }
    }
}
