//! Figures in a scene, and the snow that falls before them.
//!
//! Comes in: a canvas with its backdrop painted. Goes out: the same canvas with figures where they
//! belong: on the nearest ground, on the water or in the air. What they look like stands in
//! `shapes`, and how they are drawn in `brush`.

use tiny_skia::Pixmap;

use super::brush::Brush;
use super::chance::Dice;
use super::paint::{Backdrop, View};
use super::scene::{Place, Scene};
use super::shapes::{self, Part};

/// Something that is drawn with outlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Birds,
    Balloon,
    Castle,
    Cabin,
    Lighthouse,
    Boat,
    Cat,
    Fox,
}

impl Figure {
    /// Lists where it is found when the prompt names no place.
    pub(super) fn places(self) -> &'static [Place] {
        match self {
            Self::Lighthouse => &[Place::Sea],
            Self::Boat => &[Place::Sea, Place::Lake],
            Self::Fox => &[Place::Woods],
            Self::Cabin => &[Place::Woods, Place::Lake, Place::Mountains],
            Self::Birds => &[Place::Sea, Place::Lake, Place::Mountains],
            Self::Cat | Self::Castle | Self::Balloon => &[Place::Mountains, Place::Woods],
        }
    }

    /// Tells whether it needs ground.
    pub(super) fn stands(self) -> bool {
        !matches!(self, Self::Birds | Self::Balloon | Self::Boat)
    }

    /// Gives its shape and its height in a picture of height 1.
    fn shape(self) -> (&'static [Part], f32) {
        match self {
            Self::Birds => (shapes::BIRD, 0.03),
            Self::Balloon => (shapes::BALLOON, 0.24),
            Self::Castle => (shapes::CASTLE, 0.30),
            Self::Cabin => (shapes::CABIN, 0.17),
            Self::Lighthouse => (shapes::LIGHTHOUSE, 0.44),
            Self::Boat => (shapes::BOAT, 0.24),
            Self::Cat => (shapes::CAT, 0.30),
            Self::Fox => (shapes::FOX, 0.36),
        }
    }
}

/// Draws the figures of a scene, and its snowfall.
pub(super) fn draw(canvas: &mut Pixmap, scene: &Scene, view: View, backdrop: &dyn Backdrop) {
    let mut dice = Dice::new(scene.seed ^ 7);
    let fit = view.aspect.min(1.0);
    let mut brush = Brush { canvas, scene, view, light: scene.light.0 * view.aspect / 2.0 };
    for figure in &scene.figures {
        let (parts, height) = figure.shape();
        let size = height * fit * dice.between(0.92, 1.08);
        let away = -scene.light.0.signum() * view.aspect;
        let (x, y) = match figure {
            Figure::Birds => {
                flock(&mut brush, &mut dice, size);
                continue;
            }
            Figure::Balloon => {
                for (across, height, share) in [(-0.32, 0.26, 0.35), (0.36, 0.40, 0.5)] {
                    brush.parts(parts, (across * away, height), size * share, 1.0, 1.0);
                }
                (away * dice.between(0.02, 0.16), dice.between(0.38, 0.48))
            }
            Figure::Boat => {
                let shore = backdrop.shore();
                let x = scene.light.0 * view.aspect * dice.between(-0.15, 0.3);
                (x, shore.map_or_else(|| backdrop.ground(x), |shore| shore + 0.3 * (1.0 - shore)))
            }
            Figure::Cat => {
                let x = brush.light;
                (x, backdrop.ground(x))
            }
            Figure::Lighthouse => (away * 0.30, backdrop.ground(away * 0.30)),
            _ => {
                let x = away * dice.between(0.06, 0.24);
                (x, backdrop.ground(x))
            }
        };
        if *figure == Figure::Boat {
            brush.parts(parts, (x, y), size, -0.5, 0.22);
        } else if figure.stands() {
            brush.shadow((x, y), size);
        }
        brush.parts(parts, (x, y + 0.012 * fit), size, 1.0, 1.0);
    }
    if scene.has_snowfall {
        snowfall(&mut brush, &mut dice);
    }
}

fn flock(brush: &mut Brush<'_>, dice: &mut Dice, size: f32) {
    let (x, y) = (-brush.light * 0.4, dice.between(0.2, 0.34));
    for _ in 0..7 {
        let place = (x + dice.between(-0.17, 0.17), y + dice.between(-0.07, 0.07));
        brush.parts(shapes::BIRD, place, size * dice.between(0.5, 1.0), 1.0, 0.9);
    }
}

fn snowfall(brush: &mut Brush<'_>, dice: &mut Dice) {
    let half = brush.view.aspect / 2.0;
    for _ in 0..(190.0 * brush.view.aspect.clamp(0.2, 4.0)) as u32 {
        let near = dice.between(0.0, 1.0).powi(4);
        let place = (dice.between(-half, half), dice.between(0.0, 1.0));
        let radius = (0.0016 + 0.0075 * near).max(0.4 * brush.view.pixel);
        brush.disc(place, radius, [1.0; 3], 0.85 - 0.5 * near);
    }
}
