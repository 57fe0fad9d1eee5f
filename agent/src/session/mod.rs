//! The session with the controller.
