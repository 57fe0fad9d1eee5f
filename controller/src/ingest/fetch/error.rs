//! Why a file cannot be fetched.

use http::StatusCode;

use crate::api::rest::problem::{Problem, chain, sentence};

/// Why a file cannot be fetched. URLs are shown without their query, which may be a signature.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is no URL that can be fetched.
    #[error("{url} cannot be fetched: {reason}")]
    Url {
        /// As far as it may be shown.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// The server's address may not be asked.
    #[error("{host} is {address}, {what}, which is not asked for callers")]
    Address {
        /// The name.
        host: String,
        /// What it stands for.
        address: std::net::IpAddr,
        /// What kind of address that is.
        what: &'static str,
    },
    /// The name has no address.
    #[error("{host} has no address")]
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: Option<std::io::Error>,
    },
    /// One redirect after the other.
    #[error("{url} leads on and on: more than {limit} redirects")]
    Redirects {
        /// The first one.
        url: String,
        /// How many are followed.
        limit: usize,
    },
    /// The server said no.
    #[error("{url} answered {status}")]
    Status {
        /// As far as it may be shown.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// No answer, or it broke off too often.
    #[error("{url} cannot be read")]
    Broken {
        /// As far as it may be shown.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// What came after a break is not the rest of what came before it.
    #[error("{url} changed, or cannot be continued, after {got} bytes")]
    Changed {
        /// As far as it may be shown.
        url: String,
        /// What had come.
        got: u64,
    },
    /// It ended early.
    #[error("{url} ended after {got} of {expected} bytes")]
    Short {
        /// As far as it may be shown.
        url: String,
        /// What came.
        got: u64,
        /// What was announced.
        expected: u64,
    },
    /// It is larger than what may be fetched.
    #[error("{url} has more than {limit} bytes")]
    TooLarge {
        /// As far as it may be shown.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The HTTP client could not be made.
    #[error("cannot set up an HTTP client")]
    Client(#[source] reqwest::Error),
    /// A registry's answer is none.
    #[error("the registry's answer of {url} is not understood: {reason}")]
    Registry {
        /// As far as it may be shown.
        url: String,
        /// Why.
        reason: String,
    },
}

impl FetchError {
    /// Whether the same request may succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Short { .. } => true,
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        let detail = sentence(&chain(&error));
        match error {
            FetchError::Url { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "bad-source-url",
                "The URL cannot be fetched",
                detail,
                "Give an http:// or https:// URL without user name and password; credentials are configured by the operator and named with `credential`.",
            ),
            FetchError::Address { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "source-address-refused",
                "The controller does not ask this address",
                detail,
                "Upload the file instead: `imprint image import FILE`; or let the operator add the network to ingest.allow_networks.",
            ),
            FetchError::TooLarge { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "source-too-large",
                "The file is larger than what is imported",
                detail,
                "Import a smaller or compressed file, or let the operator raise the limits of the section [ingest].",
            ),
            FetchError::Client(_) => Self::internal(&error),
            _ => Self::new(
                StatusCode::BAD_GATEWAY,
                "source-unreachable",
                "The file could not be fetched",
                detail,
                "Check the URL, and that the controller can reach it; or upload the file: `imprint image import FILE`.",
            ),
        }
    }
}
