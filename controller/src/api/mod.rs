//! Thin adapters over the concerns: the same operations, on the same types, by REST and by gRPC.

pub mod grpc;
pub mod rest;
