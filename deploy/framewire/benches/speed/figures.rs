//! Percentiles, and what Redis counts of its commands. Pure: text and numbers
//! in, numbers out. Its tests are in `tests/it/speed.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

/// Gives the value below which `share` of the sorted values lie; 0 if there are none.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).copied().unwrap_or_default()
}

/// Writes p50 and p99 in milliseconds.
pub(crate) fn milliseconds(times: &mut [Duration]) -> String {
    times.sort();
    let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    format!("{:.1} / {:.1} ms", percentile(&ms, 0.5), percentile(&ms, 0.99))
}

/// Calls of one command, and the time in them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Calls {
    /// How many.
    pub(crate) calls: f64,
    /// In all of them.
    pub(crate) us: f64,
}

/// Calls of every command, by its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CommandStats(pub(crate) BTreeMap<String, Calls>);

impl CommandStats {
    /// Reads `INFO commandstats`: `cmdstat_zadd:calls=3,usec=7,usec_per_call=2.33,…`.
    pub(crate) fn parse(info: &str) -> Self {
        let parts = |line: &str| {
            let (name, figures) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
            let figure = |name: &str| {
                figures.split(',').find_map(|part| part.strip_prefix(name)?.parse().ok())
            };
            Some((name.to_owned(), Calls { calls: figure("calls=")?, us: figure("usec=")? }))
        };
        Self(info.lines().filter_map(parts).collect())
    }

    /// Adds what was called between `earlier` and now.
    pub(crate) fn add_since(&mut self, earlier: &Self, now: &Self) {
        for (name, now) in &now.0 {
            let earlier = earlier.0.get(name).copied().unwrap_or_default();
            let sum = self.0.entry(name.clone()).or_default();
            sum.calls += now.calls - earlier.calls;
            sum.us += now.us - earlier.us;
        }
    }

    /// Splits the time of scripts: (in all, in the commands they called).
    ///
    /// A script's own time holds that of its commands. True only if nothing else was called
    /// meanwhile but commands that nobody's script calls.
    pub(crate) fn script_us(&self) -> (f64, f64) {
        let script = self.0.get("evalsha").copied().unwrap_or_default().us;
        (script, self.inside().map(|(_, calls)| calls.us).sum())
    }

    /// Lists the commands that scripts call: all but the script itself, the blocking pop and what
    /// an onlooker asks.
    pub(crate) fn inside(&self) -> impl Iterator<Item = (&str, Calls)> {
        const OUTSIDE: [&str; 3] = ["evalsha", "bzpopmin", "info"];
        let inside = |name: &str| !OUTSIDE.contains(&name) && !name.contains('|') && name != "ping";
        self.0
            .iter()
            .filter(move |(name, calls)| inside(name) && calls.calls > 0.0)
            .map(|(name, calls)| (name.as_str(), *calls))
    }
}
