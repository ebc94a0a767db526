//! What a provider's model can do, so that what it can't is refused before anything waits.
//!
//! Comes in: the provider's kind and its name of the model, as the settings have them. Goes out:
//! the faults of an input, for the gateway at submit and for the adapter as a last line. Invariant: an
//! input without faults is one that the provider is documented to accept.
//! `steps` and `seed` are never faults: an input always has them, and a provider that knows neither
//! draws a picture all the same. Encodings are not listed either: what a provider can't encode is
//! converted by the worker.

use std::cmp::Ordering::Equal;

use serde::{Deserialize, Serialize};

use super::input::{FRAMES, FrameInput, InputFault, SIDE_DEFAULT_PX, SIDE_PX, SIDE_STEP_PX};

/// Sizes a model can draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizes {
    /// Sides that are multiples of a number of pixels, no side longer than `ratio_max` times the
    /// other.
    Multiples {
        /// In pixels.
        of: u32,
        /// Longest side, in pixels.
        max: u32,
        /// How many times as long the longer side may be.
        ratio_max: u32,
    },
    /// These widths and heights alone, in pixels.
    Only(Vec<(u32, u32)>),
}

/// What a model can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// Sizes it can draw.
    pub sizes: Sizes,
    /// Frames of one job.
    pub frames_max: u32,
    /// Whether it can be told what to leave out.
    pub negative_prompt: bool,
    /// Whether it counts steps; a number of them means nothing otherwise.
    pub steps: bool,
    /// Whether the same seed gives the same picture; a seed means nothing otherwise.
    pub seed: bool,
    /// Whether it can start from a picture.
    pub image: bool,
    /// Whether it can draw a part of that picture anew.
    pub mask: bool,
}

impl Default for Abilities {
    /// Everything that an input can ask for.
    fn default() -> Self {
        Self {
            sizes: Sizes::Multiples { of: SIDE_STEP_PX, max: *SIDE_PX.end(), ratio_max: u32::MAX },
            frames_max: *FRAMES.end(),
            negative_prompt: true,
            steps: true,
            seed: true,
            image: true,
            mask: true,
        }
    }
}

/// Sizes of the first GPT image models.
const GPT_SIZES: [(u32, u32); 3] = [(1024, 1024), (1536, 1024), (1024, 1536)];
/// Sizes of DALL-E 3.
const DALL_E_3_SIZES: [(u32, u32); 3] = [(1024, 1024), (1792, 1024), (1024, 1792)];
/// Sizes of DALL-E 2.
const DALL_E_2_SIZES: [(u32, u32); 3] = [(256, 256), (512, 512), (1024, 1024)];

impl Abilities {
    /// Gives those of a model behind an OpenAI images API; of a model with a foreign name (LocalAI,
    /// a proxy's alias) only what the API has no field for is known to be impossible.
    pub fn openai(model: &str) -> Self {
        let plain = Self { negative_prompt: false, steps: false, seed: false, ..Self::default() };
        let only = |sizes: &[(u32, u32)]| Sizes::Only(sizes.to_vec());
        match model {
            _ if model.starts_with("gpt-image-2") => {
                let sizes = Sizes::Multiples { of: 16, max: *SIDE_PX.end(), ratio_max: 3 };
                Self { sizes, ..plain }
            }
            _ if model.starts_with("gpt-image-1") => Self { sizes: only(&GPT_SIZES), ..plain },
            "dall-e-3" => {
                let sizes = only(&DALL_E_3_SIZES);
                Self { sizes, frames_max: 1, image: false, mask: false, ..plain }
            }
            "dall-e-2" => Self { sizes: only(&DALL_E_2_SIZES), ..plain },
            _ => plain,
        }
    }

    /// Gives those of AUTOMATIC1111 and its relatives: all.
    pub fn automatic1111() -> Self {
        Self::default()
    }

    /// Gives those of a model whose request is written out in the settings: what the request has a
    /// place for.
    ///
    /// `request` is its JSON; a place is a value like `"$seed"`. `sizes` are the only ones where
    /// there are any, else sides are multiples of `side_step_px`.
    pub fn of_request(request: &str, sizes: Vec<(u32, u32)>, side_step_px: u32) -> Self {
        let has = |place: &str| request.contains(&format!("\"${place}\""));
        let sizes = if sizes.is_empty() {
            Sizes::Multiples { of: side_step_px, max: *SIDE_PX.end(), ratio_max: u32::MAX }
        } else {
            Sizes::Only(sizes)
        };
        Self {
            sizes,
            frames_max: *FRAMES.end(),
            negative_prompt: has("negative_prompt"),
            steps: has("steps"),
            seed: has("seed"),
            image: has("image"),
            mask: has("mask"),
        }
    }

    /// Gives what both can do.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            sizes: self.sizes.and(&other.sizes),
            frames_max: self.frames_max.min(other.frames_max),
            negative_prompt: self.negative_prompt && other.negative_prompt,
            steps: self.steps && other.steps,
            seed: self.seed && other.seed,
            image: self.image && other.image,
            mask: self.mask && other.mask,
        }
    }

    /// Gives width and height for a request that names none: ours, else a common one, else its first;
    /// `None` if it draws no size at all.
    pub fn size_default(&self) -> Option<(u32, u32)> {
        let first = match &self.sizes {
            Sizes::Only(sizes) => sizes.first().copied(),
            Sizes::Multiples { of, .. } => Some((*of, *of)),
        };
        SIZES_COMMON
            .into_iter()
            .chain(first)
            .find(|&(width, height)| self.sizes.faults(width, height).is_empty())
    }

    /// Gives the size that is nearest to a picture's in shape, then in pixels; `None` if it draws no
    /// size at all.
    pub fn size_near(&self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        let (width, height) = (width.max(1), height.max(1));
        match &self.sizes {
            Sizes::Only(sizes) => {
                let shape = |(w, h): (u32, u32)| f64::from(w) / f64::from(h);
                let pixels = |(w, h): (u32, u32)| f64::from(w) * f64::from(h);
                let off = |one: f64, other: f64| (one / other).ln().abs();
                let asked = (width, height);
                let far = |size: &(u32, u32)| {
                    (off(shape(*size), shape(asked)), off(pixels(*size), pixels(asked)))
                };
                let sizes = sizes.iter().filter(|(w, h)| *w > 0 && *h > 0).copied();
                sizes.min_by(|one, other| far(one).partial_cmp(&far(other)).unwrap_or(Equal))
            }
            &Sizes::Multiples { of, max, ratio_max } => {
                let step = of / divisor(of, SIDE_STEP_PX) * SIDE_STEP_PX;
                let most = max.min(*SIDE_PX.end()) / step * step;
                let least = SIDE_PX.start().div_ceil(step) * step;
                let shrink = (f64::from(most) / f64::from(width.max(height))).min(1.0);
                let snap = |side: u32| {
                    let cells = (f64::from(side) * shrink / f64::from(step)).round() as u32;
                    (cells * step).max(least).min(most)
                };
                let (wide, high) = (snap(width), snap(height));
                // The longer side gives way, down to a whole number of steps.
                let bound =
                    |side: u32, other: u32| side.min(other.saturating_mul(ratio_max) / step * step);
                Some((bound(wide, high), bound(high, wide))).filter(|_| least <= most)
            }
        }
    }

    /// Lists what the model can't do of an input; empty means that it can draw it.
    pub fn faults(&self, input: &FrameInput) -> Vec<InputFault> {
        let mut faults = self.sizes.faults(input.width, input.height);
        if input.n > self.frames_max {
            let detail = format!("must be at most {} for this model", self.frames_max);
            faults.push(InputFault::new("#/input/n", detail));
        }
        if !self.negative_prompt && !input.negative_prompt.trim().is_empty() {
            let detail = "means nothing to this model; say in the prompt what you want instead";
            faults.push(InputFault::new("#/input/negative_prompt", detail));
        }
        if input.image.is_some() {
            faults.extend(self.source_faults(input.mask.is_some()));
        }
        faults
    }

    /// Lists what the model can't do with a picture to start from, and a mask, if there is one.
    pub fn source_faults(&self, masked: bool) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if !self.image {
            faults.push(InputFault::new("#/input/image", "this model starts from no picture"));
        }
        if masked && !self.mask {
            faults.push(InputFault::new("#/input/mask", "this model takes no mask"));
        }
        faults
    }
}

/// Sizes that are tried in turn for a request that names none, ours first.
const SIZES_COMMON: [(u32, u32); 2] = [(SIDE_DEFAULT_PX, SIDE_DEFAULT_PX), (1024, 1024)];

impl Sizes {
    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(sizes), other) | (other, Self::Only(sizes)) => {
                let both = |&&(width, height): &&(u32, u32)| other.faults(width, height).is_empty();
                Self::Only(sizes.iter().filter(both).copied().collect())
            }
            (
                &Self::Multiples { of, max, ratio_max },
                &Self::Multiples { of: its_of, max: its_max, ratio_max: its_ratio_max },
            ) => Self::Multiples {
                of: of / divisor(of, its_of) * its_of,
                max: max.min(its_max),
                ratio_max: ratio_max.min(its_ratio_max),
            },
        }
    }

    fn faults(&self, width: u32, height: u32) -> Vec<InputFault> {
        let mut faults = Vec::new();
        match self {
            Self::Only(sizes) => {
                if !sizes.contains(&(width, height)) {
                    let known: Vec<_> = sizes.iter().map(|(w, h)| format!("{w}x{h}")).collect();
                    let known = known.join(", ");
                    let detail = format!("this model draws {known}, but not {width}x{height}");
                    faults.push(InputFault::new("#/input/width", detail));
                }
            }
            &Self::Multiples { of, max, ratio_max } => {
                for (pointer, side) in [("#/input/width", width), ("#/input/height", height)] {
                    if !side.is_multiple_of(of) || side > max {
                        let detail = format!(
                            "must be a multiple of {of} up to {max} for this model, but is {side}"
                        );
                        faults.push(InputFault::new(pointer, detail));
                    }
                }
                let (short, long) = (width.min(height), width.max(height));
                if long > short.saturating_mul(ratio_max) {
                    let detail = format!("no side may be over {ratio_max} times the other");
                    faults.push(InputFault::new("#/input/width", detail));
                }
            }
        }
        faults
    }
}

/// Gives the greatest number that divides both.
fn divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn together_models_can_do_what_each_of_them_can() {
        let gpt = Abilities::openai("gpt-image-1");
        let steps = |of| Abilities::of_request(r#""$negative_prompt""#, Vec::new(), of);
        assert_eq!(gpt.and(&Abilities::default()), gpt);
        assert_eq!(Abilities::openai("dall-e-2").and(&gpt).sizes, Sizes::Only(vec![(1024, 1024)]));
        assert!(!steps(16).and(&gpt).negative_prompt);
        let both = steps(48).and(&steps(32));
        assert_eq!(both.sizes, steps(96).sizes);
        assert_eq!(both.size_default(), Some((96, 96)));
        assert_eq!(gpt.size_default(), Some((1024, 1024)));
        assert_eq!(Abilities::default().size_default(), Some((512, 512)));
        let none = Abilities::of_request("", vec![(64, 64)], 8).and(&gpt);
        assert_eq!(none.size_default(), None);
    }

    #[test]
    fn the_size_near_a_pictures_is_one_that_the_model_draws_and_keeps_its_shape() {
        let any = Abilities::default();
        assert_eq!(any.size_near((512, 384)), Some((512, 384)));
        assert_eq!(any.size_near((500, 333)), Some((504, 336)));
        assert_eq!(any.size_near((4032, 3024)), Some((2048, 1536)));
        assert_eq!(any.size_near((16, 4000)), Some((64, 2048)));
        assert_eq!(any.size_near((1, 1)), Some((64, 64)));
        let gpt_1 = Abilities::openai("gpt-image-1");
        assert_eq!(gpt_1.size_near((3000, 2000)), Some((1536, 1024)));
        assert_eq!(gpt_1.size_near((700, 900)), Some((1024, 1536)));
        assert_eq!(gpt_1.size_near((64, 64)), Some((1024, 1024)));
        let dall_e = Abilities::openai("dall-e-2");
        assert_eq!(dall_e.size_near((300, 290)), Some((256, 256)));
        let gpt_2 = Abilities::openai("gpt-image-2");
        let drawn = gpt_2.size_near((4000, 500)).unwrap();
        assert!(gpt_2.sizes.faults(drawn.0, drawn.1).is_empty(), "{drawn:?}");
        assert_eq!(Abilities::of_request("", vec![(0, 0)], 8).size_near((8, 8)), None);
    }

    fn pointers(abilities: &Abilities, change: impl FnOnce(&mut FrameInput)) -> Vec<String> {
        let mut input = FrameInput { width: 1024, height: 1024, ..FrameInput::new("a fox") };
        change(&mut input);
        abilities.faults(&input).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_model_refuses_the_sizes_it_does_not_draw_and_no_others() {
        let odd = |input: &mut FrameInput| (input.width, input.height) = (1000, 512);
        let wide = |input: &mut FrameInput| (input.width, input.height) = (2048, 512);
        let tall = |input: &mut FrameInput| input.height = 1536;
        let nothing: [&str; 0] = [];
        let gpt_1 = Abilities::openai("gpt-image-1.5");
        assert_eq!(pointers(&gpt_1, odd), ["#/input/width"]);
        assert_eq!(pointers(&gpt_1, tall), nothing);
        let gpt_2 = Abilities::openai("gpt-image-2-2026-04-21");
        assert_eq!(pointers(&gpt_2, odd), ["#/input/width"]);
        assert_eq!(pointers(&gpt_2, wide), ["#/input/width"]);
        assert_eq!(pointers(&gpt_2, tall), nothing);
        assert_eq!(pointers(&Abilities::openai("local-sdxl"), odd), nothing);
        assert_eq!(pointers(&Abilities::automatic1111(), wide), nothing);
    }

    #[test]
    fn what_the_interface_has_no_field_for_is_refused() {
        let more = |input: &mut FrameInput| {
            input.n = 4;
            input.negative_prompt = "rain".into();
        };
        let dall_e = Abilities::openai("dall-e-3");
        assert_eq!(pointers(&dall_e, more), ["#/input/n", "#/input/negative_prompt"]);
        assert_eq!(dall_e.source_faults(true).len(), 2);
        assert_eq!(pointers(&Abilities::automatic1111(), more), [""; 0]);
        assert!(Abilities::automatic1111().source_faults(true).is_empty());
    }

    #[test]
    fn a_written_request_can_do_what_it_has_a_place_for() {
        let request = r#"{"text":"$prompt","noise":"$seed","start":"$image"}"#;
        let abilities = Abilities::of_request(request, vec![(1024, 1024)], 16);
        assert!(abilities.seed && abilities.image);
        assert!(!abilities.steps && !abilities.negative_prompt);
        assert_eq!(abilities.source_faults(true)[0].pointer, "#/input/mask");
        assert_eq!(pointers(&abilities, |input| input.width = 512), ["#/input/width"]);
        let stepped = Abilities::of_request(request, Vec::new(), 16);
        assert_eq!(pointers(&stepped, |input| input.width = 1000), ["#/input/width"]);
    }
}
