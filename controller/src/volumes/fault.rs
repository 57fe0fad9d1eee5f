//! Why a request about volumes is not done.

use http::StatusCode;

use super::{PciFunction, ProviderError, VolumeState, backend::BackendError};
use crate::{
    api::rest::problem::{Problem, chain, sentence},
    catalog::{CatalogError, TermsError},
    events::DatabaseError,
    export::ExportFault,
    identity::TenantError,
    inventory::InventoryError,
};

/// Why a request about volumes is not done.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Nothing is called that.
    #[error("there is no volume `{0}`")]
    NotFound(String),
    /// It cannot be made like this.
    #[error("the volume cannot be made: {0}")]
    Invalid(String),
    /// Another one is called that.
    #[error("another volume is already called `{0}`")]
    NameTaken(String),
    /// Its state does not allow it.
    #[error("volume {name} is {state}{}", place(node))]
    Busy {
        /// The volume.
        name: String,
        /// Its state.
        state: VolumeState,
        /// The node, if it has one.
        node: Option<String>,
    },
    /// Somebody works with it.
    #[error("volume {name} {what}")]
    InUse {
        /// The volume.
        name: String,
        /// The end of "volume NAME …".
        what: String,
    },
    /// The function shows another volume.
    #[error("{function} of node {node} has the volume {other}")]
    FunctionTaken {
        /// The node.
        node: String,
        /// The function.
        function: PciFunction,
        /// The other one.
        other: String,
    },
    /// All functions show volumes.
    #[error("all functions of the card of node {0} have volumes")]
    CardFull(String),
    /// The volume is presented already.
    #[error("volume {0} is presented already: it has no function of a card")]
    NoFunction(String),
    /// Another volume is the same disk.
    #[error("that disk of node {node} is the volume {other}")]
    DiskTaken {
        /// The node.
        node: String,
        /// The other one.
        other: String,
    },
    /// The card is another node's.
    #[error("the card at {address} is that of node {other}")]
    CardTaken {
        /// The card.
        address: String,
        /// The other one.
        other: String,
    },
    /// The card has volumes.
    #[error("the card of node {node} has the volumes {}", volumes.join(", "))]
    CardInUse {
        /// The node.
        node: String,
        /// Names of the volumes.
        volumes: Vec<String>,
    },
    /// Nothing can show it.
    #[error("node {0} has no SDI card that the controller knows")]
    NoCard(String),
    /// Volume and node belong to different projects.
    #[error("volume {name} and node {node} belong to different projects")]
    OtherProject {
        /// The volume.
        name: String,
        /// The node.
        node: String,
    },
    /// Bytes that are there already, and an image.
    #[error("the volume is to have the bytes of its storage and those of an image")]
    TwoContents,
    /// Nothing makes volumes.
    #[error("this controller has no back-end that makes volumes")]
    NoBackend,
    /// The image is none that a volume can be prepared from.
    #[error("{why}")]
    Image {
        /// What is against it.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// The image is not found.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It may not be used so.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Its content cannot be read.
    #[error(transparent)]
    Content(#[from] ExportFault),
    /// The back-end.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The card.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The node.
    #[error(transparent)]
    Node(#[from] InventoryError),
    /// The project.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn place(node: &Option<String>) -> String {
    node.as_ref()
        .map_or(String::new(), |node| format!(" at node {node}"))
}

impl From<VolumeError> for Problem {
    fn from(error: VolumeError) -> Self {
        let detail = sentence(&error.to_string());
        let conflict =
            |kind, title, remedy: &str| Self::new(StatusCode::CONFLICT, kind, title, detail.clone(), remedy);
        match error {
            VolumeError::Node(error) => error.into(),
            VolumeError::Tenant(error) => error.into(),
            VolumeError::Database(error) => error.into(),
            VolumeError::Catalog(error) => error.into(),
            VolumeError::Terms(error) => error.into(),
            VolumeError::Content(error) => error.into(),
            VolumeError::Image { remedy, .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "image-for-volume",
                "No volume can be prepared from the image",
                detail,
                remedy,
            ),
            VolumeError::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                "volume-not-found",
                "There is no such volume",
                detail,
                "GET /v1/volumes lists those that there are.",
            ),
            VolumeError::Invalid(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-volume",
                "The volume cannot be like this",
                detail,
                "Change what is named.",
            ),
            VolumeError::NameTaken(_) => conflict("name-taken", "The name is taken", "Choose another name."),
            VolumeError::Busy { state, node, .. } => conflict(
                "volume-busy",
                "The state of the volume does not allow it",
                match state {
                    VolumeState::Preparing => "Wait until it is available.",
                    VolumeState::Deleting => "Make another volume.",
                    VolumeState::Error if node.is_none() => "Delete the volume, and make it again.",
                    _ => {
                        "Detach the volume and wait until it is available; abandon it when its card is gone."
                    }
                },
            ),
            VolumeError::TwoContents => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-volume",
                "The volume cannot be like this",
                detail,
                "Leave out `backing`: the controller's back-end makes volumes with images. A volume that is there \
                 already gets an image by a deployment.",
            ),
            VolumeError::NoBackend => conflict(
                "no-volume-backend",
                "The controller makes no volumes",
                "Add the section [volumes] to its configuration (docs/configuration.md), or say which storage has the \
                 volume already: `backing`.",
            ),
            VolumeError::Backend(error) => Self::new(
                if error.is_full() {
                    StatusCode::INSUFFICIENT_STORAGE
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                },
                "volume-backend",
                "The back-end does not do it",
                sentence(&chain(&error)),
                error.remedy(),
            ),
            VolumeError::InUse { .. } => conflict(
                "volume-in-use",
                "The volume is in use",
                "Cancel the deployment, unmount it, or switch the server off; --force takes it away all the same, and is written down.",
            ),
            VolumeError::FunctionTaken { .. } => conflict(
                "function-taken",
                "The function of the card is taken",
                "Name another function, or none: then the first free one is taken.",
            ),
            VolumeError::NoCard(_) => conflict(
                "no-card",
                "The node has no SDI card",
                "Say where its card is: PUT /v1/nodes/{node}/card.",
            ),
            VolumeError::CardFull(_) => conflict(
                "card-full",
                "The card shows no more volumes",
                "Detach a volume of this node, or choose another node.",
            ),
            VolumeError::NoFunction(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no-function",
                "The volume has no function",
                detail,
                "Leave the function out.",
            ),
            VolumeError::DiskTaken { .. } => conflict(
                "disk-taken",
                "Another volume is the same disk",
                "Detach the other one, or give each its own serial number or WWN.",
            ),
            VolumeError::CardTaken { .. } => conflict(
                "card-taken",
                "The card is another node's",
                "Give the address of this node's card, or say first that the other node has none.",
            ),
            VolumeError::CardInUse { .. } => conflict(
                "card-in-use",
                "The card has volumes",
                "Detach them first; abandon them when the card is gone.",
            ),
            VolumeError::OtherProject { .. } => conflict(
                "other-project",
                "Volume and node belong to different projects",
                "Assign the node to the project of the volume, or choose a node of it.",
            ),
            VolumeError::Provider(error) => Self::new(
                match error {
                    ProviderError::Address { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                },
                "card",
                "The SDI card does not do it",
                detail,
                error.remedy(),
            ),
        }
    }
}
