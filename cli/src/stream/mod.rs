//! The controller's event stream: parsing, and following it across lost connections.

mod follow;
mod sse;

pub use follow::{Follower, Message};
