//! `framewire lifeline`: the child's first moments, between fork and exec.
//!
//! Every child is started through this hidden command. On Linux it asks the kernel to be signalled
//! when the launcher dies (`prctl(PR_SET_PDEATHSIG)`, which survives exec), then becomes the real
//! program under the same process id. So nothing survives a launcher that is SIGKILLed: the gateway
//! and the workers are killed, which they are made to survive; Redis is asked to stop, so that its
//! file is whole. Elsewhere the next launcher finds what was left (`leftovers`).
//! A `pre_exec` closure would do the same, but is unsafe, and the workspace has no unsafe code.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use nix::sys::signal::Signal;

/// What the launcher passes.
#[derive(Debug, clap::Args)]
pub(crate) struct LifelineArgs {
    /// Process id of the launcher.
    #[arg(long)]
    parent: u32,
    /// What the kernel sends when the launcher dies, like SIGKILL.
    #[arg(long)]
    signal: Signal,
    /// The program to become, and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Why the child could not become its program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LifelineError {
    #[cfg(target_os = "linux")]
    #[error("tie a process to its launcher")]
    Tie(#[source] nix::Error),
    #[error("start a process for launcher {0}, which is gone")]
    Orphan(u32),
    #[error("start {0}")]
    Exec(String, #[source] std::io::Error),
}

/// Gives the arguments with which the launcher calls itself.
pub(crate) fn arguments(orphan_signal: Signal) -> [OsString; 6] {
    let parent = std::process::id().to_string();
    ["lifeline", "--parent", &parent, "--signal", orphan_signal.as_str(), "--"].map(OsString::from)
}

/// Becomes the program; returns only if that failed.
pub(crate) fn exec(args: &LifelineArgs) -> Result<Infallible, LifelineError> {
    tie(args.signal)?;
    // It may have died between the fork and the line above; then no signal will ever come.
    if std::os::unix::process::parent_id() != args.parent {
        return Err(LifelineError::Orphan(args.parent));
    }
    let (program, arguments) =
        args.command.split_first().unwrap_or_else(|| unreachable!("clap requires a program"));
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(LifelineError::Exec(program.display().to_string(), error))
}

#[cfg(target_os = "linux")]
fn tie(signal: Signal) -> Result<(), LifelineError> {
    nix::sys::prctl::set_pdeathsig(signal).map_err(LifelineError::Tie)
}

#[cfg(not(target_os = "linux"))]
fn tie(_: Signal) -> Result<(), LifelineError> {
    Ok(())
}
