//! Files that the controller fetches for a caller, from addresses that the caller may choose.
//!
//! The controller stands where its callers do not: beside the BMCs, the store, the metadata services of a cloud. What
//! it fetches for them must not become a way to there. So a name is resolved once, every address is looked at before
//! anything is sent to it, and the connection goes to the address that was looked at, whatever the name says later.
//! Redirects are followed here and not by the HTTP client: each one is a new address, and is looked at again. A
//! credential goes to the origin that it was configured for and to no other.

mod address;
mod client;
mod credential;
mod download;
mod error;
#[cfg(test)]
mod tests;

pub use address::AddressPolicy;
pub(crate) use client::check;
pub(in crate::ingest) use client::shown;
pub use client::{Answer, Fetcher, Resolver};
pub use credential::{Credential, Origin};
pub use download::{Download, Piece};
pub use error::FetchError;
