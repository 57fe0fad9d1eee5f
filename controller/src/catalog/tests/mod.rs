use super::*;

mod changes;
mod chunks;
mod families;
mod filters;
mod machines;
mod migration;
mod seen;
mod states;
