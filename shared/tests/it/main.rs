//! The shared crate against a real Redis.

mod queue;
