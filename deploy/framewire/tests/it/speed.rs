//! The benchmark's arithmetic; a benchmark runs no tests of its own.

#[path = "../../benches/speed/calibration.rs"]
mod calibration;
#[path = "../../benches/speed/figures.rs"]
mod figures;

use std::time::Duration;

use calibration::{Calibration, Outcome};
use figures::{CommandStats, milliseconds, percentile};

#[test]
fn a_percentile_is_one_of_the_values() {
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(percentile(&hundred, 0.0), 1.0);
    assert_eq!(percentile(&hundred, 0.99), 99.0);
    assert_eq!(percentile(&hundred, 1.0), 100.0);
    assert_eq!(percentile(&[], 0.5), 0.0);
    let mut times = [30, 10, 20].map(Duration::from_millis);
    assert_eq!(milliseconds(&mut times), "20.0 / 30.0 ms");
}

#[test]
fn a_scripts_own_time_is_what_its_commands_leave() {
    let earlier = CommandStats::parse(
        "# Commandstats\r\ncmdstat_evalsha:calls=1,usec=50,usec_per_call=50.00\r\n\
         cmdstat_hset:calls=2,usec=4,usec_per_call=2.00,rejected_calls=0\r\n",
    );
    let later = CommandStats::parse(
        "cmdstat_evalsha:calls=3,usec=150\ncmdstat_hset:calls=6,usec=12\n\
         cmdstat_zadd:calls=2,usec=8\ncmdstat_bzpopmin:calls=9,usec=900\n\
         cmdstat_config|resetstat:calls=1,usec=5\n",
    );
    let mut between = CommandStats::default();
    between.add_since(&earlier, &later);
    between.add_since(&earlier, &later);
    assert_eq!(between.script_us(), (200.0, 32.0));
    let inside: Vec<_> = between.inside().map(|(name, calls)| (name, calls.calls)).collect();
    assert_eq!(inside, [("hset", 8.0), ("zadd", 4.0)]);
}

#[test]
fn an_estimate_holds_if_the_job_is_done_within_it() {
    let outcome = |estimate_ms, actual_ms| Outcome { estimate_ms, actual_ms };
    let judged = Calibration::of([
        outcome(Some(100), 100),
        outcome(Some(200), 100),
        outcome(Some(100), 101),
        outcome(None, 1),
    ]);
    assert_eq!(judged, Calibration { jobs: 4, held: 2.0 / 3.0, unknown: 0.25, ratio: 1.0 });
    let none = Calibration::of([outcome(None, 1)]);
    assert_eq!(none, Calibration { jobs: 1, held: 0.0, unknown: 1.0, ratio: 0.0 });
    assert_eq!(Calibration::of([outcome(Some(0), 50)]).ratio, 50.0);
}
