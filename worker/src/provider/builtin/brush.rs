//! Draws shapes into a scene's light.
//!
//! Comes in: shapes and places in the view's units. Goes out: pixels of the canvas. The scene's
//! light decides about colours: in the dark figures are silhouettes with a bright rim towards the
//! light, and their lamps shine.

use tiny_skia::{
    BlendMode, Color, FillRule, GradientStop, Paint, PathBuilder, Pixmap, Point, RadialGradient,
    Shader, SpreadMode, Transform,
};

use super::paint::View;
use super::palette::{Rgb, from_hex, mix, scale};
use super::scene::Scene;
use super::shapes::{self, Part};

/// What draws, and the light it draws in.
pub(super) struct Brush<'a> {
    pub(super) canvas: &'a mut Pixmap,
    pub(super) scene: &'a Scene,
    pub(super) view: View,
    /// Place across of sun or moon.
    pub(super) light: f32,
}

impl Brush<'_> {
    /// Draws a figure; `flip` squeezes it upright or, negative, mirrors it.
    pub(super) fn parts(
        &mut self,
        parts: &[Part],
        place: (f32, f32),
        size: f32,
        flip: f32,
        opacity: f32,
    ) {
        let unit = size / 100.0;
        let toward = (self.light - place.0).signum();
        let dim = self.scene.colours.dim;
        let rim = Transform::from_row(
            unit,
            0.0,
            0.0,
            unit * flip,
            place.0 + toward * size * 0.008,
            place.1 - size * 0.006,
        );
        let stand = Transform::from_row(unit, 0.0, 0.0, unit * flip, place.0, place.1);
        if dim > 0.4 && opacity == 1.0 {
            let bright = mix(self.scene.colours.light, self.scene.colours.haze, 0.35);
            for part in parts {
                if let Part::Fill(_, data) = part {
                    self.fill(data, rim, bright, 0.8);
                }
            }
        }
        let dark = scale(self.scene.colours.sky.at(0.15), 0.28);
        for part in parts {
            match *part {
                Part::Fill(colour, data) => {
                    self.fill(data, stand, mix(from_hex(colour), dark, dim), opacity);
                }
                Part::Lamp(colour, data) => self.fill(data, stand, from_hex(colour), opacity),
                Part::Halo(x, y, radius) if dim > 0.2 => {
                    let centre = (place.0 + x * unit, place.1 + y * unit);
                    self.halo(centre, radius * unit, 0.75 * dim);
                }
                Part::Beams(x, y) if dim > 0.2 => {
                    self.beams((place.0 + x * unit, place.1 + y * unit), dim);
                }
                Part::Halo(..) | Part::Beams(..) => {}
            }
        }
    }

    fn fill(&mut self, data: &str, place: Transform, colour: Rgb, opacity: f32) {
        if let Some(path) = shapes::outline(data) {
            let paint = plain(colour, opacity);
            self.canvas.fill_path(&path, &paint, FillRule::Winding, self.pixels(place), None);
        }
    }

    /// Draws a flat disc.
    pub(super) fn disc(&mut self, (x, y): (f32, f32), radius: f32, colour: Rgb, opacity: f32) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            let place = self.pixels(Transform::identity());
            self.canvas.fill_path(&path, &plain(colour, opacity), FillRule::Winding, place, None);
        }
    }

    /// Darkens the ground under a figure.
    pub(super) fn shadow(&mut self, (x, y): (f32, f32), size: f32) {
        let squeeze = Transform::from_row(1.0, 0.0, 0.0, 0.12, x, y + 0.012);
        if let Some(path) = PathBuilder::from_circle(0.0, 0.0, size * 0.42) {
            let dark = scale(self.scene.colours.sky.at(0.1), 0.3);
            let paint = self.fade(Point::zero(), size * 0.42, dark, 0.45);
            self.canvas.fill_path(&path, &paint, FillRule::Winding, self.pixels(squeeze), None);
        }
    }

    fn halo(&mut self, (x, y): (f32, f32), radius: f32, strength: f32) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            let mut paint = self.fade(Point::from_xy(x, y), radius, [1.0, 0.86, 0.58], strength);
            paint.blend_mode = BlendMode::Screen;
            let place = self.pixels(Transform::identity());
            self.canvas.fill_path(&path, &paint, FillRule::Winding, place, None);
        }
    }

    /// Draws a beam to each side, wider and weaker with distance.
    fn beams(&mut self, (x, y): (f32, f32), strength: f32) {
        let centre = Point::from_xy(x, y);
        let place = self.pixels(Transform::identity());
        for (side, rise) in [(1.25, -0.05), (-1.25, 0.03)] {
            for spread in (1..=9).map(|i| 0.014 * i as f32) {
                let mut path = PathBuilder::new();
                path.move_to(x, y - 0.006);
                path.line_to(x + side, y + rise - spread);
                path.line_to(x + side, y + rise + spread);
                path.line_to(x, y + 0.006);
                path.close();
                let mut paint = self.fade(centre, 1.25, [1.0, 0.93, 0.74], 0.13 * strength);
                paint.blend_mode = BlendMode::Screen;
                if let Some(path) = path.finish() {
                    self.canvas.fill_path(&path, &paint, FillRule::Winding, place, None);
                }
            }
        }
    }

    /// Makes a paint that fades from a point outwards.
    fn fade(&self, centre: Point, radius: f32, colour: Rgb, strength: f32) -> Paint<'static> {
        let stop =
            |place, share: f32| GradientStop::new(place, with_opacity(colour, strength * share));
        let stops = vec![stop(0.0, 1.0), stop(0.35, 0.4), stop(0.7, 0.1), stop(1.0, 0.0)];
        let shader = RadialGradient::new(
            centre,
            0.0,
            centre,
            radius,
            stops,
            SpreadMode::Pad,
            Transform::identity(),
        );
        let flat = || Shader::SolidColor(Color::TRANSPARENT);
        Paint { shader: shader.unwrap_or_else(flat), anti_alias: true, ..Paint::default() }
    }

    /// Turns the view's units into pixels.
    fn pixels(&self, place: Transform) -> Transform {
        let scale = 1.0 / self.view.pixel;
        place.post_translate(self.view.aspect / 2.0, 0.0).post_scale(scale, scale)
    }
}

fn plain(colour: Rgb, opacity: f32) -> Paint<'static> {
    let shader = Shader::SolidColor(with_opacity(colour, opacity));
    Paint { shader, anti_alias: true, ..Paint::default() }
}

fn with_opacity([red, green, blue]: Rgb, opacity: f32) -> Color {
    let unit = |value: f32| value.clamp(0.0, 1.0);
    Color::from_rgba(unit(red), unit(green), unit(blue), unit(opacity)).unwrap_or(Color::BLACK)
}
