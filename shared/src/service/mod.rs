//! What a well-behaved process needs, whichever it is.

// The settings of all processes, parsed once.
pub mod settings;
// Outside services that make images.
pub mod providers;
// What users may name, and who draws it.
pub mod models;
// Who answers for a session.
pub mod tenants;
// Pictures that strangers have made.
pub mod picture;
// Logs.
pub mod telemetry;
// Stopping in two stages.
pub mod shutdown;
// Points at which the crash suite kills a process.
pub mod failpoint;
