//! gRPC: `imprint.agent.v1` for agents, `imprint.v1` for callers.

use std::{error::Error, fmt};

use axum::Router;
use tonic::{Request, Status, service::RoutesBuilder};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::rest::auth::{self, Caller};
use crate::{app::App, server::Peer};

pub mod agent;
pub mod batches;
pub mod billing;
pub mod contents;
pub mod copies;
pub mod deployments;
pub mod enrollment;
pub mod events;
pub mod firstboot;
pub mod guest;
pub mod guests;
pub mod images;
pub mod imports;
pub mod jobs;
mod lean;
pub mod lifecycle;
mod matching;
pub mod nodes;
pub mod power;
pub mod rescues;
pub mod sharing;
pub mod store;
pub mod tenants;
pub mod volumes;
pub mod webhooks;

/// The descriptors in this binary do not describe what reflection needs.
#[derive(Debug)]
pub struct ReflectionError(tonic_reflection::server::Error);

impl fmt::Display for ReflectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gRPC descriptors of this build are damaged")
    }
}

impl Error for ReflectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// All services, with health and reflection. Watches of the health have no end of their own: they end when the reporter
/// is told that there is no service any more.
pub async fn router(app: &App) -> Result<(Router, HealthReporter), ReflectionError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(imprint_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(ReflectionError)?;
    let mut routes = RoutesBuilder::default();
    routes.add_service(health).add_service(reflection);
    images::register(&mut routes, app);
    enrollment::register(&mut routes, app);
    agent::register(&mut routes, app);
    firstboot::register(&mut routes, app);
    guest::register(&mut routes, app);
    guests::register(&mut routes, app);
    nodes::register(&mut routes, app);
    deployments::register(&mut routes, app);
    batches::register(&mut routes, app);
    events::register(&mut routes, app);
    store::register(&mut routes, app);
    jobs::register(&mut routes, app);
    sharing::register(&mut routes, app);
    billing::register(&mut routes, app);
    tenants::register(&mut routes, app);
    copies::register(&mut routes, app);
    imports::register(&mut routes, app);
    contents::register(&mut routes, app);
    matching::register(&mut routes, app);
    volumes::register(&mut routes, app);
    webhooks::register(&mut routes, app);
    power::register(&mut routes, app);
    rescues::register(&mut routes, app);
    Ok((routes.routes().prepare().into_axum_router(), reporter))
}

/// The caller of a request of `imprint.v1`; UNAUTHENTICATED without a valid API token.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    auth::caller_of(request.extensions()).map_err(|p| p.to_status())
}

/// The node that calls, by its client certificate; UNAUTHENTICATED without one.
pub fn peer_node<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = request.extensions().get::<Peer>();
    peer.and_then(|p| p.node_id.clone()).ok_or_else(|| {
        Status::unauthenticated(
            "The call needs a client certificate of a node. Enroll with the boot token of the identity initrd first.",
        )
    })
}
