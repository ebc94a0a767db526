//! How often stated estimates held. Pure; its tests are in `tests/it/speed.rs`.

use super::figures::percentile;

/// What was said to a submitter, and what came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// `None` if nothing was known.
    pub(crate) estimate_ms: Option<u64>,
    /// From submit to completion.
    pub(crate) actual_ms: u64,
}

/// Estimates of some jobs, judged together. Shares are of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Calibration {
    /// How many.
    pub(crate) jobs: usize,
    /// Share of the stated estimates within which the job was done.
    pub(crate) held: f64,
    /// Share of jobs without an estimate.
    pub(crate) unknown: f64,
    /// Median of actual time by estimate; an estimate that always holds by far is near 0.
    pub(crate) ratio: f64,
}

impl Calibration {
    /// Judges `outcomes`; all shares are 0 where there is nothing to judge.
    pub(crate) fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let (mut jobs, mut held) = (0, 0);
        let mut ratios = Vec::new();
        for Outcome { estimate_ms, actual_ms } in outcomes {
            jobs += 1;
            if let Some(estimate_ms) = estimate_ms {
                held += usize::from(actual_ms <= estimate_ms);
                // At least a millisecond each, so that there is a ratio.
                ratios.push(actual_ms.max(1) as f64 / estimate_ms.max(1) as f64);
            }
        }
        ratios.sort_by(f64::total_cmp);
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        Self {
            jobs,
            held: share(held, ratios.len()),
            unknown: share(jobs - ratios.len(), jobs),
            ratio: percentile(&ratios, 0.5),
        }
    }
}
