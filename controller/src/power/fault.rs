//! Why a request about power is not done.

use http::StatusCode;

use super::{BmcError, PowerWish};
use crate::{
    api::rest::problem::{Problem, sentence},
    events::DatabaseError,
    inventory::InventoryError,
};

/// Why a request about power is not done.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// It cannot be like this.
    #[error("the BMC cannot be like this: {0}")]
    Invalid(String),
    /// There is no password for it.
    #[error("the BMC has a new address or user, or none was known, and no password was given")]
    NoPassword,
    /// There is nobody who could be asked.
    #[error("{0}")]
    ByHand(String),
    /// Something else is under way.
    #[error("the power of node {node} is just changed ({action}): {why}")]
    Busy {
        /// The node.
        node: String,
        /// What is under way.
        action: PowerWish,
        /// What it waits for.
        why: String,
    },
    /// There is no CD of the ramdisk for the server, or it does not get into its drive.
    #[error("{why}")]
    NoCd {
        /// Why.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// The BMC.
    #[error(transparent)]
    Bmc(#[from] BmcError),
    /// The node.
    #[error(transparent)]
    Node(#[from] InventoryError),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<PowerError> for Problem {
    fn from(error: PowerError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            PowerError::Node(error) => error.into(),
            PowerError::Database(error) => error.into(),
            PowerError::Invalid(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-bmc",
                "The request about power is not valid",
                detail,
                "Change what is named; docs/power.md says what there is.",
            ),
            PowerError::NoPassword => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bmc-password",
                "The password is missing",
                detail,
                "Give the password of the user.",
            ),
            PowerError::ByHand(_) => Self::new(
                StatusCode::CONFLICT,
                "no-bmc",
                "The server is powered by hand",
                detail,
                "Power it by hand, or say where its BMC is: PUT /v1/nodes/{node}/bmc.",
            ),
            PowerError::Busy { .. } => Self::new(
                StatusCode::CONFLICT,
                "power-busy",
                "The power of the server is just changed",
                detail,
                "Wait until that has ended: GET /v1/nodes/{node}/power tells when it is given up.",
            ),
            PowerError::NoCd { remedy, .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no-cd",
                "The server has no CD of the ramdisk",
                detail,
                remedy,
            ),
            PowerError::Bmc(error) => Self::new(
                match error {
                    BmcError::Setup(_) | BmcError::Systems { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                },
                "bmc",
                "The BMC does not do it",
                detail,
                error.remedy(),
            ),
        }
    }
}
