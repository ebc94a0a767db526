//! The shared crate against a real Redis.

mod world;
mod queue;
mod model;
mod window;
mod leases;
mod fairness;
mod estimate;
mod caps;
mod watch;
mod fallback;
mod idempotency;
mod stream;
mod sessions;
mod guard;
mod outage;
mod half_open;
mod cluster;
mod sentinel;
mod blobs;
mod files;
mod doctor;
mod dead;
mod durability;
