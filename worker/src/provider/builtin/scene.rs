//! What is in the picture: place, mood, weather and figures, found in the prompt's words.
//!
//! Comes in: prompt, negative prompt and seed. Goes out: a [`Scene`], which has no size and no
//! pixels. A prompt whose words say nothing gets its place and mood from its hash, so the same
//! prompt stays in the same world with every seed; the seed moves what stands where.
//! Which words are known stands in `words`.

use super::chance::{Dice, hash, scramble};
use super::figures::Figure;
use super::palette::{Colours, Mood};
use super::words::{Hint, hints};

/// The kind of world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Mountains,
    Woods,
    Lake,
    Sea,
    Dunes,
    City,
    Space,
    Silk,
}

/// Everything that a painter needs to know, but the size.
pub(super) struct Scene {
    pub(super) place: Place,
    pub(super) colours: Colours,
    /// Sun or moon: place across (−1 to 1 of half the width), height (0 top, 1 bottom), radius.
    pub(super) light: (f32, f32, f32),
    pub(super) is_moon: bool,
    /// 0 clear to 1 overcast.
    pub(super) clouds: f32,
    /// 0 none to 1 full.
    pub(super) stars: f32,
    pub(super) has_aurora: bool,
    pub(super) has_snowfall: bool,
    /// Whether a planet has one for sure.
    pub(super) has_ring: bool,
    /// Height of the horizon (0 top, 1 bottom).
    pub(super) horizon: f32,
    pub(super) figures: Vec<Figure>,
    /// Where noise and dice of the painters start.
    pub(super) seed: u64,
}

impl Scene {
    /// Reads a prompt.
    pub(super) fn new(prompt: &str, negative_prompt: &str, seed: u64) -> Self {
        let hints = hints(prompt, negative_prompt);
        let has = |wanted| hints.contains(&wanted);
        let prompt_hash = hash(prompt);
        let mut taste = Dice::new(prompt_hash);
        let mut dice = Dice::new(prompt_hash ^ scramble(seed));

        let figures: Vec<Figure> = hints.iter().filter_map(|hint| hint.figure()).collect();
        let mood = hints.iter().find_map(|hint| hint.mood());
        let place = place(&hints, mood, &figures, &mut taste);
        let backlit = figures.contains(&Figure::Cat);
        let usual = if backlit { &[Mood::Dusk, Mood::Night] } else { moods_of(place) };
        let mood = mood.unwrap_or_else(|| taste.pick(usual));

        let is_dark = matches!(mood, Mood::Night | Mood::Neon);
        let is_moon = has(Hint::Moon) || mood == Mood::Night;
        let is_snowy = has(Hint::Snow) || mood == Mood::Winter;
        let is_low = matches!(mood, Mood::Dusk | Mood::Neon | Mood::Dawn);
        let height = if backlit {
            dice.between(0.46, 0.52)
        } else if is_low {
            dice.between(0.40, 0.54)
        } else {
            dice.between(0.16, 0.32)
        };
        let size = match mood {
            _ if backlit => dice.between(0.15, 0.19),
            Mood::Ink | Mood::Neon => dice.between(0.10, 0.15),
            _ => dice.between(0.035, 0.075),
        };
        let usual_clouds = match mood {
            Mood::Storm => 0.9,
            Mood::Night | Mood::Neon | Mood::Ink => dice.between(0.0, 0.3),
            _ => dice.between(0.25, 0.65),
        };
        Self {
            place,
            colours: Colours::new(mood, is_snowy, &mut dice),
            light: (dice.between(0.12, 0.62) * dice.pick(&[-1.0, 1.0]), height, size),
            is_moon,
            clouds: if has(Hint::Clouds) { 0.75 } else { usual_clouds },
            stars: if has(Hint::Stars) || is_dark || is_moon { 1.0 } else { 0.0 },
            has_aurora: has(Hint::Aurora)
                || (mood == Mood::Night && place != Place::City && dice.happens(0.3)),
            has_snowfall: has(Hint::Snow) || (mood == Mood::Winter && dice.happens(0.5)),
            has_ring: has(Hint::Ring),
            horizon: dice.between(0.56, 0.66),
            figures,
            seed: dice.roll(),
        }
    }
}

/// Chooses the place: a word for it, else where the figure lives, else what fits the mood.
fn place(hints: &[Hint], mood: Option<Mood>, figures: &[Figure], taste: &mut Dice) -> Place {
    let said = hints.iter().find_map(|hint| hint.place());
    // Nothing to stand on in an abstract, and no air in space.
    let is_floor = |place: &Place| !matches!(place, Place::Silk | Place::Space);
    if let Some(place) = said.filter(|place| figures.is_empty() || is_floor(place)) {
        return place;
    }
    if let Some(figure) = figures.first() {
        return taste.pick(figure.places());
    }
    let fitting: &[Place] = match mood {
        Some(Mood::Ocean) => &[Place::Sea],
        Some(Mood::Desert) => &[Place::Dunes],
        Some(Mood::Neon) => &[Place::City, Place::Silk],
        Some(Mood::Forest | Mood::Autumn) => &[Place::Woods],
        Some(Mood::Winter | Mood::Ink) => &[Place::Mountains, Place::Woods, Place::Lake],
        Some(_) => &[Place::Mountains, Place::Lake, Place::Sea],
        None => &[Place::Silk, Place::Mountains, Place::Lake, Place::Space, Place::Sea],
    };
    taste.pick(fitting)
}

/// Lists the moods that suit a place when the prompt names none.
fn moods_of(place: Place) -> &'static [Mood] {
    match place {
        Place::Mountains => &[Mood::Dusk, Mood::Dawn, Mood::Day, Mood::Ink, Mood::Candy],
        Place::Woods => &[Mood::Forest, Mood::Autumn, Mood::Dusk, Mood::Dawn],
        Place::Lake => &[Mood::Dawn, Mood::Dusk, Mood::Autumn, Mood::Candy],
        Place::Sea => &[Mood::Ocean, Mood::Dusk, Mood::Candy, Mood::Dawn],
        Place::Dunes => &[Mood::Desert, Mood::Dusk],
        Place::City => &[Mood::Neon, Mood::Dusk, Mood::Night],
        Place::Space => &[Mood::Neon, Mood::Candy, Mood::Dusk, Mood::Ocean],
        Place::Silk => &[Mood::Dusk, Mood::Ocean, Mood::Neon, Mood::Candy, Mood::Forest, Mood::Day],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_prompt_choose_place_mood_and_figure() {
        let scene = Scene::new("A red fox in snow", "", 1);
        assert_eq!(scene.figures, [Figure::Fox]);
        assert!(scene.has_snowfall);
        let scene = Scene::new("lighthouses at night", "", 1);
        assert_eq!((scene.place, scene.figures), (Place::Sea, vec![Figure::Lighthouse]));
        assert!(scene.is_moon);
    }

    #[test]
    fn a_prompt_without_known_words_keeps_its_place_with_every_seed() {
        let places = [1, 2, 3].map(|seed| Scene::new("qwerty zxcv", "", seed).place);
        assert_eq!(places, [places[0]; 3]);
    }
}
