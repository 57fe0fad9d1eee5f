//! Wire contracts of Imprint, generated from the `.proto` files beside this crate.
//!
//! - [`agent::v1`]: what agents and guest plugins speak with the controller.
//! - [`v1`]: what callers speak with the controller.
//!
//! The `.proto` files are the contract and hold the documentation of every field; the code here is generated at build
//! by `tonic-prost-build`, with `protox` as the compiler, so that no `protoc` has to be installed.

#![allow(
    missing_docs,
    reason = "the generated code carries the comments of the .proto files"
)]

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

/// Descriptors of all packages, for the gRPC reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("imprint");
