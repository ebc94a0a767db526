//! The one place that knows all processes: real ones, started by the launcher as a user would.
//!
//! Each test has a data directory of its own and breaks something in it. Waiting is on lines that
//! processes print, on the event stream, or on `?wait=`, always with a deadline; never on a sleep.
//! `cargo nextest run --workspace` and `cargo test --workspace` build the three programs first.

/// A launcher that a test has started, and what it prints.
mod launcher;
/// A user of the HTTP interface.
mod client;
/// Server-Sent Events, read line by line.
mod events;
/// The whole path of a job.
mod journey;
/// From an upload to a frame.
mod start;
/// A provider by one variable.
mod provider;
/// Kills, and what comes after.
mod crash;
/// A stop, and the next start.
mod resume;
/// What it refuses to start on, and what it says then.
mod refusal;
/// What is left in Redis can be read.
mod tidy;
/// The operator's commands.
mod operate;
/// A ComfyUI workflow before it is used.
mod check_workflow;
/// Everything at once, in small.
mod chaos;
/// The arithmetic of the benchmark.
mod speed;
