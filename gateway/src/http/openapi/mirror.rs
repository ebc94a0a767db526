//! Shapes of what the domain defines; the domain itself knows no OpenAPI.
//!
//! Never filled, only described: `tests/it/http_openapi.rs` compares each with what the real type
//! writes, so that a field added there and not here is noticed.

use utoipa::ToSchema;

/// What is to be drawn
#[derive(ToSchema)]
#[schema(example = json!({"prompt": "a red fox in snow", "width": 512, "height": 512,
    "steps": 20, "seed": 42, "n": 1, "output_format": "png"}))]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Input {
    /// What to draw; line breaks are fine, other control characters are not
    #[schema(min_length = 1, max_length = 4000)]
    prompt: String,
    /// What to leave out
    #[schema(required = false, max_length = 4000)]
    negative_prompt: String,
    /// In pixels
    #[schema(required = false, minimum = 64, maximum = 2048, multiple_of = 8, default = 512)]
    width: u32,
    /// In pixels
    #[schema(required = false, minimum = 64, maximum = 2048, multiple_of = 8, default = 512)]
    height: u32,
    /// Sampling steps
    #[schema(required = false, minimum = 1, maximum = 50, default = 20)]
    steps: u32,
    /// Where the noise starts; drawn by the gateway when absent, so the frame can be made again
    #[schema(minimum = 0, maximum = 9007199254740991_i64)]
    seed: Option<u64>,
    /// Number of frames; frame `i` uses `seed + i`
    #[schema(required = false, minimum = 1, maximum = 4, default = 1)]
    n: u32,
    /// What to start from: a file id of `POST /v1/files`, the URL or name of a frame of your own,
    /// an `https://` URL, or a `data:image/…;base64,…` URI of at most 1048576 bytes, which is stored
    /// as a file. Cut and scaled to cover the frame. A size that is not named is the picture's own,
    /// as near as the model draws it
    #[schema(max_length = 1048576)]
    image: Option<String>,
    /// White where the picture shall be drawn anew, black where it stays; named like `image`, which
    /// it needs. Laid over the whole picture
    #[schema(max_length = 1048576)]
    mask: Option<String>,
    /// How much of the picture may change, over 0; needs `image`, beside which it is 0.75 by default
    #[schema(exclusive_minimum = 0, maximum = 1)]
    strength: Option<f64>,
    /// Encoding of the frames
    #[schema(required = false, default = "png")]
    output_format: OutputFormat,
    /// Simulated thinking per step, in milliseconds (the built-in provider only)
    #[schema(minimum = 0, maximum = 5000)]
    step_ms: Option<u64>,
    /// Makes the built-in provider misbehave, where `builtin.faults` is on
    fault: Option<Fault>,
    /// For how many attempts it misbehaves; for ever when absent
    fault_attempts: Option<u32>,
}

/// Encodings a frame can be asked in
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum OutputFormat {
    Png,
    Webp,
    Jpeg,
}

/// Ways in which the built-in provider can misbehave
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Fault {
    Temporary,
    Permanent,
    RateLimit,
    Auth,
    Hang,
    Garbage,
    SlowBody,
}

/// A class inside a pool
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Priority {
    High,
    Normal,
    Low,
}

/// Where a job is in its life
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum State {
    Queued,
    Processing,
    Generating,
    Uploading,
    Completed,
    Failed,
    Cancelled,
}

/// What would have to change for the request to succeed
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    Temporary,
    Permanent,
    RateLimit,
    AuthError,
    Timeout,
    Unknown,
}

/// How far an attempt is
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Progress {
    /// `processing`, `generating` or `uploading`
    stage: State,
    /// Steps done, of all frames together
    step: u32,
    /// Steps to do; 0 where the provider does not say
    steps: u32,
    /// Over the whole attempt
    #[schema(minimum = 0, maximum = 1)]
    fraction: f64,
    /// Expected time to the end of the attempt
    eta_ms: Option<u64>,
}

/// The newest look at a frame that is not finished
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Preview {
    /// The frame it will become
    index: u32,
    /// Where it is
    url: String,
    /// Steps done
    step: u32,
}

/// One finished frame
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Frame {
    /// Position among the job's frames, from 0
    index: u32,
    /// Where it is
    url: String,
    /// `image/png`, `image/webp` or `image/jpeg`
    content_type: String,
    /// In pixels
    width: u32,
    /// In pixels
    height: u32,
    /// Size in bytes
    bytes: u64,
    /// Digest of the bytes, in hex
    sha256: String,
    /// What it was drawn from
    seed: u64,
}

/// Where a fallback was found
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum FallbackKind {
    Session,
    Static,
}

/// A picture to show where there is no frame; it can be fetched for a quarter of an hour at least
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Fallback {
    /// Where it is
    url: String,
    /// `session`: the last frame of the same session and model; `static`: the picture that ships
    kind: FallbackKind,
}

/// Where a completed job's time went, in milliseconds
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct Timings {
    /// From submission to the last claim
    queue_ms: u64,
    /// Inside the provider's call
    generate_ms: u64,
    /// Checking and storing
    upload_ms: u64,
    /// From submission to completion
    total_ms: u64,
}

/// One field that can't be accepted
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is used")]
pub struct FieldFault {
    /// JSON pointer of the field
    #[schema(example = "#/input/width")]
    pointer: String,
    /// What is wrong and what would be right
    detail: String,
}
