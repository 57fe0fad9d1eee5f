//! What the controller asks for.
