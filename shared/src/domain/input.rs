//! What a frame is asked to be, with every bound by name.
//!
//! Comes in: the `input` object of `POST /v1/jobs`, already typed by serde (which refuses unknown
//! fields by name). Goes out: the same object with its defaults filled in, as it is stored in the
//! job and handed to the provider. Invariant: a `FrameInput` that passed [`FrameInput::check`] can
//! be drawn; nobody downstream checks a bound again.
//! What one provider can't do is refused by that provider's adapter, not here.

use serde::{Deserialize, Serialize};

use super::artifact::MediaType;
use super::picture::{InputPicture, Place, Strength};

/// Longest prompt; longer ones are cut silently by most providers, so we refuse instead.
pub const PROMPT_CHARS_MAX: usize = 4_000;
/// Smallest and largest side of a frame, in pixels.
pub const SIDE_PX: std::ops::RangeInclusive<u32> = 64..=2_048;
/// Sides are multiples of this, because latent models work on 8-pixel cells.
pub const SIDE_STEP_PX: u32 = 8;
/// Both sides where nobody says, if the model draws that.
pub const SIDE_DEFAULT_PX: u32 = 512;
/// Sampling steps.
pub const STEPS: std::ops::RangeInclusive<u32> = 1..=50;
/// Frames of one job.
pub const FRAMES: std::ops::RangeInclusive<u32> = 1..=4;
/// Simulated thinking per step, in milliseconds (the built-in provider only).
pub const STEP_MS_MAX: u64 = 5_000;
/// Largest seed: the largest integer that JavaScript keeps exact.
pub const SEED_MAX: u64 = (1 << 53) - 1;

/// What the user asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameInput {
    /// What to draw; 1 to [`PROMPT_CHARS_MAX`] characters.
    pub prompt: String,
    /// What to leave out; empty means nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub negative_prompt: String,
    /// In pixels.
    #[serde(default = "side_default")]
    pub width: u32,
    /// In pixels.
    #[serde(default = "side_default")]
    pub height: u32,
    /// Sampling steps.
    #[serde(default = "steps_default")]
    pub steps: u32,
    /// Where the noise starts; the gateway draws one when absent, so the frame can be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Number of frames; frame `i` uses `seed + i`.
    #[serde(default = "frames_default")]
    pub n: u32,
    /// What to start from instead of noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<InputPicture>,
    /// White where the start picture shall be drawn anew; everywhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<InputPicture>,
    /// How much of the start picture may change; the gateway fills it in beside an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<Strength>,
    /// Encoding of the frames.
    #[serde(default)]
    pub output_format: OutputFormat,
    /// Simulated thinking per step, in milliseconds; the built-in provider's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<u64>,
    /// Makes the built-in provider misbehave, where `builtin.faults` is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// For how many attempts it misbehaves; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_attempts: Option<u32>,
}

fn side_default() -> u32 {
    SIDE_DEFAULT_PX
}
fn steps_default() -> u32 {
    20
}
fn frames_default() -> u32 {
    1
}

/// Encodings a frame can be asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Lossless, the largest.
    #[default]
    Png,
    /// Lossless here, smaller.
    Webp,
    /// Lossy, the smallest.
    Jpeg,
}

impl OutputFormat {
    /// Gives the media type of such a frame.
    pub fn media_type(self) -> MediaType {
        match self {
            Self::Png => MediaType::Png,
            Self::Webp => MediaType::Webp,
            Self::Jpeg => MediaType::Jpeg,
        }
    }
}

/// Ways in which the built-in provider can misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Fails as if overloaded.
    Temporary,
    /// Refuses the request for good.
    Permanent,
    /// Asks to slow down, for two seconds.
    RateLimit,
    /// Refuses our credentials.
    Auth,
    /// Never answers.
    Hang,
    /// Answers with bytes that are no image.
    Garbage,
    /// Takes a long time over the last bytes.
    SlowBody,
}

/// One field that can't be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputFault {
    /// JSON pointer of the field, like `#/input/width`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl InputFault {
    /// Names a field and what to do about it.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl FrameInput {
    /// Makes an input with every default, for a prompt.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            negative_prompt: String::new(),
            width: side_default(),
            height: side_default(),
            steps: steps_default(),
            seed: None,
            n: frames_default(),
            image: None,
            mask: None,
            strength: None,
            output_format: OutputFormat::default(),
            step_ms: None,
            fault: None,
            fault_attempts: None,
        }
    }

    /// Lists everything that can't be accepted; empty means that the input can be drawn.
    ///
    /// All faults are told at once, so that a form can mark every field in one round trip.
    pub fn check(&self) -> Vec<InputFault> {
        let mut faults = Vec::new();
        if self.prompt.trim().is_empty() {
            faults.push(InputFault::new("#/input/prompt", "must not be empty"));
        }
        check_text(&mut faults, "#/input/prompt", &self.prompt);
        check_text(&mut faults, "#/input/negative_prompt", &self.negative_prompt);
        check_side(&mut faults, "#/input/width", self.width);
        check_side(&mut faults, "#/input/height", self.height);
        check_range(&mut faults, "#/input/steps", self.steps.into(), 1, (*STEPS.end()).into());
        check_range(&mut faults, "#/input/n", self.n.into(), 1, (*FRAMES.end()).into());
        if let Some(seed) = self.seed {
            check_range(&mut faults, "#/input/seed", seed, 0, SEED_MAX);
        }
        if let Some(step_ms) = self.step_ms {
            check_range(&mut faults, "#/input/step_ms", step_ms, 0, STEP_MS_MAX);
        }
        self.check_pictures(&mut faults);
        if self.fault_attempts.is_some() && self.fault.is_none() {
            faults.push(InputFault::new("#/input/fault_attempts", "needs `fault` beside it"));
        }
        faults
    }

    /// Gives the picture in a place.
    pub fn picture(&self, place: Place) -> Option<&InputPicture> {
        match place {
            Place::Image => self.image.as_ref(),
            Place::Mask => self.mask.as_ref(),
        }
    }

    fn check_pictures(&self, faults: &mut Vec<InputFault>) {
        for place in Place::ALL {
            faults.extend(self.picture(place).and_then(|picture| picture.check(place)));
        }
        faults.extend(self.strength.and_then(Strength::check));
        if self.image.is_none() {
            let beside = [("mask", self.mask.is_some()), ("strength", self.strength.is_some())];
            for (name, _) in beside.into_iter().filter(|(_, is_there)| *is_there) {
                let pointer = format!("#/input/{name}");
                faults.push(InputFault::new(pointer, "needs `image` beside it"));
            }
        }
    }
}

fn check_text(faults: &mut Vec<InputFault>, pointer: &str, text: &str) {
    let chars = text.chars().count();
    if chars > PROMPT_CHARS_MAX {
        let detail = format!("has {chars} characters; at most {PROMPT_CHARS_MAX} are accepted");
        faults.push(InputFault::new(pointer, detail));
    }
    if let Some(control) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        let code = u32::from(control);
        let detail = format!("contains the control character U+{code:04X}; remove it");
        faults.push(InputFault::new(pointer, detail));
    }
}

fn check_side(faults: &mut Vec<InputFault>, pointer: &str, side: u32) {
    let (min, max) = (*SIDE_PX.start(), *SIDE_PX.end());
    if !SIDE_PX.contains(&side) || !side.is_multiple_of(SIDE_STEP_PX) {
        let detail =
            format!("must be a multiple of {SIDE_STEP_PX} from {min} to {max}, but is {side}");
        faults.push(InputFault::new(pointer, detail));
    }
}

fn check_range(faults: &mut Vec<InputFault>, pointer: &str, value: u64, min: u64, max: u64) {
    if !(min..=max).contains(&value) {
        faults.push(InputFault::new(pointer, format!("must be {min} to {max}, but is {value}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(change: impl FnOnce(&mut FrameInput)) -> Vec<String> {
        let mut input = FrameInput::new("a red fox in snow");
        change(&mut input);
        input.check().into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_plain_prompt_is_enough() {
        assert!(pointers(|_| ()).is_empty());
        let input: FrameInput = serde_json::from_str(r#"{"prompt":"x"}"#).unwrap();
        assert_eq!(input, FrameInput::new("x"));
    }

    #[test]
    fn every_field_out_of_bounds_is_named_at_once() {
        let faults = pointers(|input| {
            input.prompt = " \n".into();
            input.width = 0;
            input.height = 513;
            input.steps = 51;
            input.n = 0;
            input.seed = Some(SEED_MAX + 1);
            input.step_ms = Some(5_001);
            input.strength = Strength::new(1.5);
            input.image = Some("https:///x".parse().unwrap());
            input.fault_attempts = Some(1);
        });
        let names = [
            "prompt",
            "width",
            "height",
            "steps",
            "n",
            "seed",
            "step_ms",
            "image",
            "strength",
            "fault_attempts",
        ];
        assert_eq!(faults, names.map(|name| format!("#/input/{name}")));
    }

    #[test]
    fn a_mask_and_a_strength_need_an_image() {
        let picture = || Some("https://a.example/x.png".parse().unwrap());
        let alone = pointers(|input| {
            input.mask = picture();
            input.strength = Strength::new(0.5);
        });
        assert_eq!(alone, ["#/input/mask", "#/input/strength"]);
        let beside = |share| {
            pointers(|input| {
                (input.image, input.mask) = (picture(), picture());
                input.strength = Strength::new(share);
            })
        };
        assert!(beside(1.0).is_empty() && beside(0.001).is_empty());
        assert_eq!((beside(0.0), beside(-0.5)), (beside(1.01), vec!["#/input/strength".into()]));
    }

    #[test]
    fn control_characters_and_novels_are_refused_but_line_breaks_are_not() {
        assert!(pointers(|input| input.prompt = "one\ntwo\tthree".into()).is_empty());
        assert_eq!(pointers(|input| input.prompt = "a\u{0}b".into()), ["#/input/prompt"]);
        assert_eq!(pointers(|input| input.prompt = "x".repeat(4_001)), ["#/input/prompt"]);
        assert!(pointers(|input| input.prompt = "ä".repeat(4_000)).is_empty());
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        let error = serde_json::from_str::<FrameInput>(r#"{"prompt":"x","colour":1}"#).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }
}
