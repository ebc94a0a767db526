//! The words that the built-in provider knows.
//!
//! Comes in: prompt and negative prompt. Goes out: hints, in the table's order, which is also the
//! order of preference. Other words mean nothing here; they only change the prompt's hash.

use super::figures::Figure;
use super::palette::Mood;
use super::scene::Place;

/// What one word of a prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    Place(Place),
    Mood(Mood),
    Figure(Figure),
    Aurora,
    Snow,
    Stars,
    Clouds,
    Moon,
    Ring,
}

impl Hint {
    pub(super) fn place(self) -> Option<Place> {
        if let Self::Place(place) = self { Some(place) } else { None }
    }

    pub(super) fn mood(self) -> Option<Mood> {
        if let Self::Mood(mood) = self { Some(mood) } else { None }
    }

    pub(super) fn figure(self) -> Option<Figure> {
        if let Self::Figure(figure) = self { Some(figure) } else { None }
    }
}

/// Words by what they ask for; of two places or moods in one prompt, the upper one is taken.
#[rustfmt::skip]
const WORDS: &[(Hint, &str)] = &[
    (Hint::Place(Place::Space), "space planet galaxy nebula cosmos cosmic universe astronaut saturn jupiter orbit alien asteroid rocket spaceship"),
    (Hint::Place(Place::City), "city town street skyline skyscraper tokyo york metropolis cyberpunk building downtown urban car robot"),
    (Hint::Place(Place::Dunes), "desert dune sand sahara camel arabia pyramid egypt mars"),
    (Hint::Place(Place::Lake), "lake river pond reflection fjord mirror waterfall swan"),
    (Hint::Place(Place::Sea), "sea ocean beach wave coast island harbour harbor water tropical whale fish surf shore bay"),
    (Hint::Place(Place::Woods), "forest wood woodland jungle pine fir tree valley meadow hill garden field spring grass nature park flower"),
    (Hint::Place(Place::Mountains), "mountain peak alp alpine himalaya cliff volcano landscape canyon ridge summit"),
    (Hint::Place(Place::Silk), "abstract silk flow fluid marble texture pattern wallpaper liquid smoke swirl gradient dream music emotion"),
    (Hint::Mood(Mood::Neon), "neon cyberpunk synthwave vaporwave retro futuristic electric"),
    (Hint::Mood(Mood::Ink), "ink japanese japan zen minimal minimalist sumi monochrome calligraphy haiku"),
    (Hint::Mood(Mood::Night), "night midnight dark moonlit moonlight nocturnal moon star starry aurora borealis"),
    (Hint::Mood(Mood::Storm), "storm stormy rain rainy thunder gloomy grey gray dramatic"),
    (Hint::Mood(Mood::Dusk), "sunset dusk evening twilight fire lava romantic golden"),
    (Hint::Mood(Mood::Dawn), "sunrise dawn morning mist misty fog foggy calm soft"),
    (Hint::Mood(Mood::Winter), "winter snow snowy ice icy frost frozen arctic christmas cold"),
    (Hint::Mood(Mood::Candy), "pastel candy pink fairy unicorn cute kawaii magic magical fantasy"),
    (Hint::Mood(Mood::Autumn), "autumn fall october harvest"),
    (Hint::Mood(Mood::Desert), "desert dune sahara sand egypt mars"),
    (Hint::Mood(Mood::Ocean), "ocean sea tropical beach turquoise cyan"),
    (Hint::Mood(Mood::Forest), "forest jungle emerald spring moss"),
    (Hint::Mood(Mood::Day), "day noon sunny summer bright"),
    (Hint::Mood(Mood::Autumn), "red orange brown yellow fox"),
    (Hint::Mood(Mood::Candy), "purple violet"),
    (Hint::Mood(Mood::Forest), "green"),
    (Hint::Mood(Mood::Ocean), "blue"),
    (Hint::Figure(Figure::Lighthouse), "lighthouse beacon"),
    (Hint::Figure(Figure::Castle), "castle fortress palace tower knight princess kingdom"),
    (Hint::Figure(Figure::Cabin), "cabin house hut cottage home village"),
    (Hint::Figure(Figure::Boat), "boat ship sail sailboat sailing yacht"),
    (Hint::Figure(Figure::Fox), "fox vixen"),
    (Hint::Figure(Figure::Cat), "cat kitten kitty"),
    (Hint::Figure(Figure::Balloon), "balloon airship"),
    (Hint::Figure(Figure::Birds), "bird eagle gull seagull crow raven goose geese"),
    (Hint::Aurora, "aurora borealis"),
    (Hint::Snow, "snow snowy snowfall snowing blizzard christmas"),
    (Hint::Stars, "star starry milky"),
    (Hint::Clouds, "cloud cloudy"),
    (Hint::Moon, "moon lunar"),
    (Hint::Ring, "ring ringed saturn"),
];

/// Finds what the words ask for, in the table's order.
pub(super) fn hints(prompt: &str, negative_prompt: &str) -> Vec<Hint> {
    let unwanted: Vec<String> = words(negative_prompt).collect();
    let wanted: Vec<String> = words(prompt).filter(|word| !unwanted.contains(word)).collect();
    let is_said = |known: &str| {
        wanted.iter().any(|word| word == known || word.strip_suffix('s') == Some(known))
    };
    let asked = WORDS.iter().filter(|(_, known)| known.split(' ').any(is_said));
    asked.map(|(hint, _)| *hint).collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_light_and_weather_go_before_colours() {
        let mood = |prompt| hints(prompt, "").iter().find_map(|hint| hint.mood());
        assert_eq!(mood("sunset over mountains"), Some(Mood::Dusk));
        assert_eq!(mood("a red fox in snow"), Some(Mood::Winter));
        assert_eq!(mood("a red rose"), Some(Mood::Autumn));
        assert_eq!(mood("a chair"), None);
    }

    #[test]
    fn the_negative_prompt_takes_words_away() {
        let hints = hints("a fox and a cat", "Cat, blurry");
        assert!(hints.contains(&Hint::Figure(Figure::Fox)));
        assert!(!hints.contains(&Hint::Figure(Figure::Cat)));
    }
}
