//! A private redis-server and builders, for the tests of every crate.

// A redis-server of one's own, on a unix socket in a folder that goes with it.
pub mod redis_server;
// Short ways to sessions and submissions.
pub mod builders;
// Waiting for a condition, with an end.
pub mod wait;

pub use builders::{prompt, submission};
pub use redis_server::RedisServer;
pub use wait::until;

/// Gives the text of the submit script as Redis gets it, for benchmarks without a gateway.
pub fn submit_script() -> String {
    crate::store::submit_text()
}
