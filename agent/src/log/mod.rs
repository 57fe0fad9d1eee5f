//! The agent's own log, for whoever looks at a deployment from far away.
//!
//! Events at info and above ([`LogLayer`]) and the kernel's warnings ([`kmsg`]) become lines in a ring of bounded size
//! ([`Log`]), each with the task that was worked on. The session sends them when it has room and keeps those that the
//! controller has not confirmed, so that what happened while the network was away is told with the next connection.
//! Nothing ever waits for the log: lines that find no room push out the oldest, and that is counted.
//!
//! No secret is logged in the first place. Beside that, a line never shows what [`Log::never_show`] was told, the query
//! or the user of a URL, or a bearer token.

pub mod kmsg;
mod layer;
mod ring;
mod scrub;

pub use layer::LogLayer;
pub use ring::{Level, Log, Source};
