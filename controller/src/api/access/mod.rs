//! Who is let in where: every route of REST and every method of gRPC, walked by every kind of caller.
//!
//! [`table`] is the list. A route or a method that is not in it fails the walk, so that nothing new is forgotten; so does
//! a write that leaves no event with its actor.

mod fixture;
mod grpc;
mod rest;
mod table;
