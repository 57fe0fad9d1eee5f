//! The data path under faults: a table with each fault alone, and models that mix them at random.
//!
//! `PROPTEST_CASES=1000 cargo test -p imprint-agent --test fault_model` takes new seeds; without it the models
//! take the same few ones every time. What was found once is kept in `regressions.txt`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should say so")]

mod case;
mod image;
mod judge;
mod leaks;
mod matrix;
mod models;
mod run;
mod server;
