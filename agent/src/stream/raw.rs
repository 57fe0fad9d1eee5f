//! The same for a plain image.
