//! Everything random, reproducible: a hash of text, dice, and smooth noise.
//!
//! Comes in: a prompt and a seed. Goes out: numbers that are the same for ever for the same input,
//! which is what makes a frame reproducible. The dice are SplitMix64 (Steele, Lea, Flood 2014)
//! and not from the `rand` crate, whose small generators may change their numbers between
//! releases. The noise is FastNoise Lite's OpenSimplex2.

use fastnoise_lite::{FastNoiseLite, FractalType, NoiseType};
use sha2::{Digest, Sha256};

/// Turns a text into a number that shares no pattern with that of a similar text.
pub(super) fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Scrambles a number; neighbours become strangers.
pub(super) fn scramble(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// Gives a number of 0 to 1 for a cell of a grid.
pub(super) fn speckle(x: i32, y: i32, salt: u32) -> f32 {
    let mut number = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
    number = (number ^ salt.wrapping_mul(0xC2B2_AE3D)).wrapping_mul(0x27D4_EB2F);
    number = (number ^ (number >> 15)).wrapping_mul(0x2C1B_3C6D);
    number = (number ^ (number >> 12)).wrapping_mul(0x297A_2D39);
    ((number ^ (number >> 15)) >> 8) as f32 / (1 << 24) as f32
}

/// A sequence of decisions.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Starts a sequence.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Gives the next number.
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scramble(self.0)
    }

    /// Gives the next number between two.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.roll() >> 40) as f32 / (1 << 24) as f32)
    }

    /// Says yes in a share of the cases.
    pub(super) fn happens(&mut self, share: f32) -> bool {
        self.between(0.0, 1.0) < share
    }

    /// Picks one of several, which must not be none.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.roll() % choices.len() as u64) as usize]
    }
}

/// Smooth noise over the plane, about −1 to 1, with features of size 1.
pub(super) struct Field(FastNoiseLite);

impl Field {
    /// Makes rolling noise; every octave adds details of half the size.
    pub(super) fn new(seed: u64, octaves: u32) -> Self {
        let mut noise = FastNoiseLite::with_seed(scramble(seed) as i32);
        noise.set_frequency(Some(1.0));
        noise.set_noise_type(Some(NoiseType::OpenSimplex2));
        noise.set_fractal_type(Some(FractalType::FBm));
        noise.set_fractal_octaves(Some(octaves as i32));
        Self(noise)
    }

    /// Makes noise with sharp crests, as of mountains.
    pub(super) fn ridged(seed: u64, octaves: u32) -> Self {
        let Self(mut noise) = Self::new(seed, octaves);
        noise.set_fractal_type(Some(FractalType::Ridged));
        noise.set_fractal_gain(Some(0.46));
        Self(noise)
    }

    /// Reads the noise at a place.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        self.0.get_noise_2d(x, y)
    }
}

/// Goes from 0 to 1 between two values, without a corner.
pub(super) fn smoothstep(from: f32, to: f32, value: f32) -> f32 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
