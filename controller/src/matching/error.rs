//! What can go wrong with models and matching, and how callers see it.

use http::StatusCode;
use imprint_hardware::model::ModelErrors;

use crate::{
    api::rest::problem::{Problem, sentence},
    catalog::CatalogError,
    events::DatabaseError,
    inventory::InventoryError,
};

/// A question about models or matching cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// The document is no model.
    #[error("the model has {} mistakes", .0.0.len())]
    Model(ModelErrors),
    /// There is no such model.
    #[error("no hardware model is called `{0}`")]
    NotFound(String),
    /// Neither a node nor a model is called that.
    #[error("neither a node nor a hardware model is called `{wanted}`{}", near_text(near))]
    Nothing {
        /// What was asked for.
        wanted: String,
        /// Names of nodes that are close.
        near: Vec<String>,
    },
    /// The version is not newer.
    #[error("model {name} already has version {newest}, and version {given} is another document")]
    Version {
        /// The model.
        name: String,
        /// What was given.
        given: u32,
        /// The newest that there is, or was.
        newest: u32,
    },
    /// It comes with the controller.
    #[error("model {0} comes with the controller and cannot be deleted")]
    BuiltIn(String),
    /// Nothing is known of the node's hardware.
    #[error("the agent of node {0} has not reported its hardware")]
    NoInventory(String),
    /// A word that is not known.
    #[error("{0}")]
    Word(String),
    /// The node cannot be found.
    #[error(transparent)]
    Node(#[from] InventoryError),
    /// The image cannot be found.
    #[error(transparent)]
    Image(#[from] CatalogError),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn near_text(near: &[String]) -> String {
    match near {
        [] => String::new(),
        names => format!("; nodes are called {}", names.join(", ")),
    }
}

impl From<MatchError> for Problem {
    fn from(error: MatchError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            MatchError::Node(error) => error.into(),
            MatchError::Image(error) => error.into(),
            MatchError::Database(error) => error.into(),
            MatchError::Model(errors) => {
                let list = |text: &dyn Fn(&imprint_hardware::model::ModelProblem) -> String| {
                    errors.0.iter().map(text).collect::<Vec<_>>().join(" ")
                };
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "bad-model",
                    "The hardware model cannot be used",
                    list(&|p| format!("Line {}, column {}: {}.", p.line, p.column, p.problem)),
                    list(&|p| format!("Line {}: {}", p.line, p.remedy)),
                )
            }
            MatchError::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                "model-not-found",
                "There is no such hardware model",
                detail,
                "`imprint model list` shows all models (API: GET /v1/models).",
            ),
            MatchError::Nothing { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "node-or-model-not-found",
                "There is neither a node nor a hardware model of that name",
                detail,
                "`imprint node list` and `imprint model list` show what there is (API: GET /v1/nodes, GET /v1/models).",
            ),
            MatchError::Version { newest, .. } => Self::new(
                StatusCode::CONFLICT,
                "model-version-taken",
                "The version of the model is not newer",
                detail,
                format!("Write `version = {}` in the document.", u64::from(newest) + 1),
            ),
            MatchError::BuiltIn(name) => Self::new(
                StatusCode::CONFLICT,
                "model-built-in",
                "The model comes with the controller",
                detail,
                format!(
                    "Apply a model with the name {name} and a higher version to have another one in its place."
                ),
            ),
            MatchError::NoInventory(name) => Self::new(
                StatusCode::CONFLICT,
                "hardware-unknown",
                "The node's hardware is not known",
                detail,
                format!("Let it boot the ramdisk once; `imprint why {name}` says what it waits for."),
            ),
            MatchError::Word(_) => Self::invalid(detail, "Use one of these words, or leave it out."),
        }
    }
}
