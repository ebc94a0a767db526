//! The worker against a real Redis and a real folder.

mod world;
mod runner;
mod process;
mod crash;
mod scripted;
mod provider_openai;
