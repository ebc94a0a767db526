//! What a well-behaved process needs, whichever it is.

// The settings of all processes, parsed once.
pub mod settings;
// Who answers for a session.
pub mod tenants;
// Logs.
pub mod telemetry;
// Stopping in two stages.
pub mod shutdown;
// Points at which the crash suite kills a process.
pub mod failpoint;
