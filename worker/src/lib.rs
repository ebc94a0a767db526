//! Claim, produce, settle: the worker, in the order a job meets it.
//!
//! A worker is stateless: all it needs of a job comes with the claim, all it has done leaves through
//! the store and the artifact store. Killed at any instruction it loses nothing but time.

// Pops jobs from the window while there is a free slot, and starts a runner for each.
pub mod pump;
// Leave to call one provider, as a value that can't be lost.
pub mod guard;
// Who draws for each pool, in order, and the leave to ask them.
pub mod routes;
// Runs one attempt and settles it exactly once.
pub mod runner;
// What a job starts from, as a provider takes it.
pub mod source;
// The call and its frames, between claim and settlement.
mod attempt;
// Renews the leases of what runs, and carries bad news to the runners.
pub mod lease_keeper;
// Whether a provider's bytes are the picture that was promised.
pub mod picture_check;
// The services that make images.
pub mod provider;
// What runs beside the jobs: heartbeat, sweep, probes, clearing away.
pub mod upkeep;
// Puts the parts together and runs them until told to stop.
pub mod app;
