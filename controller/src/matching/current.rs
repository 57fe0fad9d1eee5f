//! The models that count now, read once for each version of the table.

use std::sync::{Arc, PoisonError};

use imprint_hardware::model::HardwareModel;

use super::{Matching, builtin, models};
use crate::events::{DatabaseError, doing};

/// Which state of the table was read. Rows are only added, and only ever marked as deleted, so that two states with the
/// same numbers are the same state.
type Stamp = (i64, i64);

/// The models of one state of the table.
#[derive(Debug, Clone)]
pub(super) struct Current {
    stamp: Stamp,
    models: Arc<[HardwareModel]>,
}

impl Matching {
    /// All models that count now.
    pub(super) async fn current(&self) -> Result<Arc<[HardwareModel]>, DatabaseError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the models"))?;
        // Before the rows: what changes in between is read again at the next question.
        let stamp: Stamp = sqlx::query_as("SELECT count(*), count(deleted_at) FROM hardware_models")
            .fetch_one(&mut *connection)
            .await
            .map_err(doing("look whether the models have changed"))?;
        {
            let kept = self.models.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = kept.as_ref().filter(|known| known.stamp == stamp) {
                return Ok(known.models.clone());
            }
        }
        let models: Arc<[HardwareModel]> = models::counting(&models::rows(&mut connection).await?).into();
        let mut kept = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Current {
            stamp,
            models: models.clone(),
        });
        Ok(models)
    }
}

/// Applied models and, where none has their names, those that come with the controller; by name.
pub(super) fn with_built_in(mut applied: Vec<HardwareModel>) -> Vec<HardwareModel> {
    for (model, _) in builtin::all() {
        if !applied.iter().any(|known| known.name == model.name) {
            applied.push(model.clone());
        }
    }
    applied.sort_by(|a, b| a.name.cmp(&b.name));
    applied
}
