//! Thin adapters over the concerns: the same operations, on the same types, by REST and by gRPC.

#[cfg(test)]
mod access;
pub mod grpc;
pub mod rest;
