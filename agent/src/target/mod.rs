//! Where bytes are written to.
