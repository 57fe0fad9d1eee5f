//! What can go wrong between callers and guest plugins.

use http::StatusCode;

use crate::{
    api::rest::problem::{Problem, sentence},
    events::DatabaseError,
    identity::IdentityError,
    inventory::InventoryError,
};

/// A request about a guest plugin cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The node.
    #[error(transparent)]
    Node(#[from] InventoryError),
    /// No plugin of it ever called.
    #[error("no guest plugin of node {0} has reported a first boot")]
    None(String),
    /// Its session is not open.
    #[error("the guest plugin of node {0} is not connected")]
    NotConnected(String),
    /// Not a name of a user.
    #[error("`{0}` cannot be the name of a user")]
    User(String),
    /// Not a password.
    #[error("the password has {0}")]
    Password(String),
    /// How long an order may live.
    #[error("an order can live for 10 to 900 seconds, not {0}")]
    Life(u32),
    /// The certificate belongs to something that is gone.
    #[error("the certificate is of a system that is not on this node any more")]
    Gone,
    /// A certificate request.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The crypto library or the system's random source.
    #[error("the password cannot be sealed")]
    Seal,
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<GuestError> for Problem {
    fn from(error: GuestError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            GuestError::Node(error) => error.into(),
            GuestError::Database(error) => error.into(),
            GuestError::Seal | GuestError::Identity(_) | GuestError::Gone => Self::internal(&error),
            GuestError::None(_) => Self::new(
                StatusCode::NOT_FOUND,
                "no-guest",
                "The node has no guest plugin",
                detail,
                "Deploy an image with systemd on it; the plugin is installed by the deployment.",
            ),
            GuestError::NotConnected(name) => Self::new(
                StatusCode::CONFLICT,
                "guest-not-connected",
                "The guest plugin is not connected",
                detail,
                format!(
                    "See that {name} is up and reaches the controller's TLS port, and that imprint-guest.service runs there; \
                     then ask again."
                ),
            ),
            GuestError::User(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-user-name",
                "The name of the user cannot be used",
                detail,
                "Name a user of the installed system: 1 to 32 letters, digits, dots, hyphens and underscores.",
            ),
            GuestError::Password(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-password",
                "The password cannot be used",
                detail,
                "Give 8 to 256 characters in one line, or none at all: then the controller makes one.",
            ),
            GuestError::Life(_) => Self::invalid(
                detail,
                "Leave it out: 120 seconds are enough for a plugin that is connected.",
            ),
        }
    }
}
