//! Counters, gauges and histograms for a Prometheus to read.
//!
//! A process declares its metrics in one [`Table`] of its own, where each has its name, its labels and
//! its meaning, and hands it down to those who count; there is no registry of all processes' code
//! behind it. The number of labels is part of a metric's type, so a label that is forgotten does not
//! compile. Their values must be few: pools, providers, words of ours; never an id.
//! Names begin with `framewire_`, end in their unit, and in `_total` if they only rise.
//! Not here: what the numbers are (gateway and worker, `metrics.rs`), and who may read them.

use std::time::Duration;

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

/// Media type of [`Table::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Bounds in seconds for what should take milliseconds and may take a minute.
pub const BRIEF: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];
/// Bounds in seconds for what takes a provider's time: its calls, and attempts around them.
pub const LONG: [f64; 12] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 90.0, 300.0];

/// The metrics of one process, or of one look at what all share.
#[derive(Debug, Clone, Default)]
pub struct Table {
    registry: Registry,
}

/// What only rises.
#[derive(Debug, Clone)]
pub struct Counter<const LABELS: usize>(CounterVec);

/// What rises and falls.
#[derive(Debug, Clone)]
pub struct Gauge<const LABELS: usize>(GaugeVec);

/// How long things take.
#[derive(Debug, Clone)]
pub struct Histogram<const LABELS: usize>(HistogramVec);

impl Table {
    /// Declares a counter.
    pub fn counter<const N: usize>(&self, name: &str, help: &str, labels: [&str; N]) -> Counter<N> {
        let counter = declared(CounterVec::new(Opts::new(name, help), &labels));
        declared(self.registry.register(Box::new(counter.clone())));
        Counter(counter)
    }

    /// Declares a gauge.
    pub fn gauge<const N: usize>(&self, name: &str, help: &str, labels: [&str; N]) -> Gauge<N> {
        let gauge = declared(GaugeVec::new(Opts::new(name, help), &labels));
        declared(self.registry.register(Box::new(gauge.clone())));
        Gauge(gauge)
    }

    /// Declares a histogram of durations with these bounds in seconds.
    pub fn histogram<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        bounds: &[f64],
    ) -> Histogram<N> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        let histogram = declared(HistogramVec::new(options, &labels));
        declared(self.registry.register(Box::new(histogram.clone())));
        Histogram(histogram)
    }

    /// Writes all of it in Prometheus' text format. A metric without a value yet is left out.
    pub fn text(&self) -> String {
        declared(TextEncoder::new().encode_to_string(&self.registry.gather()))
    }
}

/// Gives what can only be missing if a declaration is wrong, which the first test notices.
fn declared<T>(made: prometheus::Result<T>) -> T {
    made.unwrap_or_else(|error| unreachable!("a metric is declared wrongly: {error}"))
}

impl<const N: usize> Counter<N> {
    /// Counts one.
    pub fn inc(&self, labels: [&str; N]) {
        self.0.with_label_values(&labels).inc();
    }

    /// Counts some; 0 makes it known, so that the first one is seen as a rise.
    pub fn add(&self, labels: [&str; N], more: f64) {
        self.0.with_label_values(&labels).inc_by(more);
    }

    /// Makes these known, at 0.
    pub fn with(self, known: impl IntoIterator<Item = [&'static str; N]>) -> Self {
        known.into_iter().for_each(|labels| self.add(labels, 0.0));
        self
    }
}

impl<const N: usize> Gauge<N> {
    /// Says what it is now.
    pub fn set(&self, labels: [&str; N], value: f64) {
        self.0.with_label_values(&labels).set(value);
    }
}

impl<const N: usize> Histogram<N> {
    /// Notes how long something took.
    pub fn observe(&self, labels: [&str; N], took: Duration) {
        self.0.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written_as_prometheus_reads_it() {
        let table = Table::default();
        let jobs = table.counter("t_jobs_total", "Jobs.", ["pool", "end"]);
        let jobs = jobs.with([["a", "done"]]);
        jobs.inc(["we\"ird", "done"]);
        jobs.add(["we\"ird", "done"], 1.5);
        table.gauge("t_slots", "Slots.", []).set([], 3.0);
        let took = table.histogram("t_took_seconds", "Time.", ["pool"], &[0.1, 1.0]);
        took.observe(["a"], Duration::from_millis(500));
        table.counter("t_unused_total", "Never seen.", ["pool"]);
        assert_eq!(
            table.text(),
            "# HELP t_jobs_total Jobs.\n# TYPE t_jobs_total counter\n\
             t_jobs_total{end=\"done\",pool=\"a\"} 0\n\
             t_jobs_total{end=\"done\",pool=\"we\\\"ird\"} 2.5\n\
             # HELP t_slots Slots.\n# TYPE t_slots gauge\nt_slots 3\n\
             # HELP t_took_seconds Time.\n# TYPE t_took_seconds histogram\n\
             t_took_seconds_bucket{pool=\"a\",le=\"0.1\"} 0\n\
             t_took_seconds_bucket{pool=\"a\",le=\"1\"} 1\n\
             t_took_seconds_bucket{pool=\"a\",le=\"+Inf\"} 1\n\
             t_took_seconds_sum{pool=\"a\"} 0.5\nt_took_seconds_count{pool=\"a\"} 1\n"
        );
    }
}
