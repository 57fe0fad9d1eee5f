//! The controller of Imprint: it knows every server and every image, and drives each deployment from power-on to the
//! first-boot report of the installed system.
//!
//! One process, one database, one folder per concern. The concerns never call the APIs; the APIs are thin adapters over
//! the concerns, and [`app::App`] is what connects them:
//!
//! - [`config`], [`clock`], [`db`], [`words`]: what the rest stands on.
//! - [`identity`]: CA, manifest signing key, certificates of nodes, projects, users, API tokens.
//! - [`upkeep`]: what nobody needs leaves the store, and what is needed is proven to be there.
//! - [`store`], [`ingest`], [`catalog`], [`contents`]: an image file comes in as a stream, becomes an artifact, and is listed.
//! - [`inventory`], [`imprint_hardware`], [`deploy`], [`events`]: nodes, disk rules, deployments, and the log of all that happened.
//! - [`export`], [`copy`]: images become files again, or images of another project or region.
//! - [`matching`]: hardware models, and which images fit which nodes.
//! - [`lifecycle`]: which event leads a node from which state where.
//! - [`metrics`]: figures for Prometheus.
//! - [`metrics`]: figures for Prometheus. [`webhooks`]: events, sent to where somebody waits for them.
//! - [`backup`]: archives of the data folder, and what is on hold after one was restored.
//! - [`jobs`]: long work that goes on after its request was answered.
//! - [`volumes`]: network volumes that SDI cards present to servers as disks.
//! - [`power`]: power and boot of servers by their management controllers.
//! - [`boot`]: DHCP, TFTP, boot HTTP and the one-time boot identity.
//! - [`api`], [`server`]: REST and gRPC on one TLS port.
//!
//! Tasks of a running controller: the TLS server with one task per connection, [`deploy::run`] (deadlines),
//! [`catalog::run`] (planned changes of images), [`matching::run`] (which nodes new images fit), [`upkeep::run`]
//! (garbage) and [`boot::BootServices`] (DHCP, TFTP, boot HTTP). All of them end when `App::shutdown` is cancelled.

pub mod api;
pub mod app;
pub mod backup;
pub mod boot;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod contents;
pub mod copy;
pub mod db;
pub mod deploy;
pub mod events;
pub mod export;
pub mod guests;
pub mod identity;
pub mod image_key_commands;
pub mod ingest;
pub mod inventory;
pub mod jobs;
pub mod lifecycle;
pub mod logs;
pub mod matching;
pub mod metrics;
pub mod power;
mod range;
pub mod server;
pub mod setup;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod ticks;
pub mod upkeep;
pub mod volumes;
pub mod webhooks;
pub mod words;
