//! The worker against a real Redis and a real folder.

mod world;
mod runner;
mod process;
mod cells;
mod crash;
mod comfyui;
