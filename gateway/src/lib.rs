//! HTTP in, events out: the gateway, in the order a request meets it.
//!
//! It accepts jobs, answers at once, streams each session's events and serves the frames. It never
//! draws, never claims, and holds nothing that another gateway on the same Redis would miss.

/// Redis pub/sub in, bounded streams of `text/event-stream` out.
pub mod live;
/// How pools and providers stand, for those who watch.
pub mod outlook;
/// Every number for a Prometheus.
pub mod metrics;
/// The routes and everything they share.
pub mod http;
/// How many files, and so connections, the process may have open.
pub mod open_files;
/// HTTPS: the certificate, and its renewal.
pub mod tls;
/// Puts the parts together and runs them until told to stop.
pub mod app;
