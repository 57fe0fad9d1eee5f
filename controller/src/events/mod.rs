//! The event log: history, audit and live stream from one append-only table.
//!
//! An event is written in the transaction of the change that it tells ([`Change`]), so that neither exists without the
//! other. Followers are only woken by a bell and read the table from their cursor on: what they see has no gaps and no
//! repetitions, however slow they are. Progress is the opposite: never stored, and only the newest of each node is
//! ever handed out. Old events go in time (`retention`), and never behind anybody's back.

mod follow;
mod log;
mod progress;
#[cfg(test)]
mod resume_tests;
mod retention;
mod seldom;
#[cfg(test)]
mod tests;

pub use follow::Live;
pub use log::{Author, Change, DatabaseError, Event, EventLog, EventPage, EventQuery, NewEvent, doing};
pub use progress::{Load, Loads, NodeProgress, Progress};
pub use retention::{gone, run};
pub use seldom::Seldom;
