//! The gateway's process: settings, logs, listener, then [`App`] until a signal.

use std::process::ExitCode;

use clap::Parser;
use framewire_gateway::app::{App, listen};
use framewire_shared::service::{settings::ConfigArgs, shutdown::Shutdown, telemetry};

/// Accepts jobs, streams their events, serves their frames.
#[derive(Debug, Parser)]
#[command(name = "framewire-gateway", version)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("framewire-gateway failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    telemetry::start(&settings.log);
    let listener = listen(&settings)?;
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    App::build(settings, listener).await?.run_until(shutdown).await?;
    Ok(())
}
