//! Who is let in where: every route of REST and every method of gRPC, walked by every kind of caller.
//!
//! [`table`] and [`methods`] are the lists. A route or a method that is not in them fails the walk, so that nothing new is forgotten; so does
//! a write that leaves no event with its actor.

mod fixture;
mod grpc;
mod methods;
mod rest;
mod table;
