use super::*;

mod chunks;
mod migration;
mod seen;
