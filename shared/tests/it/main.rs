//! The shared crate against a real Redis.

mod world;
mod queue;
mod model;
mod window;
mod leases;
mod fairness;
mod estimate;
mod caps;
mod survey;
mod watch;
mod fallback;
mod catalogue;
mod shelf;
mod idempotency;
/// The very same asked for twice.
mod share;
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
