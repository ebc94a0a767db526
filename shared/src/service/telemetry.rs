//! Logs: one line per event on standard error, as text for people or JSON for collectors.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::settings::{LogFormat, LogSettings};

/// Keeps a library quiet that prints its requests with their headers, a provider's key among them.
const HUSH: &str = "tungstenite::handshake::client=info";

/// Reads a filter; `info` where it is none. Whatever it says, no key gets through.
pub fn filter(text: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"));
    filter.add_directive(HUSH.parse().unwrap_or_else(|error| unreachable!("{HUSH}: {error}")))
}

/// Starts logging for the whole process; a second call changes nothing.
pub fn start(settings: &LogSettings) {
    let filter = filter(&settings.filter);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let started = match settings.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only tests start it twice in one process, and there the first one serves.
    drop(started);
}
