//! `framewire`: runs Redis, a gateway and workers as one thing.
//!
//! Reading order: `up` is the sequence; the other files are what it is made of.

/// The commands.
mod cli;
/// What was asked for: flags, settings, defaults.
mod plan;
/// `framewire up`: start in order, watch, stop in order.
mod up;
/// Everybody who runs, and the order in which they stop.
mod crew;
/// The data directory: whose it is and what lies where.
mod data;
/// The private redis-server.
mod redis;
/// Which processes live, provable after a crash.
mod pid_file;
/// What an earlier launcher left behind.
mod leftovers;
/// One child process: started, heard, stopped.
mod child;
/// A child that is kept running.
mod member;
/// How long to wait before a child is started again.
mod backoff;
/// The child's first moments: it dies with its launcher.
mod lifeline;
/// Which Redis an operator's command speaks to.
mod operate;
/// `framewire doctor`: what is wrong, in words.
mod doctor;
/// `framewire dead`: the failed jobs that are kept.
mod dead;
/// `framewire caps`: how much may run at a time.
mod caps;
/// `framewire check-workflow`: what a ComfyUI workflow lacks.
mod check_workflow;
/// `framewire chaos`: kills, cuts, and a verdict.
mod chaos;
/// What is shown when everything runs.
mod summary;
/// Lines, and in which colour.
mod console;

// One thread: the kernel's "tell me when my parent dies" means the thread that made the child.
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    cli::run().await
}
