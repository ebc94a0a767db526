//! The live stream, against a real Redis of its own and without HTTP; [`over_http`] has the rest.

/// A Redis that tests may break, and readers that check what they are sent.
pub(crate) mod world;
/// Seats and subscriptions, without Redis.
mod seats;
/// Answers instead of streams.
mod polling;
/// Gateways replaced one after the other under their readers.
mod rolling;
/// How a stream begins: fresh, resumed, reset.
mod joining;
/// What pub/sub loses is not lost.
mod losses;
/// Bounds, limits and endings.
mod bounds;
/// Several cells, and fail-overs under living streams.
mod cells;
/// One job's stream, and waiting for its end.
mod jobs;
/// Readers that leave for good, and those that only move.
mod desertion;
/// Random schedules of everything that can go wrong.
mod schedules;
/// The two streams as browsers and programs get them.
mod over_http;
