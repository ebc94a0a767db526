//! The chaos run in small: a storm over everything breaks no promise, and a run in which a protection
//! is missing breaks the promise that it keeps.
//!
//! Large ones are for the hand, `framewire chaos --jobs 5000`, and so is the list of all that may be
//! missing: `framewire chaos --mutants`. How often chance hit whom is not asked here: that is the
//! machine's, not a promise's.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs it; gives its report, and what it printed for the case that it must not be so.
fn chaos(arguments: &[&str]) -> (Value, Output) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_framewire")))
        .arg("chaos")
        .args(arguments)
        .arg("--data")
        .arg(folder.path().join("data"))
        .arg("--report")
        .arg(&report)
        .stdin(Stdio::null())
        .output()
        .expect("start the launcher");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = std::fs::read(&report).unwrap_or_else(|_| panic!("no report: {printed}{said}"));
    (serde_json::from_slice(&report).expect("JSON"), output)
}

#[test]
fn kills_drains_pauses_and_cuts_of_everything_break_no_promise() {
    let (report, output) = chaos(&["--jobs", "80", "--seconds", "10"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert_eq!(report["passed"], true);
    assert_eq!(report["jobs"]["accepted"], 80, "{printed}");
    // The deadly one; chance may have ended another in the same way.
    assert!(report["jobs"]["given_up"].as_u64() >= Some(1), "{printed}");
}

#[test]
fn a_course_on_which_every_protection_is_needed_breaks_no_promise() {
    let (report, output) = chaos(&["--course"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert_eq!(report["missed"], false, "{printed}");
}

/// Holds the course without a protection, whose promise must be broken then.
fn is_missed(protection: &str) {
    let (report, output) = chaos(&["--weaken", protection]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert_eq!(report["missed"], true, "{printed}");
}

#[test]
fn without_the_check_for_popped_and_unclaimed_jobs_some_stay_unfinished() {
    is_missed("out");
}

#[test]
fn without_the_fence_a_worker_that_lost_its_job_shows_its_picture() {
    is_missed("fence");
}

#[test]
fn without_the_lapse_of_leases_the_jobs_of_dead_workers_stay_unfinished() {
    is_missed("lapse");
}

#[test]
fn without_the_check_of_cursors_readers_lose_events() {
    is_missed("offset");
}
