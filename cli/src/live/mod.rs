//! What is shown while deployments run.

mod board;
mod screen;

pub use board::Board;
pub use screen::{Screen, transfer};
