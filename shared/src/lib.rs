//! What the gateway and the worker agree on, in reading order.
//!
//! `domain` is the vocabulary and knows no I/O; `store` is the only code in the project that
//! speaks to Redis or to the artifact store; `service` is what a well-behaved process needs.
//! Direction: `domain ← store`, `domain ← service`; nothing here knows HTTP or a provider.

// Nouns and rules: ids, the job and its transition table, input, artifact, event, failure.
pub mod domain;
// The one door to Redis and to the artifacts' bytes.
pub mod store;
// Settings, logs, shutdown.
pub mod service;
// A private redis-server and builders, for the tests of every crate.
#[cfg(feature = "testing")]
pub mod testing;
