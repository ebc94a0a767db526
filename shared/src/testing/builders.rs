//! Short ways to submissions.

use crate::domain::{FrameInput, JobId, Pool, Priority, SessionId};
use crate::store::queue::Submission;

/// Gives the JSON of a small, quick input with this prompt.
pub fn prompt(text: &str) -> String {
    let input = FrameInput { steps: 1, step_ms: Some(0), seed: Some(1), ..FrameInput::new(text) };
    serde_json::to_string(&input).expect("our types are JSON")
}

/// Makes a plain submission to a pool.
pub fn submission<'a>(
    id: &'a JobId,
    session: &'a SessionId,
    pool: &'a Pool,
    input: &'a str,
) -> Submission<'a> {
    Submission {
        id,
        session,
        tenant: None,
        pool,
        model: "builtin",
        priority: Priority::Normal,
        input,
        metadata: "{}",
        start_within: None,
        catalogue: false,
        shelf: None,
        idempotency: None,
        fingerprint: None,
    }
}
