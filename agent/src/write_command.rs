//! The write command.
