//! A row of houses and their lit windows.
//!
//! Comes in: dice, and where the row stands. Goes out: its outline and the colour of a point of a
//! house. Windows that are smaller than a pixel melt into an even glow instead of flickering.

use super::chance::{Dice, smoothstep, speckle};
use super::paint::View;
use super::palette::{Rgb, glow, mix};

/// Colours of lit windows; the last ones are signs.
const WINDOWS: [Rgb; 4] =
    [[1.0, 0.80, 0.48], [1.0, 0.90, 0.70], [0.42, 0.92, 1.0], [1.0, 0.42, 0.76]];

struct House {
    left: f32,
    right: f32,
    top: f32,
    /// 0 to 1; decides about roof, windows and sign.
    taste: f32,
}

/// A row of houses.
pub(super) struct Blocks {
    houses: Vec<House>,
    foot: f32,
    depth: f32,
    /// Width of a window.
    window: f32,
    salt: u32,
}

impl Blocks {
    /// Builds a row across the whole view; `stand` is its foot and its greatest height.
    pub(super) fn new(seed: u64, view: View, depth: f32, size: f32, stand: (f32, f32)) -> Self {
        let mut dice = Dice::new(seed);
        let (foot, tall) = stand;
        let half = view.aspect / 2.0;
        let centre = dice.between(-0.3, 0.3) * half;
        let mut houses = Vec::new();
        let mut left = -half - 0.1;
        while left < half {
            let right = left + size * dice.between(0.045, 0.12);
            let away = ((left + right) / 2.0 - centre) / half.max(0.3);
            let swell = 0.45 + 0.55 * (-away * away * 2.2).exp();
            let top = foot - tall * swell * dice.between(0.45, 1.15) - 0.08;
            houses.push(House { left, right, top, taste: dice.between(0.0, 1.0) });
            let gap = if dice.happens(0.2) { 0.02 } else { 0.0 };
            left = right + gap;
        }
        Self { houses, foot, depth, window: 0.0085 * size, salt: dice.roll() as u32 }
    }

    fn house(&self, x: f32) -> Option<(usize, &House)> {
        let after = self.houses.partition_point(|house| house.left <= x);
        let house = self.houses.get(after.checked_sub(1)?)?;
        (x < house.right).then_some((after, house))
    }

    /// Gives the height of the outline.
    pub(super) fn top(&self, x: f32) -> f32 {
        let Some((_, house)) = self.house(x) else {
            return self.foot;
        };
        let (width, middle) = (house.right - house.left, (house.left + house.right) / 2.0);
        let away = (x - middle).abs() / (width / 2.0);
        let roof = match house.taste {
            // An antenna, a stepped top, a slanted one, or flat.
            taste if taste < 0.14 && away < 0.04 => 0.09,
            taste if taste < 0.35 && away < 0.5 => 0.025,
            taste if taste > 0.88 => 0.05 * (x - house.left) / width,
            _ => 0.0,
        };
        house.top - roof
    }

    /// Lights the windows of a point of a house.
    pub(super) fn windows(&self, wall: Rgb, x: f32, y: f32, pixel: f32) -> Rgb {
        let Some((number, house)) = self.house(x) else {
            return wall;
        };
        let (wide, high) = (self.window, self.window * 1.7);
        let (across, down) = ((x - house.left) / wide, (y - house.top) / high);
        let (column, row) = (across.floor(), down.floor());
        if row < 1.0 || column < 1.0 || x > house.right - wide {
            return wall;
        }
        let draw = |salt| speckle(column as i32 + number as i32 * 64, row as i32, self.salt ^ salt);
        let share = 0.18 + 0.42 * (house.taste * 7.0).fract();
        let colour = match (house.taste * 13.0).fract() {
            taste if taste > 0.80 => WINDOWS[2],
            taste if taste > 0.62 => WINDOWS[3],
            _ => WINDOWS[(draw(2) * 1.99) as usize],
        };
        let inside = |place: f32, blur: f32| {
            smoothstep(0.12, 0.12 + blur, place) * smoothstep(0.88, 0.88 - blur, place)
        };
        let blur = (pixel / wide).clamp(0.05, 0.5);
        let pane = inside(across - column, blur) * inside(down - row, blur * 0.6);
        let lit = if draw(1) < share { 0.45 + 0.55 * draw(3) } else { 0.0 };
        let sharp = smoothstep(1.1, 0.45, pixel / wide);
        let light = mix([share * 0.4; 3], [lit * pane; 3], sharp)[0];
        glow(wall, colour, light * (0.30 + 0.65 * self.depth))
    }
}
