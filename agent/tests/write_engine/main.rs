//! The data path against a real HTTP server, real files and real loop devices, with faults.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

mod command;
mod delta;
mod disk_faults;
mod encrypted;
mod exact;
mod fetch;
mod network_faults;
mod plain_images;
mod resume;
mod support;
