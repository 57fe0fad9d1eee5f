//! Wire contracts of Imprint, generated from the `.proto` files beside this crate.
//!
//! - [`agent::v1`]: what agents and guest plugins speak with the controller.
//! - [`v1`]: what callers speak with the controller.
//! - [`opi`]: what the controller speaks with SDI cards.
//!
//! The `.proto` files are the contract and hold the documentation of every field; the code here is generated at build
//! by `tonic-prost-build`, with `protox` as the compiler, so that no `protoc` has to be installed.

#![allow(
    missing_docs,
    reason = "the generated code carries the comments of the .proto files"
)]

pub mod codec;
pub mod password_order;
mod redacted;

/// Agents and guest plugins.
pub mod agent {
    /// Package `imprint.agent.v1`.
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("imprint.agent.v1");
    }
}

/// Package `imprint.v1`: callers.
#[allow(clippy::all, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("imprint.v1");
}

/// OPI's storage API, as far as Imprint uses it: package `opi_api.storage.v1`.
///
/// Values of enumerations that nobody here knows survive as numbers; fields that nobody here knows are passed over.
#[allow(clippy::all, reason = "generated")]
pub mod opi {
    tonic::include_proto!("opi_api.storage.v1");
}

/// Descriptors of all packages of Imprint, for the gRPC reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("imprint");
