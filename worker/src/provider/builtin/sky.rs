//! The sky: gradient, sun or moon with its glow, stars, aurora and clouds.
//!
//! Comes in: a scene and the size of a pixel. Goes out: the colour of any point of the sky; water
//! asks for points that are mirrored. Layers are laid from far to near: gradient, stars, aurora,
//! light, clouds. Clouds are warped noise, lit on the side where the noise falls off towards the
//! light (Quilez, "domain warping").

use super::chance::{Field, smoothstep, speckle};
use super::map::Map;
use super::paint::View;
use super::palette::{Rgb, glow, mix, scale};
use super::scene::Scene;

/// Size of the cells that hold one star each.
const STAR_CELL: f32 = 0.026;

/// A scene's sky.
pub(super) struct Sky<'a> {
    scene: &'a Scene,
    /// Centre of sun or moon, in the view's units.
    pub(super) light: (f32, f32),
    /// Of sun or moon.
    radius: f32,
    /// Size of a pixel.
    pixel: f32,
    clouds: Map,
    aurora: Option<Map>,
    body: Field,
}

impl<'a> Sky<'a> {
    /// Prepares the sky of a scene.
    pub(super) fn new(scene: &'a Scene, view: View) -> Self {
        let (across, height, radius) = scene.light;
        let light = (across * view.aspect / 2.0, height);
        let (drift, body) = (Field::new(scene.seed ^ 1, 2), Field::new(scene.seed ^ 2, 5));
        Self {
            scene,
            light,
            radius: radius * view.aspect.min(1.0),
            pixel: view.pixel,
            clouds: clouds(scene, view, light, &drift, &body),
            aurora: scene.has_aurora.then(|| aurora(scene, view, &drift)),
            body,
        }
    }

    /// Gives the colour of a point.
    pub(super) fn at(&self, x: f32, y: f32) -> Rgb {
        let scene = self.scene;
        let mut colour = scene.colours.sky.at(y / scene.horizon);
        let clear = 1.0 - smoothstep(0.45, 1.0, y / scene.horizon);
        if scene.stars > 0.0 && clear > 0.0 {
            colour = glow(colour, [1.0, 0.97, 0.92], self.star(x, y) * clear * scene.stars);
        }
        colour = self.aurora(colour, x, y);
        colour = self.sun_or_moon(colour, x, y);
        self.cloud(colour, x, y)
    }

    /// Gives the brightness of the star over a point.
    fn star(&self, x: f32, y: f32) -> f32 {
        let (column, row) = ((x / STAR_CELL).floor(), (y / STAR_CELL).floor());
        let draw = |salt| speckle(column as i32, row as i32, self.scene.seed as u32 ^ salt);
        let brightness = draw(1);
        if brightness < 0.62 {
            return 0.0;
        }
        let across = (column + 0.2 + 0.6 * draw(2)) * STAR_CELL - x;
        let down = (row + 0.2 + 0.6 * draw(3)) * STAR_CELL - y;
        let size = (0.75 * self.pixel).max(0.0009) * (0.6 + 0.9 * brightness.powi(6));
        let fade = (-(across * across + down * down) / (size * size)).exp();
        fade * (0.15 + 0.85 * ((brightness - 0.62) / 0.38).powi(3))
    }

    fn aurora(&self, colour: Rgb, x: f32, y: f32) -> Rgb {
        let Some(aurora) = &self.aurora else {
            return colour;
        };
        let [light, height] = aurora.at(x, y);
        glow(colour, mix([0.25, 0.95, 0.62], [0.62, 0.35, 0.95], height), light)
    }

    fn sun_or_moon(&self, colour: Rgb, x: f32, y: f32) -> Rgb {
        let colours = &self.scene.colours;
        let (across, down) = (x - self.light.0, y - self.light.1);
        let distance = across.hypot(down);
        let rim = (distance - self.radius).max(0.0);
        let strength = if self.scene.is_moon { 0.6 } else { 1.0 };
        let halo =
            0.28 * (-rim * 2.6).exp() + 0.26 * (-rim * 11.0).exp() + 0.24 * (-rim * 45.0).exp();
        let colour = glow(colour, colours.light, halo * strength);
        let cover = ((self.radius - distance) / self.pixel + 0.5).clamp(0.0, 1.0);
        if cover == 0.0 {
            return colour;
        }
        let disc = if self.scene.is_moon {
            let (u, v) = (across / self.radius, down / self.radius);
            let maria = smoothstep(0.0, 0.5, self.body.at(u * 0.8 + 40.0, v * 0.8));
            let limb = 1.0 - 0.16 * (u * u + v * v);
            scale(mix(colours.light, colours.sky.at(0.9), 0.32 * maria), limb)
        } else {
            glow(colours.light, [1.0; 3], 0.4 * (1.0 - distance / self.radius))
        };
        mix(colour, disc, cover)
    }

    fn cloud(&self, colour: Rgb, x: f32, y: f32) -> Rgb {
        let colours = &self.scene.colours;
        let [cover, lit] = self.clouds.at(x, y);
        if cover < 0.004 {
            return colour;
        }
        let tone = mix(colours.shade, colours.cloud, lit);
        let closeness = (-(self.light.0 - x).hypot(self.light.1 - y) * 3.0).exp();
        let tone = glow(tone, colours.light, 0.45 * closeness * (1.0 - 0.6 * cover));
        mix(colour, tone, cover)
    }
}

/// Spreads the clouds: how much they hide, and how much light they catch.
fn clouds(scene: &Scene, view: View, light: (f32, f32), drift: &Field, body: &Field) -> Map {
    let horizon = scene.horizon;
    Map::new(view, horizon, |x, y| {
        // Farther clouds are lower, smaller and flatter.
        let near = 1.0 / (0.38 + 0.9 * (horizon - y).max(0.0) / horizon);
        let (u, v) = (x * 1.15 * near, y * 3.1 * near);
        let warp = drift.at(u * 0.7 + 3.0, v * 0.7);
        let (u, v) = (u + 0.45 * warp, v + 0.35 * warp);
        let density = body.at(u, v);
        let edge = 0.62 - 0.85 * scene.clouds;
        let cover = smoothstep(edge, edge + 0.55, density);
        if cover == 0.0 {
            return [0.0, 0.5];
        }
        let (across, down) = (light.0 - x, light.1 - y);
        let reach = 0.10 / across.hypot(down).max(0.05);
        let behind = body.at(u + across * reach, v + down * reach * 2.0);
        let lit = smoothstep(-0.22, 0.30, density - behind + 0.10);
        let fade = 0.9 * smoothstep(0.0, 0.16, horizon - y + 0.05);
        [cover * fade, lit]
    })
}

/// Hangs two curtains of northern light: how bright, and how high above their feet.
fn aurora(scene: &Scene, view: View, drift: &Field) -> Map {
    let curtain = |number: f32, x: f32, y: f32| {
        let place = 7.0 + 13.0 * number;
        let fold = drift.at(x * 0.9, place);
        let above = scene.horizon * (0.62 - 0.16 * number) + 0.16 * fold - y;
        if !(-0.03..0.5).contains(&above) {
            return [0.0, 0.0];
        }
        let rays = 0.55 + 0.45 * drift.at(x * 9.0 + fold * 6.0, place + 3.0);
        let patches = smoothstep(-0.35, 0.45, drift.at(x * 1.3, place + 6.0));
        let light = (-above.max(0.0) * 7.5).exp() * smoothstep(-0.03, 0.02, above);
        [0.85 * light * rays * patches, smoothstep(0.02, 0.26, above)]
    };
    Map::new(view, scene.horizon, |x, y| {
        let [[near, low], [far, high]] = [curtain(0.0, x, y), curtain(1.0, x, y)];
        let light = near + far * (1.0 - near);
        [light, (near * low + far * high) / (near + far).max(0.001)]
    })
}
