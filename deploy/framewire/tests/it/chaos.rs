//! The chaos run in small: a storm over everything breaks no promise, and a run in which a protection
//! is missing fails.
//!
//! Large ones are for the hand, `framewire chaos --jobs 5000`, and so is the list of all that may be
//! missing: `framewire chaos --mutants`.

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
    let hits = |fault: &str| report["faults"][fault].as_u64().unwrap_or_default();
    assert!(hits("redis killed") >= 1, "{printed}");
    assert!(hits("worker killed") >= 1 && hits("worker killed by its job") >= 1, "{printed}");
    assert!(report["caps"]["samples"].as_u64() >= Some(300), "{printed}");
}

#[test]
fn a_run_without_the_check_for_popped_and_unclaimed_jobs_fails() {
    let (report, output) = chaos(&["--jobs", "80", "--seconds", "10", "--weaken", "out"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let unfinished = &report["findings"]["unfinished"]["count"];
    assert!(unfinished.as_u64() > Some(0), "{printed}");
}
