//! The worker's process: options, settings, signals, and nothing else.

use std::process::ExitCode;

use clap::Parser;
use framewire_shared::service::settings::ConfigArgs;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::service::telemetry;
use framewire_worker::app::App;

/// Takes image jobs from Redis, has them drawn, and stores the frames.
#[derive(Parser)]
#[command(name = "framewire-worker", version)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("framewire-worker: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let settings = args.config.load()?;
    telemetry::start(&settings.log);
    let shutdown = Shutdown::new();
    let signals = shutdown.on_signals()?;
    let result = App::build(settings)?.run_until(shutdown).await;
    signals.abort();
    result
}
