//! Which layers a place has, and their outlines.
//!
//! Comes in: a scene. Goes out: ridges from far to near and the water's edge. Depths, heights and
//! counts are matters of taste, tuned by looking at the pictures.

use super::blocks::Blocks;
use super::chance::{Dice, Field, smoothstep, speckle};
use super::paint::View;
use super::ridge::Ridge;
use super::scene::{Place, Scene};

/// All layers of a place.
pub(super) struct Terrain {
    /// Behind the water, far to near.
    pub(super) back: Vec<Ridge>,
    /// Before the water, far to near.
    pub(super) front: Vec<Ridge>,
    /// Height of the water's far edge.
    pub(super) shore: Option<f32>,
    /// How broken the water's mirror is.
    pub(super) roughness: f32,
    /// How dark the water is.
    pub(super) depth_tint: f32,
}

impl Terrain {
    /// Lays out a place.
    pub(super) fn new(scene: &Scene, view: View) -> Self {
        let mut maker = Maker { scene, view, dice: Dice::new(scene.seed ^ 6), ridges: Vec::new() };
        let horizon = scene.horizon;
        let stands = scene.figures.iter().any(|figure| figure.stands());
        let (back, front, shore) = match scene.place {
            Place::Mountains => {
                (maker.made_by(Maker::mountains), maker.made_by(Maker::foothills), None)
            }
            Place::Woods => (maker.made_by(Maker::mountains), maker.made_by(Maker::woods), None),
            Place::Lake => {
                (maker.made_by(Maker::lakeside), maker.made_by(Maker::bank), Some(horizon + 0.07))
            }
            Place::Sea if stands => {
                (maker.made_by(Maker::islands), maker.made_by(Maker::headland), Some(horizon))
            }
            Place::Sea => (maker.made_by(Maker::islands), Vec::new(), Some(horizon)),
            Place::Dunes => (Vec::new(), maker.made_by(Maker::dunes), None),
            _ if stands => {
                (maker.made_by(Maker::city), maker.made_by(Maker::bank), Some(horizon + 0.19))
            }
            _ => (maker.made_by(Maker::city), Vec::new(), Some(horizon + 0.19)),
        };
        let roughness = match scene.place {
            Place::Sea => 1.0,
            Place::City => 0.55,
            _ => 0.38,
        };
        Self { back, front, shore, roughness, depth_tint: 0.45 }
    }
}

struct Maker<'a> {
    scene: &'a Scene,
    view: View,
    dice: Dice,
    ridges: Vec<Ridge>,
}

impl Maker<'_> {
    fn made_by(&mut self, layout: impl Fn(&mut Self)) -> Vec<Ridge> {
        layout(self);
        std::mem::take(&mut self.ridges)
    }

    fn add(&mut self, depth: f32, outline: impl Fn(f32) -> f32) -> &mut Ridge {
        self.ridges.push(Ridge::new(self.view, depth, &self.scene.colours, outline));
        self.ridges.last_mut().expect("it was just pushed")
    }

    /// Adds a rugged range.
    fn range(&mut self, depth: f32, foot: f32, height: f32) -> &mut Ridge {
        let peaks = Field::ridged(self.dice.roll(), 6);
        let swell = Field::new(self.dice.roll(), 2);
        let width = self.dice.between(0.55, 0.8);
        self.add(depth, |x| {
            let rise = 0.55 + 0.35 * peaks.at(x * width, 0.0) + 0.45 * swell.at(x * 0.8, 9.0);
            foot - height * rise.max(0.0)
        })
    }

    /// Adds a soft hill.
    fn hill(&mut self, depth: f32, foot: f32, height: f32) -> &mut Ridge {
        let swell = Field::new(self.dice.roll(), 3);
        self.add(depth, |x| foot - height * (0.5 + 0.8 * swell.at(x * 0.75, 0.0)))
    }

    /// Adds a hill with firs on it.
    fn firs(&mut self, depth: f32, foot: f32, height: f32, tree: f32) {
        let swell = Field::new(self.dice.roll(), 3);
        let gaps = Field::new(self.dice.roll(), 2);
        let salt = self.dice.roll() as u32;
        let ground = move |x: f32| foot - height * (0.5 + 0.8 * swell.at(x * 0.75, 0.0));
        let colour = self.scene.colours.trees.at(depth);
        let ridge = self.add(depth, |x| {
            let density = smoothstep(-0.45, 0.25, gaps.at(x * 1.1, 0.0));
            ground(x) - tree * density * fir_line(x / (tree * 0.36), salt)
        });
        ridge.colour = colour;
    }

    fn mountains(&mut self) {
        let horizon = self.scene.horizon;
        let count = 3;
        for i in 0..count {
            let t = i as f32 / count as f32;
            let height = self.dice.between(0.20, 0.32) * (1.0 - 0.35 * t);
            let ridge = self.range(0.05 + 0.42 * t, horizon + 0.04 + 0.10 * t, height);
            ridge.relief = 0.20 + 0.25 * t;
            ridge.snow = if i < 2 { 0.06 } else { 0.0 };
        }
    }

    fn foothills(&mut self) {
        let horizon = self.scene.horizon;
        self.firs(0.58, horizon + 0.17, 0.08, 0.035);
        self.firs(0.76, horizon + 0.25, 0.08, 0.065);
        self.hill(1.0, 0.93, 0.07).mist = 0.0;
    }

    fn woods(&mut self) {
        let horizon = self.scene.horizon;
        for (depth, drop, tree) in [(0.45, 0.06, 0.05), (0.6, 0.13, 0.08), (0.8, 0.21, 0.13)] {
            self.firs(depth, horizon + drop, 0.08, tree);
        }
        self.hill(1.0, 0.93, 0.07).mist = 0.0;
    }

    fn lakeside(&mut self) {
        let horizon = self.scene.horizon;
        self.mountains();
        self.firs(0.62, horizon + 0.075, 0.05, 0.05);
    }

    fn bank(&mut self) {
        self.hill(1.0, 0.95, 0.05).mist = 0.0;
    }

    fn islands(&mut self) {
        let horizon = self.scene.horizon;
        for depth in [0.12, 0.32] {
            let swell = Field::new(self.dice.roll(), 5);
            let place = self.dice.between(-0.5, 0.5) * self.view.aspect;
            let outline = |x: f32| {
                let bulk = (-((x - place) * 2.8).powi(2)).exp();
                horizon + 0.004 - bulk * (0.07 + 0.09 * swell.at(x * 2.0, 0.0))
            };
            self.add(depth, outline).relief = 0.2;
        }
    }

    /// Adds a rocky point that rises to one side, for what stands by the sea.
    fn headland(&mut self) {
        let rock = Field::new(self.dice.roll(), 6);
        let side = -self.scene.light.0.signum();
        let half = self.view.aspect / 2.0;
        let ridge = self.add(0.96, |x| {
            let across = side * x / half;
            let rise = smoothstep(-0.45, 0.25, across);
            1.02 - 0.24 * rise - 0.022 * rock.at(x * 5.0, 0.0) * (0.4 + rise)
        });
        (ridge.mist, ridge.relief) = (0.0, 0.25);
    }

    fn dunes(&mut self) {
        let horizon = self.scene.horizon;
        for (i, drop) in [0.02, 0.06, 0.14, 0.26].into_iter().enumerate() {
            let depth = 0.22 + 0.24 * i as f32;
            let swell = Field::ridged(self.dice.roll(), 1);
            let bend = Field::new(self.dice.roll(), 2);
            let (width, height) = (0.42 - 0.07 * i as f32, 0.06 + 0.02 * i as f32);
            let ridge = self.add(depth, |x| {
                let x = x + 0.2 * bend.at(x * 0.6, 4.0);
                horizon + drop + height * 0.3 - height * swell.at(x * width, 0.0)
            });
            (ridge.slopes, ridge.mist) = (true, 0.3 * (1.0 - depth));
        }
    }

    fn city(&mut self) {
        let horizon = self.scene.horizon;
        for (i, depth) in [0.15, 0.45, 0.75, 0.97].into_iter().enumerate() {
            let size = 0.6 + 0.4 * depth;
            let tall = [0.34, 0.36, 0.30, 0.16][i];
            let foot = horizon + 0.2;
            let blocks = Blocks::new(self.dice.roll(), self.view, depth, size, (foot, tall));
            let ridge = self.add(depth, |x| blocks.top(x));
            ridge.mist = 0.9 * (1.0 - depth);
            ridge.blocks = Some(blocks);
        }
    }
}

/// Gives the height of a line of firs of width 1, between 0 and 1.
fn fir_line(x: f32, salt: u32) -> f32 {
    let cell = x.floor() as i32;
    let tree = |cell: i32| {
        let height = 0.45 + 0.55 * speckle(cell, 0, salt);
        let middle = cell as f32 + 0.5 + 0.5 * (speckle(cell, 1, salt) - 0.5);
        let away = (x - middle).abs() / (0.40 + 0.5 * height);
        // Branches: the side goes out and in again, less so near the tip.
        let down = away * 7.0;
        let notch = 0.35 * (down.fract() - 0.5) / 7.0;
        (1.0 - away + notch * 2.0).max(0.0) * height
    };
    tree(cell - 1).max(tree(cell)).max(tree(cell + 1))
}
