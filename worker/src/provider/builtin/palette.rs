//! The colours of a mood, and how colours go over into each other.
//!
//! Comes in: a mood and a seed. Goes out: the colours of everything in a scene. A mood is one row
//! of [`MOODS`]; the seed turns all its hues by a few degrees, so two seeds of one prompt don't
//! look like one picture twice. Gradients are made in Oklab, where a mix of two colours is as
//! bright as the eye expects; after that, all mixing is done on plain gamma-encoded numbers,
//! because it is fast and looks right for haze and glow.

use palette::{FromColor, Mix, Oklab, Oklch, ShiftHue, Srgb};

use super::chance::Dice;

/// Red, green and blue, gamma-encoded, 0 to 1.
pub(super) type Rgb = [f32; 3];

/// Goes from one colour to another.
pub(super) fn mix(from: Rgb, to: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

/// Lays light over a colour; never brighter than white.
pub(super) fn glow(under: Rgb, light: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|i| under[i] + (1.0 - under[i]).max(0.0) * light[i] * share)
}

/// Makes a colour brighter or darker.
pub(super) fn scale(colour: Rgb, factor: f32) -> Rgb {
    colour.map(|channel| channel * factor)
}

/// A smooth row of colours, read by a position of 0 to 1.
pub(super) struct Gradient(Vec<Rgb>);

impl Gradient {
    const SHADES: usize = 64;

    /// Spreads colours evenly; there must be at least two.
    pub(super) fn new(stops: &[Rgb]) -> Self {
        let stops: Vec<Oklab> = stops.iter().map(|stop| oklab(*stop)).collect();
        let shade = |i: usize| {
            let place = i as f32 / Self::SHADES as f32 * (stops.len() - 1) as f32;
            let left = (place as usize).min(stops.len() - 2);
            rgb(stops[left].mix(stops[left + 1], place - left as f32))
        };
        Self((0..=Self::SHADES).map(shade).collect())
    }

    /// Reads the colour at a position; positions outside are the ends.
    pub(super) fn at(&self, position: f32) -> Rgb {
        let place = position.clamp(0.0, 1.0) * Self::SHADES as f32;
        let left = (place as usize).min(Self::SHADES - 1);
        mix(self.0[left], self.0[left + 1], place - left as f32)
    }
}

fn oklab([red, green, blue]: Rgb) -> Oklab {
    Oklab::from_color(Srgb::new(red, green, blue))
}

fn rgb(colour: Oklab) -> Rgb {
    let colour = Srgb::from_color(colour);
    [colour.red, colour.green, colour.blue]
}

/// The light and weather of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Dusk,
    Dawn,
    Day,
    Night,
    Winter,
    Forest,
    Autumn,
    Desert,
    Ocean,
    Neon,
    Storm,
    Ink,
    Candy,
}

/// One mood's colours, as 0xRRGGBB.
struct Row {
    mood: Mood,
    /// From the zenith to the horizon.
    sky: [u32; 4],
    /// Sun or moon; cloud in its light; cloud in shadow.
    light: [u32; 3],
    /// What distance fades into; far ground; near ground.
    ground: [u32; 3],
    /// How dark figures are, 0 to 1.
    dim: f32,
}

const fn row(mood: Mood, sky: [u32; 4], light: [u32; 3], ground: [u32; 3], dim: f32) -> Row {
    Row { mood, sky, light, ground, dim }
}

#[rustfmt::skip]
const MOODS: [Row; 13] = [
    row(Mood::Dusk,   [0x2a2f66, 0x7d4380, 0xea7a62, 0xffc98a], [0xfff0c4, 0xffb184, 0x6b3d70], [0xf0a070, 0x8a4668, 0x1a1230], 0.45),
    row(Mood::Dawn,   [0x6a8fc4, 0xa9bce0, 0xf1c8cf, 0xffe8cf], [0xfffaea, 0xfff0e6, 0xb9a6c6], [0xefd3d3, 0x8d93b5, 0x2c3556], 0.25),
    row(Mood::Day,    [0x2d6fb8, 0x63a6dc, 0xaed6ee, 0xeaf4f0], [0xfffdf0, 0xffffff, 0xa9bfd4], [0xbcd9e4, 0x6c9a94, 0x24503a], 0.00),
    row(Mood::Night,  [0x050a20, 0x0c1c42, 0x1d3d6b, 0x44699a], [0xf6f2dc, 0x5a76a6, 0x142444], [0x35588a, 0x1a3156, 0x050a18], 0.72),
    row(Mood::Winter, [0x6d90bb, 0xa6c0dc, 0xdde6ef, 0xfbeee2], [0xfffaf0, 0xffffff, 0xb4c2d6], [0xe3e9f1, 0xa9bcd4, 0xf4f8fc], 0.00),
    row(Mood::Forest, [0x7fb0a4, 0xb9d4bc, 0xe6ebcd, 0xfbf5d4], [0xfffbe0, 0xffffee, 0xa9c2b0], [0xd0dfc2, 0x5f8f78, 0x0d2b22], 0.20),
    row(Mood::Autumn, [0x6d8fae, 0xbfc2bc, 0xf2d2a0, 0xfde6b6], [0xfff6d8, 0xfff0d4, 0xc3a595], [0xecc592, 0xc0743f, 0x42190f], 0.10),
    row(Mood::Desert, [0x3a80ad, 0x8cc0c8, 0xf3d9ac, 0xffe9c0], [0xfffbe6, 0xfff4e0, 0xd3ab93], [0xf6d3a0, 0xe6a562, 0xb4622f], 0.05),
    row(Mood::Ocean,  [0x1c5596, 0x4a93c2, 0x9fd2dc, 0xf8eacf], [0xfff8e0, 0xffffff, 0x8fb2c8], [0xb9dade, 0x3f83a0, 0x0c3148], 0.05),
    row(Mood::Neon,   [0x0b0626, 0x2d0c5c, 0x94207f, 0xff5c8f], [0xffd27a, 0xff6fb0, 0x2a1058], [0xc9358f, 0x481a78, 0x08041c], 0.60),
    row(Mood::Storm,  [0x1c2632, 0x3c4c5a, 0x74858e, 0xb9c0ba], [0xf3eeda, 0xaab4b8, 0x2a3642], [0x93a1a6, 0x4f6068, 0x121a20], 0.45),
    row(Mood::Ink,    [0xdfd9cb, 0xe9e3d6, 0xf1ece1, 0xf8f4ea], [0xcf3f2e, 0xf8f4ea, 0xcfcabd], [0xeee9dd, 0x8d8f8e, 0x1d2024], 0.30),
    row(Mood::Candy,  [0x5c55a8, 0xa67fce, 0xf4a3c4, 0xffe0c4], [0xfff4dc, 0xffd3dc, 0x9a78c0], [0xf6b8cc, 0xa06cb4, 0x33245e], 0.30),
];

/// The colours of everything in a scene.
pub(super) struct Colours {
    /// From the zenith (0) to the horizon (1).
    pub(super) sky: Gradient,
    /// From the farthest ground (0) to the nearest (1).
    pub(super) ground: Gradient,
    /// From the farthest trees (0) to the nearest (1).
    pub(super) trees: Gradient,
    /// Of an abstract picture.
    pub(super) silk: Gradient,
    pub(super) light: Rgb,
    pub(super) cloud: Rgb,
    pub(super) shade: Rgb,
    pub(super) haze: Rgb,
    pub(super) near: Rgb,
    /// How dark figures are, 0 to 1.
    pub(super) dim: f32,
}

impl Colours {
    /// Mixes a mood's colours, with snow on the ground or without.
    pub(super) fn new(mood: Mood, is_snowy: bool, dice: &mut Dice) -> Self {
        let turn = dice.between(-10.0, 10.0);
        let row = &MOODS[mood as usize];
        debug_assert_eq!(row.mood, mood, "rows stand in the order of the moods");
        let tinted = |hex: u32| {
            let colour: Oklch = Oklch::from_color(oklab(from_hex(hex)));
            rgb(Oklab::from_color(colour.shift_hue(turn)))
        };
        let sky = row.sky.map(tinted);
        let [light, cloud, shade] = row.light.map(tinted);
        let [haze, far, mut near] = row.ground.map(tinted);
        let mut bark = near;
        if is_snowy {
            bark = scale(sky[0], 0.42);
            near = mix(sky[3], [1.0; 3], 0.55);
        }
        Self {
            sky: Gradient::new(&sky),
            ground: Gradient::new(&[mix(haze, far, 0.25), mix(haze, far, 0.8), far, near]),
            trees: Gradient::new(&[haze, mix(haze, far, 0.8), mix(far, bark, 0.5), bark]),
            silk: Gradient::new(&[scale(near, 0.8), far, sky[1], sky[2], haze, sky[3]]),
            light,
            cloud,
            shade,
            haze,
            near,
            dim: row.dim,
        }
    }
}

/// Reads 0xRRGGBB.
pub(super) fn from_hex(hex: u32) -> Rgb {
    [16, 8, 0].map(|shift| (hex >> shift & 0xFF) as f32 / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mood_finds_its_own_row() {
        for (i, row) in MOODS.iter().enumerate() {
            assert_eq!(row.mood as usize, i);
        }
    }

    #[test]
    fn a_gradient_starts_and_ends_with_its_stops() {
        let stops = [from_hex(0x102030), from_hex(0xFFC080)];
        let gradient = Gradient::new(&stops);
        for (position, stop) in [(-1.0, stops[0]), (2.0, stops[1])] {
            let colour = gradient.at(position);
            assert!((0..3).all(|i| (colour[i] - stop[i]).abs() < 0.01), "{colour:?} {stop:?}");
        }
    }
}
