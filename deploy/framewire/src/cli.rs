//! The commands, and which file each is in.

use std::process::ExitCode;

use clap::Parser;

use crate::caps::{self, CapsArgs};
use crate::chaos::{self, ChaosArgs};
use crate::check_workflow::{self, CheckWorkflowArgs};
use crate::console;
use crate::dead::{self, DeadArgs};
use crate::doctor::{self, DoctorArgs};
use crate::lifeline::{self, LifelineArgs};
use crate::plan::UpArgs;
use crate::up;

/// A self-hosted gateway and worker for slow image generation over Redis.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
enum Command {
    /// Starts Redis, the gateway and the workers, and keeps them running until Ctrl-C.
    Up(UpArgs),
    /// Says in words what is wrong with a running Framewire, and what mends it.
    Doctor(DoctorArgs),
    /// Lists, shows, retries and purges failed jobs.
    Dead(DeadArgs),
    /// Lists and changes how much may run at a time: per session, per tenant's session, per pool.
    Caps(CapsArgs),
    /// Says whether a ComfyUI workflow can be used, and what of it a server lacks; draws nothing.
    CheckWorkflow(CheckWorkflowArgs),
    /// Kills everything that can be killed, for a while, and checks that no promise was broken.
    Chaos(ChaosArgs),
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
        Command::Doctor(args) => doctor::doctor(&args).await,
        Command::Dead(args) => dead::dead(&args).await,
        Command::Caps(args) => caps::caps(&args).await,
        Command::CheckWorkflow(args) => check_workflow::check_workflow(&args).await,
        Command::Chaos(args) => match Box::pin(chaos::chaos(args)).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => failed(&error, None),
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
