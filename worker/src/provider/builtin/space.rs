//! A planet before a nebula.
//!
//! Comes in: a scene and a view. Goes out: rows of pixels. The planet is a sphere with bands of
//! warped noise, lit from the side of the scene's light, with a thin bright air around it and
//! sometimes a ring.

use super::chance::{Dice, Field, smoothstep, speckle};
use super::map::Map;
use super::paint::{Backdrop, View};
use super::palette::{Rgb, glow, mix, scale};
use super::scene::Scene;

/// A picture out in space.
pub(super) struct Space<'a> {
    scene: &'a Scene,
    view: View,
    gas: Field,
    warp: Field,
    nebula: Map,
    /// Centre and radius of the planet.
    planet: (f32, f32, f32),
    /// Sine and cosine of its axis' tilt.
    tilt: (f32, f32),
    /// Direction to the light.
    sun: [f32; 3],
    has_ring: bool,
    bands: f32,
}

impl<'a> Space<'a> {
    /// Lays out a scene.
    pub(super) fn new(scene: &'a Scene, view: View) -> Self {
        let mut dice = Dice::new(scene.seed ^ 9);
        let size = view.aspect.min(1.0);
        let side = scene.light.0.signum();
        let (gas, warp) = (Field::new(dice.roll(), 5), Field::new(dice.roll(), 3));
        let nebula = Map::new(view, 1.0, |x, y| {
            let bend = warp.at(x * 0.9, y * 0.9);
            let cloud = gas.at(x * 1.1 + 0.8 * bend, y * 1.3 - 0.5 * bend + 5.0);
            [smoothstep(-0.25, 0.75, cloud + 0.25 * bend), bend]
        });
        Self {
            scene,
            view,
            gas,
            warp,
            nebula,
            planet: (
                -side * dice.between(0.0, 0.14) * view.aspect,
                dice.between(0.46, 0.62),
                size * dice.between(0.20, 0.29),
            ),
            tilt: dice.between(-0.5, 0.5).sin_cos(),
            sun: [side * 0.75, -0.45, 0.48],
            has_ring: scene.has_ring || dice.happens(0.4),
            bands: dice.between(0.5, 3.2),
        }
    }

    fn deep(&self, x: f32, y: f32) -> Rgb {
        let colours = &self.scene.colours;
        let [veil, warp] = self.nebula.at(x, y);
        let core = smoothstep(0.0, 0.6, warp) * 0.6;
        let tone = mix(colours.sky.at(0.30 + 0.70 * veil), colours.cloud, core);
        let night = scale(mix(colours.near, colours.sky.at(0.0), 0.25), 0.45);
        let colour = mix(night, tone, veil * 0.8);
        let colour = scale(colour, 1.0 - 0.5 * smoothstep(0.1, 0.5, warp) * veil);
        self.stars(self.stars(colour, x, y, 0.021, 0.5), x, y, 0.06, 0.75)
    }

    /// Lays a star in some of the cells of a grid over a colour.
    fn stars(&self, colour: Rgb, x: f32, y: f32, cell: f32, empty: f32) -> Rgb {
        let (column, row) = ((x / cell).floor(), (y / cell).floor());
        let salt = self.scene.seed as u32 ^ cell.to_bits();
        let draw = |n: u32| speckle(column as i32, row as i32, salt ^ n);
        let luck = (draw(1) - empty) / (1.0 - empty);
        if luck <= 0.0 {
            return colour;
        }
        let across = (column + 0.25 + 0.5 * draw(2)) * cell - x;
        let down = (row + 0.25 + 0.5 * draw(3)) * cell - y;
        let size = (0.75 * self.view.pixel).max(0.018 * cell);
        let light = (-(across * across + down * down) / (size * size)).exp();
        let tint = mix([0.75, 0.85, 1.0], [1.0, 0.85, 0.7], draw(4));
        glow(colour, tint, light * (0.2 + 0.8 * luck * luck) * luck.sqrt())
    }

    /// Gives colour and cover of the ring at a point that is turned into the planet's axes.
    fn ring(&self, u: f32, v: f32) -> (Rgb, f32) {
        let far = u.hypot(v / 0.24);
        let body = smoothstep(1.32, 1.38, far) * smoothstep(2.2, 2.05, far);
        if body == 0.0 {
            return ([0.0; 3], 0.0);
        }
        let grooves = 0.55 + 0.45 * self.warp.at(far * 9.0, 3.0);
        let gap = 1.0 - 0.85 * smoothstep(0.05, 0.03, (far - 1.78).abs());
        let colour = mix(self.scene.colours.light, self.scene.colours.haze, 0.5);
        (scale(colour, 0.9), body * gap * (0.25 + 0.65 * grooves))
    }

    fn surface(&self, u: f32, v: f32) -> Rgb {
        let colours = &self.scene.colours;
        let w = (1.0 - u * u - v * v).max(0.0).sqrt();
        let (x, y) = (u.atan2(w + 0.6) * 1.6, v.asin());
        let warp = self.warp.at(x * 1.2, y * 2.4);
        let band = self.gas.at(x * 0.9 + warp * 0.4, y * (1.5 + self.bands) + warp * 0.5 + 7.0);
        let base = mix(colours.ground.at(0.1 + 0.5 * (band + 0.5)), colours.sky.at(0.8), 0.35);
        let base = glow(base, colours.light, 0.35 * smoothstep(0.1, 0.6, band));
        let (sin, cos) = self.tilt;
        let normal = [u * cos - v * sin, u * sin + v * cos, w];
        let facing: f32 = normal.iter().zip(self.sun).map(|(n, s)| n * s).sum();
        let lit = smoothstep(-0.12, 0.75, facing);
        let air = (1.0 - w).powi(3) * smoothstep(-0.2, 0.5, facing);
        glow(scale(base, 0.05 + 1.02 * lit), colours.sky.at(0.95), 0.9 * air)
    }
}

impl Backdrop for Space<'_> {
    fn row(&mut self, y: f32, row: &mut [Rgb]) {
        let (centre, middle, radius) = self.planet;
        let (sin, cos) = self.tilt;
        let soft = self.view.pixel / radius;
        for (column, out) in row.iter_mut().enumerate() {
            let (right, down) = ((self.view.x(column) - centre) / radius, (y - middle) / radius);
            let (u, v) = (right * cos + down * sin, down * cos - right * sin);
            let distance = u.hypot(v);
            let disc = ((1.0 - distance) / soft + 0.5).clamp(0.0, 1.0);
            let mut colour = if disc < 1.0 { self.deep(self.view.x(column), y) } else { [0.0; 3] };
            if disc < 1.0 {
                let lit =
                    smoothstep(-0.6, 0.9, (right * self.sun[0] + down * self.sun[1]) / distance);
                let air = (-(distance - 1.0).max(0.0) * 11.0).exp() * lit;
                colour = glow(colour, self.scene.colours.sky.at(0.95), 0.55 * air);
            }
            if disc > 0.0 {
                let edge = distance.max(1.0);
                colour = mix(colour, self.surface(u / edge, v / edge), disc);
            }
            if self.has_ring && (v > 0.0 || distance > 1.0) {
                let (ring, cover) = self.ring(u, v);
                colour = mix(colour, ring, cover * 0.85);
            }
            *out = colour;
        }
    }
}
