//! Ground in layers: ridges behind each other, water between them, the light of the air on both.
//!
//! Comes in: a scene and a view. Goes out: rows of pixels, and where things can stand. Every layer
//! is a line of heights, one layer nearer than the one before it; distance fades a layer into the
//! haze, which is what makes depth (aerial perspective). Water mirrors everything behind it and is
//! hidden by everything before it. Which layers a place has is decided in `terrain`.

use super::chance::{Field, smoothstep};
use super::paint::{Backdrop, View};
use super::palette::{Rgb, glow, mix, scale};
use super::ridge::Ridge;
use super::scene::Scene;
use super::sky::Sky;
use super::terrain::Terrain;

/// A picture with a horizon.
pub(super) struct Land<'a> {
    scene: &'a Scene,
    view: View,
    sky: Sky<'a>,
    terrain: Terrain,
    rock: Field,
    ripples: Field,
    drift: Field,
    dunes: Field,
}

impl<'a> Land<'a> {
    /// Lays out a scene.
    pub(super) fn new(scene: &'a Scene, view: View) -> Self {
        let sky = Sky::new(scene, view);
        let terrain = Terrain::new(scene, view);
        let rock = Field::ridged(scene.seed ^ 4, 4);
        let ripples = Field::new(scene.seed ^ 5, 3);
        let drift = Field::new(scene.seed ^ 10, 2);
        let dunes = Field::ridged(scene.seed ^ 11, 1);
        Self { scene, view, sky, terrain, rock, ripples, drift, dunes }
    }

    /// Gives the colour behind the water's edge: ridges, else sky.
    fn behind(&self, x: f32, y: f32) -> Rgb {
        let column = self.view.column(x);
        match self.layers(&self.terrain.back, column, x, y) {
            (colour, 1.0) => colour,
            (colour, cover) => mix(self.sky.at(x, y), colour, cover),
        }
    }

    /// Lays ridges over each other; gives their colour and how much of the point they hide.
    fn layers(&self, ridges: &[Ridge], column: usize, x: f32, y: f32) -> (Rgb, f32) {
        let mut colour = [0.0; 3];
        let mut open = 1.0;
        // From the nearest, so that hidden layers cost nothing.
        for ridge in ridges.iter().rev() {
            let cover = ridge.cover(column, y, self.view.pixel);
            if cover == 0.0 {
                continue;
            }
            let surface = self.surface(ridge, column, x, y);
            for (sum, part) in colour.iter_mut().zip(surface) {
                *sum += open * cover * part;
            }
            open *= 1.0 - cover;
            if open < 0.004 {
                return (colour, 1.0);
            }
        }
        let hidden = 1.0 - open;
        (colour.map(|sum| sum / hidden.max(0.001)), hidden)
    }

    fn surface(&self, ridge: &Ridge, column: usize, x: f32, y: f32) -> Rgb {
        let colours = &self.scene.colours;
        let below = y - ridge.crest(column);
        let mut colour = ridge.colour;
        if ridge.relief > 0.0 {
            // Lit slopes and shadowed ones, by how the noise leans to the light.
            let toward = (self.sky.light.0 - x).clamp(-0.25, 0.25) * 4.0;
            let warp = 0.25 * self.drift.at(x * 1.5, y * 2.0 + ridge.depth * 11.0);
            let (u, v) = (x * 1.9 + warp, y * 1.5 + warp + ridge.depth * 19.0);
            let lean = self.rock.at(u, v) - self.rock.at(u + toward * 0.05, v - 0.035);
            let lit = smoothstep(-0.20, 0.20, lean);
            if below < 3.0 * ridge.snow {
                let line = ridge.snow * (0.9 + 1.1 * self.rock.at(u * 2.0, v * 0.6 + 50.0));
                let snow = 0.85 * smoothstep(0.008, -0.008, below - line);
                colour = mix(colour, mix(colours.haze, [1.0; 3], 0.55), snow);
            }
            colour = scale(colour, 1.0 - ridge.relief * (0.62 - 0.80 * lit));
        }
        if ridge.slopes {
            colour = self.sand(ridge, colour, x, below);
        }
        if let Some(blocks) = &ridge.blocks {
            colour = blocks.windows(colour, x, y, self.view.pixel);
        }
        let mist = ridge.mist * smoothstep(0.0, 0.24, y - ridge.mist_from);
        let far = 1.0 - ridge.depth;
        let near_light = (-(x - self.sky.light.0).abs() * 2.2).exp() * far * far;
        glow(mix(colour, colours.haze, mist), colours.light, 0.20 * near_light)
    }

    /// Shades sand: crests that are bright where they face the light, and ripples of the wind.
    fn sand(&self, ridge: &Ridge, colour: Rgb, x: f32, below: f32) -> Rgb {
        let (u, v) = (x * 0.9 + below * 0.8, below * 3.4 + ridge.depth * 17.0);
        let warp = self.drift.at(u * 1.2, v * 1.2);
        let (u, v) = (u + 0.18 * warp, v + 0.30 * warp);
        let toward = 0.06 * self.scene.light.0.signum();
        let lean = self.dunes.at(u, v) - self.dunes.at(u + toward, v - 0.03);
        let facing = smoothstep(-0.12, 0.16, lean) - 0.5;
        let fine = (1.0 - (self.view.pixel * 300.0).min(1.0)) * ridge.depth;
        let ripple = (below * 260.0 + x * 40.0 + warp * 30.0).sin() * fine;
        let light = 0.46 * facing * (0.35 + 0.65 * ridge.depth) + 0.02 * ripple;
        let bright = glow(colour, self.scene.colours.light, 0.75 * light.max(0.0));
        scale(bright, 1.0 + light.min(0.0))
    }

    /// Mirrors what is behind, broken by ripples that grow towards the viewer.
    fn water(&self, x: f32, y: f32, shore: f32) -> Rgb {
        let colours = &self.scene.colours;
        let out = ((y - shore) / (1.0 - shore)).clamp(0.0, 1.0);
        let far = 1.0 / (out + 0.07);
        let wave = self.ripples.at(x * far * 0.55, far * 5.5);
        let rough = self.terrain.roughness * smoothstep(0.0, 0.25, out);
        let mirrored = shore - (y - shore) * 0.92 - rough * wave * 0.16;
        let seen = self.behind(x + rough * wave * 0.05, mirrored.min(shore - 0.002));
        let deep = mix(colours.sky.at(0.1), colours.near, self.terrain.depth_tint);
        let mut colour = mix(seen, deep, 0.14 + 0.40 * out);
        colour = scale(colour, 1.0 + rough * wave * 0.22);
        let away = (x - self.sky.light.0).abs();
        let path = (-away / (0.05 + 0.20 * out)).exp();
        let glint = smoothstep(0.05, 0.55, wave) * (0.3 + 0.7 * rough) * path;
        colour = glow(colour, colours.light, 0.85 * glint);
        let edge = (-(y - shore) * 42.0).exp();
        mix(colour, mix(colours.haze, colours.sky.at(1.0), 0.5), 0.45 * edge)
    }
}

impl Backdrop for Land<'_> {
    fn row(&mut self, y: f32, row: &mut [Rgb]) {
        for (column, pixel) in row.iter_mut().enumerate() {
            let x = self.view.x(column);
            let (colour, hidden) = self.layers(&self.terrain.front, column, x, y);
            *pixel = match self.terrain.shore {
                _ if hidden == 1.0 => colour,
                Some(shore) if y > shore => mix(self.water(x, y, shore), colour, hidden),
                _ => mix(self.behind(x, y), colour, hidden),
            };
        }
    }

    fn ground(&self, x: f32) -> f32 {
        let column = self.view.column(x);
        self.terrain.front.last().map_or(0.9, |ridge| ridge.crest(column)).min(0.97)
    }

    fn shore(&self) -> Option<f32> {
        self.terrain.shore
    }
}
