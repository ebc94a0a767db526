//! The worker against a real Redis and a real folder.

mod world;
mod runner;
mod batches;
mod source;
mod leases;
mod janitor;
mod guard;
mod process;
mod status;
mod cells;
mod crash;
mod comfyui;
mod scripted;
mod provider_openai;
mod provider_automatic1111;
mod provider_replicate;
mod provider_fal;
mod configured;
mod adapters;
mod whole;
