//! Why a webhook cannot be made, found or used.

use http::StatusCode;

use crate::{
    api::rest::problem::{Problem, chain, sentence},
    events::DatabaseError,
    identity::ImageKeyError,
    ingest::fetch::FetchError,
};

/// A webhook cannot be made, found or used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Nothing is called that.
    #[error("there is no webhook `{0}`")]
    NotFound(String),
    /// Another one is called that.
    #[error("another webhook is already called `{0}`")]
    Taken(String),
    /// There are enough.
    #[error("there are already {0} webhooks, as many as there can be")]
    TooMany(i64),
    /// What was asked for cannot be. What, why, and what to do.
    #[error("{0}")]
    Bad(String, &'static str),
    /// The address is refused.
    #[error(transparent)]
    Address(FetchError),
    /// The page token is not one.
    #[error("`{0}` is not a page token")]
    BadPageToken(String),
    /// Its secret cannot be had.
    #[error("the secret of the webhook cannot be had")]
    Secret(#[from] ImageKeyError),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let detail = sentence(&chain(&error));
        match error {
            WebhookError::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                "webhook-not-found",
                "There is no such webhook",
                detail,
                "`imprint webhook list` shows all of them (API: GET /v1/webhooks).",
            ),
            WebhookError::Taken(_) => Self::new(
                StatusCode::CONFLICT,
                "webhook-name-taken",
                "The name is taken",
                detail,
                "Choose another name, or delete the other webhook: `imprint webhook delete NAME`.",
            ),
            WebhookError::TooMany(_) => Self::new(
                StatusCode::CONFLICT,
                "too-many-webhooks",
                "There are too many webhooks",
                detail,
                "Delete one that nobody needs, or let one receiver pass events on to others.",
            ),
            WebhookError::Bad(_, remedy) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-webhook",
                "That cannot be a webhook",
                detail,
                remedy,
            ),
            WebhookError::Address(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "webhook-address-refused",
                "The controller sends nothing to this address",
                detail,
                "Give the address of a public host, or add its network to webhooks.allow_networks in the configuration.",
            ),
            WebhookError::BadPageToken(_) => {
                Self::invalid(detail, "Pass `next_page_token` of the page before, as it is.")
            }
            WebhookError::Secret(source) => source.into(),
            WebhookError::Database(source) => source.into(),
        }
    }
}
