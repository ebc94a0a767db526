//! Requests that the settings write out, for services whose every model takes other fields.
//!
//! Comes in: an object with places in it, like `{"prompt": "$prompt", "go_fast": true}`, and for
//! models that know names of sizes the fields that stand for each. Goes out: the object for one
//! frame. A field whose place has nothing to hold (no mask, no negative prompt) is left out. What
//! a model can do follows from the places, so a job can't ask for what would be dropped silently.

use std::collections::BTreeMap;

use framewire_shared::domain::{Abilities, FrameInput};
use serde_json::{Map, Value, json};

use super::http::Misconfigured;

/// Sizes like `1024x768`, and the fields that ask for each.
pub type SizeFields = BTreeMap<String, Map<String, Value>>;

/// Every place that a request may have.
const PLACES: [&str; 10] = [
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "steps",
    "seed",
    "format",
    "image",
    "mask",
    "strength",
];

/// A request with places in it.
#[derive(Debug)]
pub(super) struct Written {
    fields: Map<String, Value>,
    sizes: BTreeMap<(u32, u32), Map<String, Value>>,
    side_step_px: u32,
}

/// What the places of one frame's request hold.
#[derive(Debug)]
pub(super) struct Filling<'a> {
    pub(super) input: &'a FrameInput,
    pub(super) seed: u64,
    /// The service's word for the encoding.
    pub(super) format: &'a str,
    /// Addresses of the picture to start from, and of the mask.
    pub(super) image: Option<&'a str>,
    pub(super) mask: Option<&'a str>,
    pub(super) strength: Option<f64>,
}

impl Written {
    /// Reads a request; unknown places and sizes are refused.
    pub(super) fn new(
        fields: Map<String, Value>,
        sizes: SizeFields,
        side_step_px: u32,
    ) -> Result<Self, Misconfigured> {
        if side_step_px == 0 {
            return Err(Misconfigured::Option("side_step_px", "it must not be 0"));
        }
        let read = |(size, fields): (String, _)| Some((read_size(&size)?, fields));
        let sizes: Option<_> = sizes.into_iter().map(read).collect();
        let sizes: BTreeMap<_, Map<_, _>> =
            sizes.ok_or(Misconfigured::Option("sizes", "a size looks like 1024x768"))?;
        for text in sizes.values().chain([&fields]).flat_map(Map::values).flat_map(texts) {
            if text.strip_prefix('$').is_some_and(|place| !PLACES.contains(&place)) {
                return Err(Misconfigured::Option("input", "it has a place that nobody knows"));
            }
        }
        Ok(Self { fields, sizes, side_step_px })
    }

    /// Tells what the model can do: what there is a place for.
    pub(super) fn abilities(&self) -> Abilities {
        let request = Value::Object(self.fields.clone()).to_string();
        Abilities::of_request(&request, self.sizes.keys().copied().collect(), self.side_step_px)
    }

    /// Gives the request for one frame.
    pub(super) fn fill(&self, filling: &Filling<'_>) -> Map<String, Value> {
        let size = (filling.input.width, filling.input.height);
        let more = self.sizes.get(&size).into_iter().flatten();
        let fields = self.fields.iter().chain(more);
        fields.filter_map(|(name, value)| Some((name.clone(), filling.put(value)?))).collect()
    }
}

impl Filling<'_> {
    fn put(&self, value: &Value) -> Option<Value> {
        match value {
            Value::String(text) => match text.strip_prefix('$') {
                Some(place) => self.of(place),
                None => Some(value.clone()),
            },
            Value::Object(fields) => Some(Value::Object(
                fields
                    .iter()
                    .filter_map(|(name, it)| Some((name.clone(), self.put(it)?)))
                    .collect(),
            )),
            Value::Array(items) => {
                Some(Value::Array(items.iter().filter_map(|it| self.put(it)).collect()))
            }
            _ => Some(value.clone()),
        }
    }

    fn of(&self, place: &str) -> Option<Value> {
        let input = self.input;
        match place {
            "prompt" => Some(json!(input.prompt)),
            "negative_prompt" => {
                (!input.negative_prompt.is_empty()).then(|| json!(input.negative_prompt))
            }
            "width" => Some(json!(input.width)),
            "height" => Some(json!(input.height)),
            "steps" => Some(json!(input.steps)),
            "seed" => Some(json!(self.seed)),
            "format" => Some(json!(self.format)),
            "image" => self.image.map(|address| json!(address)),
            "mask" => self.mask.map(|address| json!(address)),
            "strength" => self.strength.map(|strength| json!(strength)),
            _ => None,
        }
    }
}

fn read_size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// Gives every text in a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn places_are_filled_with_what_the_job_has_and_left_out_otherwise() {
        let fields = json!({"prompt": "$prompt", "negative": "$negative_prompt", "fast": true,
            "size": {"width": "$width", "height": "$height"}, "images": ["$image", "$mask"]});
        let sizes = BTreeMap::from([("64x32".to_owned(), object(json!({"aspect_ratio": "2:1"})))]);
        let written = Written::new(object(fields), sizes, 8).unwrap();
        let input = FrameInput { width: 64, height: 32, ..FrameInput::new("a $seed fox") };
        let filling = Filling {
            input: &input,
            seed: 1,
            format: "png",
            image: Some("data:x"),
            mask: None,
            strength: None,
        };
        let expected = json!({"prompt": "a $seed fox", "fast": true, "images": ["data:x"],
            "size": {"width": 64, "height": 32}, "aspect_ratio": "2:1"});
        assert_eq!(Value::Object(written.fill(&filling)), expected);
        let abilities = written.abilities();
        assert!(abilities.image && abilities.negative_prompt && !abilities.seed);
    }

    #[test]
    fn a_request_with_unknown_places_or_sizes_is_refused() {
        let none = BTreeMap::new;
        assert!(Written::new(object(json!({"a": ["$promt"]})), none(), 8).is_err());
        assert!(Written::new(Map::new(), none(), 0).is_err());
        let sizes = BTreeMap::from([("large".to_owned(), Map::new())]);
        assert!(Written::new(Map::new(), sizes, 8).is_err());
    }
}
