//! The right disk or none.
