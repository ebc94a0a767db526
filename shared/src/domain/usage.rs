//! What a provider says that a call has used, for whoever pays its bill.
//!
//! Providers count different things, so every number may be absent. What is told is kept with the job,
//! one entry for each attempt that told, and shown as the sum: a failed attempt was paid for too.

use serde::{Deserialize, Serialize};

/// What one call, or all calls of a job, have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of prompt and pictures that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of pictures that were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Seconds on the provider's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predict_s: Option<f64>,
    /// The provider's own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billable_units: Option<f64>,
}

impl Usage {
    /// Tells whether nothing was told.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another call has used.
    pub fn add(&mut self, other: &Self) {
        let Self { input_tokens, output_tokens, predict_s, billable_units } = *other;
        add(&mut self.input_tokens, input_tokens, u64::saturating_add);
        add(&mut self.output_tokens, output_tokens, u64::saturating_add);
        add(&mut self.predict_s, predict_s, |a, b| a + b);
        add(&mut self.billable_units, billable_units, |a, b| a + b);
    }
}

fn add<T: Copy>(to: &mut Option<T>, more: Option<T>, sum: fn(T, T) -> T) {
    *to = match (*to, more) {
        (Some(one), Some(other)) => Some(sum(one, other)),
        (one, other) => one.or(other),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_added_and_what_was_not_stays_unknown() {
        let mut usage = Usage::default();
        assert!(usage.is_empty());
        let one = Usage { input_tokens: Some(50), predict_s: Some(1.5), ..usage };
        usage.add(&one);
        usage.add(&one);
        let expected = r#"{"input_tokens":100,"predict_s":3.0}"#;
        assert_eq!(serde_json::to_string(&usage).unwrap(), expected);
    }
}
