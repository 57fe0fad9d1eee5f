//! The table of models: applied, listed, deleted, with their history.

use imprint_hardware::{
    matching::Verdict,
    model::{HardwareModel, suggest},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::SqliteConnection;
use utoipa::ToSchema;

use super::{MatchError, Matching, builtin, changes::Change, current::with_built_in};
use crate::{
    clock::timestamp_from_ms,
    events::{DatabaseError, NewEvent, doing},
    identity::Caller,
    words::words,
};

words! {
    /// Where a model comes from.
    ModelOrigin, "origin of models", {
        /// It comes with the controller.
        BuiltIn => "built-in",
        /// Somebody applied it.
        Applied => "applied",
    }
}

/// A hardware model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// For people.
    pub description: String,
    /// Where it comes from.
    pub origin: ModelOrigin,
    /// The document.
    pub document: String,
    /// Who applied it; empty for one that comes with the controller.
    pub made_by: String,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub made_at: Option<Timestamp>,
    /// All versions that were applied, newest first.
    pub history: Vec<ModelVersion>,
}

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelVersion {
    /// The version.
    pub version: u32,
    /// Who applied it.
    pub made_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// Whether it was deleted since.
    pub deleted: bool,
}

/// All models, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelPage {
    /// The models.
    pub items: Vec<ModelView>,
    /// Always null: models are few.
    pub next_page_token: Option<String>,
}

/// A model that was applied, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Applied {
    /// The model.
    pub model: ModelView,
    /// What it changes for which nodes; nothing when the same document was there already.
    pub change: Change,
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    name: String,
    version: u32,
    document: String,
    made_at: i64,
    made_by: String,
    deleted_at: Option<i64>,
}

pub(super) async fn rows(connection: &mut SqliteConnection) -> Result<Vec<Row>, DatabaseError> {
    sqlx::query_as("SELECT * FROM hardware_models ORDER BY name, version DESC")
        .fetch_all(connection)
        .await
        .map_err(doing("read the models"))
}

/// The rows that were applied and count now, with what they say. `rows` has the newest version of a name first.
fn applied(rows: &[Row]) -> Vec<(HardwareModel, &Row)> {
    let mut models: Vec<(HardwareModel, &Row)> = Vec::new();
    for row in rows.iter().filter(|row| row.deleted_at.is_none()) {
        if models.iter().any(|(model, _)| model.name == row.name) {
            continue;
        }
        // A document that an earlier version took and this one does not is left out; the list of versions has it still.
        match HardwareModel::read(&row.document) {
            Ok(model) => models.push((model, row)),
            Err(error) => tracing::warn!(
                model = row.name,
                version = row.version,
                %error,
                "a hardware model is not understood by this version of the controller and left out; apply a corrected one"
            ),
        }
    }
    models
}

/// Every model that counts now, by name.
pub(super) fn counting(rows: &[Row]) -> Vec<HardwareModel> {
    with_built_in(applied(rows).into_iter().map(|(model, _)| model).collect())
}

/// The same, as callers see them.
fn views(rows: &[Row]) -> Vec<ModelView> {
    let applied = applied(rows);
    let of = |model: &HardwareModel| match applied.iter().find(|(known, _)| known.name == model.name) {
        Some((_, row)) => Some(view(model, ModelOrigin::Applied, &row.document, Some(row), rows)),
        None => {
            let (_, document) = builtin::all()
                .iter()
                .find(|(known, _)| known.name == model.name)?;
            Some(view(model, ModelOrigin::BuiltIn, document, None, rows))
        }
    };
    counting(rows).iter().filter_map(of).collect()
}

fn view(
    model: &HardwareModel,
    origin: ModelOrigin,
    document: &str,
    row: Option<&Row>,
    rows: &[Row],
) -> ModelView {
    let versions = rows.iter().filter(|row| row.name == model.name);
    ModelView {
        name: model.name.clone(),
        version: model.version,
        description: model.description.clone(),
        origin,
        document: document.to_owned(),
        made_by: row.map(|row| row.made_by.clone()).unwrap_or_default(),
        made_at: row.map(|row| timestamp_from_ms(row.made_at)),
        history: versions
            .map(|row| ModelVersion {
                version: row.version,
                made_by: row.made_by.clone(),
                made_at: timestamp_from_ms(row.made_at),
                deleted: row.deleted_at.is_some(),
            })
            .collect(),
    }
}

impl Matching {
    async fn model_rows(&self) -> Result<Vec<Row>, DatabaseError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the models"))?;
        rows(&mut connection).await
    }

    /// All models, by name.
    pub async fn models(&self) -> Result<ModelPage, MatchError> {
        Ok(ModelPage {
            items: views(&self.model_rows().await?),
            next_page_token: None,
        })
    }

    /// The model of this name.
    pub async fn model(&self, name: &str) -> Result<ModelView, MatchError> {
        let found = self
            .models()
            .await?
            .items
            .into_iter()
            .find(|model| model.name == name);
        found.ok_or_else(|| MatchError::NotFound(name.chars().take(64).collect()))
    }

    /// Takes a model. The same document again changes nothing; another one needs a higher version.
    pub async fn apply(&self, by: &Caller, document: &str) -> Result<Applied, MatchError> {
        let model = HardwareModel::read(document).map_err(MatchError::Model)?;
        let mut change = self.events.begin_by(by.author()).await?;
        let before = rows(change.connection()).await?;
        let now = views(&before).into_iter().find(|known| known.name == model.name);
        if let Some(view) = now.filter(|view| view.document == document) {
            return Ok(Applied {
                model: view,
                change: Change::default(),
            });
        }
        let built_in = builtin::all().iter().find(|(known, _)| known.name == model.name);
        let versions = before
            .iter()
            .filter(|row| row.name == model.name)
            .map(|row| row.version);
        let newest = versions.chain(built_in.map(|(known, _)| known.version)).max();
        if let Some(newest) = newest.filter(|newest| *newest >= model.version) {
            return Err(MatchError::Version {
                name: model.name,
                given: model.version,
                newest,
            });
        }
        sqlx::query(
            "INSERT INTO hardware_models (name, version, document, made_at, made_by) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&model.name)
        .bind(model.version)
        .bind(document)
        .bind(self.clock.now_ms())
        .bind(by.author().actor)
        .execute(change.connection())
        .await
        .map_err(doing("keep the model"))?;
        let after = counting(&rows(change.connection()).await?);
        let told = self.model_change(&counting(&before), &after).await?;
        change
            .append(NewEvent {
                kind: "model.applied",
                node_id: None,
                deployment_id: None,
                message: format!(
                    "Hardware model {} has version {} now: {}.",
                    model.name, model.version, told.summary
                ),
                details: json!({ "model": model.name, "version": model.version, "change": told }),
            })
            .await?;
        change.commit().await?;
        Ok(Applied {
            model: self.model(&model.name).await?,
            change: told,
        })
    }

    /// Deletes what was applied under a name. A model that comes with the controller is in its place again.
    pub async fn delete_model(&self, by: &Caller, name: &str) -> Result<ModelView, MatchError> {
        let known = self.model(name).await?;
        if known.origin == ModelOrigin::BuiltIn {
            return Err(MatchError::BuiltIn(known.name));
        }
        let mut change = self.events.begin_by(by.author()).await?;
        sqlx::query("UPDATE hardware_models SET deleted_at = ? WHERE name = ? AND deleted_at IS NULL")
            .bind(self.clock.now_ms())
            .bind(&known.name)
            .execute(change.connection())
            .await
            .map_err(doing("delete the model"))?;
        change
            .append(NewEvent {
                kind: "model.deleted",
                node_id: None,
                deployment_id: None,
                message: format!("Hardware model {} was deleted.", known.name),
                details: json!({ "model": known.name, "version": known.version }),
            })
            .await?;
        change.commit().await?;
        Ok(known)
    }

    /// A first version of a model for servers like this node.
    pub async fn suggestion(&self, by: &Caller, node: &str) -> Result<String, MatchError> {
        let node = self.nodes.find(&by.viewer(), node).await?;
        let inventory = self.nodes.inventory(&node.id).await?;
        let inventory = inventory.ok_or(MatchError::NoInventory(node.name))?;
        Ok(suggest(&inventory))
    }
}

/// The word of a verdict.
pub(super) fn verdict(text: &str) -> Result<Verdict, MatchError> {
    text.parse()
        .map_err(|error: imprint_hardware::UnknownWord| MatchError::Word(error.to_string()))
}
