//! The commands, and which file each is in.

use std::process::ExitCode;

use clap::Parser;

use crate::console;
use crate::lifeline::{self, LifelineArgs};
use crate::plan::UpArgs;
use crate::up;

/// A self-hosted gateway and worker for slow image generation over Redis.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    /// Starts Redis, the gateway and the workers, and keeps them running until Ctrl-C.
    Up(UpArgs),
    #[command(hide = true)]
    Lifeline(LifelineArgs),
}

/// Does what the command line says.
pub(crate) async fn run() -> ExitCode {
    match Command::parse() {
        Command::Up(args) => match up::up(args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, error.hint().as_deref()),
        },
        Command::Lifeline(args) => match lifeline::exec(&args) {
            Ok(never) => match never {},
            Err(error) => failed(&error, None),
        },
    }
}

fn failed(error: &dyn std::error::Error, hint: Option<&str>) -> ExitCode {
    console::complain(error, hint);
    ExitCode::FAILURE
}
