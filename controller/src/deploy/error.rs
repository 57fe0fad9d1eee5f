//! What can go wrong with a deployment, and how callers see it.

use http::StatusCode;

use super::request::Refusal;
use crate::{
    api::rest::problem::Problem,
    catalog::{CatalogError, TermsError},
    events::DatabaseError,
    identity::ImageKeyError,
    inventory::{InventoryError, NodeState},
    matching::MatchError,
    volumes::VolumeError,
};

/// A deployment cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Nothing is called that.
    #[error("no deployment has the id `{0}`")]
    NotFound(String),
    /// The node cannot be found.
    #[error(transparent)]
    Node(#[from] InventoryError),
    /// The image cannot be found.
    #[error(transparent)]
    Image(#[from] CatalogError),
    /// The terms on which the image may be used are not met.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The image is another project's than the node, and not shared with that.
    #[error("the image {image} is not shared with the project that has the node {node}")]
    NotShared {
        /// The image.
        image: String,
        /// The node.
        node: String,
    },
    /// The image is encrypted, and its key cannot be had.
    #[error(transparent)]
    ImageKey(#[from] ImageKeyError),
    /// Images and nodes could not be compared.
    #[error(transparent)]
    Match(#[from] MatchError),
    /// A fault of the controller that was found while reasons were collected; its causes are in the log.
    #[error("{}", .0.detail)]
    Fault(Box<Problem>),
    /// It cannot work, for these reasons.
    #[error("the deployment was refused")]
    Refused(Vec<Refusal>),
    /// It has ended.
    #[error("deployment {id} has already {state}")]
    Ended {
        /// The deployment.
        id: String,
        /// How it ended.
        state: super::DeploymentState,
    },
    /// There is no system to take as it is.
    #[error("deployment {id} {why}")]
    NotAcceptable {
        /// The deployment.
        id: String,
        /// The end of "The deployment …".
        why: &'static str,
    },
    /// Another request used the key.
    #[error("the Idempotency-Key was used before, for a request with another content")]
    KeyReused,
    /// Not a key.
    #[error("the Idempotency-Key has {0} characters; 1 to 255 printable ones are allowed")]
    BadKey(usize),
    /// Nothing is called that.
    #[error("no batch has the id `{0}`")]
    NoBatch(String),
    /// What a release or a rescue was asked for.
    #[error("{0}")]
    BadTerms(String),
    /// No rescue runs on it.
    #[error("node {0} is not in a rescue")]
    NotRescued(String),
    /// The page token is not one.
    #[error("`{0}` is not a page token")]
    BadPageToken(String),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The log of a deployment.
    #[error("cannot read the log of the deployment")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What can be done about a node that is taken.
const TAKEN: &str = "Wait until it has ended, or stop it with `imprint deployment cancel ID`; `imprint why NODE` says what it does (API: POST /v1/deployments/{id}/cancel).";

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            DeployError::Node(error) => error.into(),
            DeployError::Image(error) => error.into(),
            DeployError::ImageKey(error) => error.into(),
            DeployError::Terms(error) => error.into(),
            DeployError::Match(error) => error.into(),
            DeployError::Volume(error) => error.into(),
            DeployError::Database(error) => error.into(),
            DeployError::Fault(problem) => *problem,
            DeployError::Log(_) => Self::internal(&error),
            DeployError::Refused(refusals) => refused(&refusals),
            DeployError::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                "deployment-not-found",
                "There is no such deployment",
                detail,
                "`imprint deployment list` shows all deployments (API: GET /v1/deployments).",
            ),
            DeployError::Ended { .. } => Self::new(
                StatusCode::CONFLICT,
                "deployment-ended",
                "The deployment has ended",
                detail,
                "Nothing has to be done: only a running deployment can be cancelled. `imprint deployment show ID` says how it ended (API: GET /v1/deployments/{id}).",
            ),
            DeployError::NotAcceptable { .. } => Self::new(
                StatusCode::CONFLICT,
                "deployment-not-acceptable",
                "There is no system to accept",
                detail,
                "Only a failed deployment can be accepted whose system is up and has called, and is still the last one of its node. Otherwise deploy again.",
            ),
            DeployError::NotShared { .. } => Self::new(
                StatusCode::CONFLICT,
                "image-not-shared",
                "The image belongs to another project",
                detail,
                "Let its owner share it with the project of the node and that project accept it, or choose a public image (API: POST /v1/images/{image}/members).",
            ),
            DeployError::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key belongs to another request",
                detail,
                "Use a new key for a new request.",
            ),
            DeployError::BadKey(_) => Self::invalid(detail, "Use a short random text, such as a UUID."),
            DeployError::NoBatch(_) => Self::new(
                StatusCode::NOT_FOUND,
                "batch-not-found",
                "There is no such batch",
                detail,
                "`imprint batch list` shows the newest batches (API: GET /v1/batches).",
            ),
            DeployError::BadTerms(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-terms",
                "That cannot be asked of the node",
                detail,
                "docs/lifecycle.md says what releases, rescues and batches take; disks are named by rules (docs/disk-rules.md).",
            ),
            DeployError::NotRescued(_) => Self::new(
                StatusCode::CONFLICT,
                "node-not-in-rescue",
                "No rescue runs on the node",
                detail,
                "`imprint rescue NODE` begins one (API: POST /v1/nodes/{node}/rescue); `imprint why NODE` says what the node does.",
            ),
            DeployError::BadPageToken(_) => {
                Self::invalid(detail, "Pass next_page_token of the page before, unchanged.")
            }
        }
    }
}

fn refused(refusals: &[Refusal]) -> Problem {
    match refusals {
        [Refusal::Other(problem)] => (**problem).clone(),
        [one] => Problem::new(
            one.status(),
            one.kind(),
            one.title(),
            one.to_string(),
            one.remedy(),
        )
        .with_disks(one.disks()),
        several => {
            let state = several
                .iter()
                .find(|refusal| refusal.status() == StatusCode::CONFLICT);
            let list = |text: &dyn Fn(&Refusal) -> String| {
                several
                    .iter()
                    .zip(1..)
                    .map(|(refusal, n)| format!("({n}) {}", text(refusal)))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            Problem::new(
                state.map_or(StatusCode::UNPROCESSABLE_ENTITY, Refusal::status),
                "deployment-refused",
                "The deployment cannot work, for several reasons",
                list(&|refusal| refusal.to_string()),
                list(&|refusal| refusal.remedy()),
            )
            // They are all of one machine, and every refusal that has them has all.
            .with_disks(
                several
                    .iter()
                    .map(Refusal::disks)
                    .find(|disks| !disks.is_empty())
                    .unwrap_or_default(),
            )
        }
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        Self::internal(&error)
    }
}

impl From<InventoryError> for Problem {
    fn from(error: InventoryError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            InventoryError::NotFound { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "node-not-found",
                "There is no such node",
                detail,
                "`imprint node list` shows all nodes; name one by id, name, UUID, serial number or MAC address (API: GET /v1/nodes).",
            ),
            InventoryError::Ambiguous { .. } => Self::new(
                StatusCode::CONFLICT,
                "node-ambiguous",
                "Several nodes are called that",
                detail,
                "Name the node by its id, its name or a MAC address.",
            ),
            InventoryError::NotDiscovered { .. } => Self::new(
                StatusCode::CONFLICT,
                "node-not-discovered",
                "The node is already in service",
                detail,
                "Nothing has to be done: the node was approved before. `imprint deploy NODE --image IMAGE` puts an image onto it (API: POST /v1/deployments).",
            ),
            InventoryError::Taken { state, .. } => Self::new(
                StatusCode::CONFLICT,
                match state {
                    NodeState::Releasing => "node-releasing",
                    NodeState::Rescue => "node-in-rescue",
                    _ => "node-deploying",
                },
                match state {
                    NodeState::Releasing => "A release runs on the node",
                    NodeState::Rescue => "Somebody works in the ramdisk of the node",
                    _ => "A deployment runs on the node",
                },
                detail,
                match state {
                    NodeState::Rescue => {
                        "`imprint rescue NODE --new-password` makes another password for it, `imprint rescue NODE --end` ends it (API: POST /v1/nodes/{node}/rescue/password, DELETE /v1/nodes/{node}/rescue)."
                    }
                    _ => TAKEN,
                },
            ),
            InventoryError::NotAllowed { state, .. } => Self::new(
                StatusCode::CONFLICT,
                "node-state",
                "The state of the node does not allow it",
                detail,
                match state {
                    NodeState::Active => {
                        "Release the node first: `imprint release NODE` wipes its disks (API: POST /v1/nodes/{node}/release)."
                    }
                    NodeState::Retired => {
                        "Take it back into service first: `imprint node approve NODE` (API: POST /v1/nodes/{node}/approve)."
                    }
                    NodeState::Discovered | NodeState::Enrolled => {
                        "Take it into service first: `imprint node approve NODE`; a node that was only announced has to boot from the network once."
                    }
                    _ => "Wait until what runs on it has ended: `imprint why NODE` says what that is.",
                },
            ),
            InventoryError::InMaintenance { .. } => Self::new(
                StatusCode::CONFLICT,
                "node-in-maintenance",
                "The node is in maintenance",
                detail,
                "When the work on it is done: `imprint node maintenance NODE --end` (API: DELETE /v1/nodes/{node}/maintenance).",
            ),
            InventoryError::BadAnnouncement(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-announcement",
                "That does not announce a machine",
                detail,
                "Give at least one MAC address, as 52:54:00:12:34:56; UUID and serial number as the firmware has them.",
            ),
            InventoryError::Known { .. } => Self::new(
                StatusCode::CONFLICT,
                "node-known",
                "The machine is known already",
                detail,
                "`imprint node show NODE` shows it; leave out what is not of this machine.",
            ),
            InventoryError::HasVolumes { .. } => Self::new(
                StatusCode::CONFLICT,
                "node-has-volumes",
                "Volumes are attached to the node",
                detail,
                "Detach them, and wait until they are available (API: POST /v1/volumes/{volume}/detach, with `force` when the card is gone).",
            ),
            InventoryError::NameTaken(_) => Self::new(
                StatusCode::CONFLICT,
                "node-name-taken",
                "The name is taken",
                detail,
                "Choose another name.",
            ),
            InventoryError::BadName(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-node-name",
                "That cannot be a name",
                detail,
                "Use 1 to 63 letters, digits and inner hyphens: it becomes the host name.",
            ),
            InventoryError::Database(error) => error.into(),
        }
    }
}
