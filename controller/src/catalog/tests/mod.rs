use super::*;

mod changes;
mod chunks;
mod families;
mod filters;
mod machines;
mod migration;
mod plans;
mod publishing;
mod quotas;
mod seen;
mod sharing;
mod states;
mod usages;
