//! Who this machine is to the controller.
