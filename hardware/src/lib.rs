//! What servers consist of, which disk a rule names, and which image fits a server.
//!
//! Everything here is pure: facts come in as values, decisions go out with every reason. The controller decides with
//! it before anything is touched, the agent decides again over what it then sees: by the same code, so the same way.
//!
//! - [`facts`]: what an agent read about a machine, bounded.
//! - [`disk`]: rules that name one disk by stable facts, and why the others were not taken.
//! - [`model`]: kinds of servers as data: what they need, what they start from, how they behave.
//! - [`matching`]: which image fits a server, and every reason why others do not.
//! - [`reason`]: why something was decided.

pub mod disk;
pub mod facts;
pub mod matching;
pub mod model;
pub mod reason;
mod size;
mod words;

pub use facts::{Disk, Firmware, Inventory, Nic};
pub use reason::Reason;
pub use words::UnknownWord;
