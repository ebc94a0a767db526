//! How fast it is on this machine, as tables that can be printed again: `./deploy/bench [part …]`.
//!
//! Parts, all of them if none is named:
//! * `queue`: the queue itself, beside a bare loop of Redis' own commands (`queue.rs`);
//! * `eta`: how often a stated estimate held (`eta.rs`);
//! * `pipeline`: the pair, from HTTP to the stream, with real processes (`pipeline.rs`);
//! * `live`: what one gateway delivers to how many readers (`live.rs`).
//!
//! Every part starts a redis-server of its own on a unix socket and is bounded in count and time.
//! Machines differ and are noisy, so each figure stands beside another of the same run.

// Two columns: what, and its figure.
mod table;
// Percentiles, and what Redis counts of its commands; pure.
mod figures;
// How often estimates held; pure.
mod calibration;
// What Redis and /proc tell of a server.
mod server;
// A job's transitions, as calls of the store.
mod steps;
// A worker's own parts around a provider that does nothing.
mod whole;
// The pair's own programs.
mod process;
// A reader of a stream.
mod reader;
// The parts.
mod queue;
mod eta;
mod pipeline;
mod live;

use anyhow::{Result, bail};

/// What every job asks for.
const INPUT: &str = concat!(
    r#"{"prompt":"abstract silk","width":64,"height":64,"steps":1,"step_ms":0,"#,
    r#""seed":1,"n":1,"output_format":"png"}"#
);

/// The parts, in the order of their printing.
const PARTS: [&str; 4] = ["queue", "eta", "pipeline", "live"];

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo adds options of its own.
    let mut named: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if named.is_empty() {
        named = PARTS.map(String::from).to_vec();
    }
    for part in named {
        match part.as_str() {
            "queue" => queue::run().await?,
            "eta" => eta::run().await?,
            "pipeline" => pipeline::run().await?,
            "live" => live::run().await?,
            other => bail!("no part is called {other}; there are {PARTS:?}"),
        }
    }
    Ok(())
}
