//! The lab: virtual servers in QEMU that boot over the network like servers in a rack, the real controller, the real
//! CLI, and somebody else's DHCP server, all in a network namespace that nobody else sees.
//!
//! A test is a [`scenario`] that reads like a story: build a server, switch it on, wait for a state, pull the cable,
//! expect. Everything waits through [`interrupt`], so Ctrl-C ends a run at once and the guards clean up: servers,
//! bridge and temporary folder go when their owners are dropped; when the lab itself is killed, the kernel ends its
//! children ([`process`]) and with the last of them the namespace goes ([`network`]).
//!
//! [`fleet`] is something else: thousands of servers that are made up, for one real controller, without a network of their
//! own.
//!
//! One thread runs the story (children die with the thread that started them), one waits for signals.

pub mod accel;
pub mod assassin;
pub mod bmc;
pub mod bucket;
pub mod card;
pub mod cli;
pub mod compare;
pub mod console;
pub mod controller;
pub mod demo;
pub mod disk;
pub mod far_end;
pub mod fleet;
pub mod interrupt;
pub mod ipmi;
pub mod lab;
pub mod marks;
pub mod network;
pub mod node;
pub mod overlay;
pub mod process;
pub mod qmp;
pub mod redfish;
pub mod runner;
pub mod scenario;
pub mod sdi;
pub mod seed;
pub mod ssh;
pub mod story;
pub mod summary;
pub mod sushy;
mod sys;
