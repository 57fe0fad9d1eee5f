//! Changes of an image's state, at once or at a planned time.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::{
    Catalog, CatalogError, Image, delete, find,
    lifecycle::{Step, step},
    spec::check_text,
    words::ImageState,
};
use crate::{
    events::{Change, NewEvent},
    identity::{Caller, Role},
};

const MAX_REASON_CHARS: usize = 1024;
/// Changes that are looked for at once.
const DUE_AT_ONCE: i64 = 100;

/// A wish for another state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionRequest {
    /// The state: active, deactivated, deprecated or obsolete.
    pub to: ImageState,
    /// When; now when it is left out or past.
    pub at: Option<Timestamp>,
    /// Id or name of the image to use instead.
    pub replacement: Option<String>,
    /// What everybody should know who uses the image.
    pub reason: Option<String>,
}

/// What is changed, as it is kept.
struct Wish {
    to: ImageState,
    replacement: Option<String>,
    reason: String,
}

impl Catalog {
    /// Changes the state of an image, or plans the change.
    pub async fn transition(
        &self,
        by: &Caller,
        image: &str,
        wanted: &TransitionRequest,
    ) -> Result<Image, CatalogError> {
        let reason = wanted.reason.clone().unwrap_or_default();
        check_text("reason", &reason, MAX_REASON_CHARS)?;
        let mut change = self.events.begin_by(by.author()).await?;
        let image = own(change.connection(), by, image).await?;
        ready(&image)?;
        let replacement = match wanted.replacement.as_deref().filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => {
                let other = find::find_in(change.connection(), &by.viewer(), name).await?;
                if other.id == image.id {
                    return Err(CatalogError::BadField {
                        field: "replacement",
                        reason: "an image cannot replace itself".to_owned(),
                    });
                }
                Some(other.id)
            }
        };
        let wish = Wish {
            to: wanted.to,
            replacement,
            reason,
        };
        if step(image.state, wish.to) == Step::Never {
            return Err(CatalogError::Transition {
                name: image.name,
                from: image.state,
                to: wish.to,
            });
        }
        match wanted.at.filter(|at| *at > self.clock.now()) {
            Some(at) => self.plan(&mut change, by, &image, &wish, at).await?,
            None => self.change_state(&mut change, &by.name, &image, &wish).await?,
        }
        let changed = find::get_in(change.connection(), &image.id).await?;
        change.commit().await?;
        changed.ok_or_else(|| CatalogError::gone(&image.id))
    }

    /// Takes a planned change back, or all of them.
    pub async fn cancel_transitions(
        &self,
        by: &Caller,
        image: &str,
        to: Option<ImageState>,
    ) -> Result<Image, CatalogError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = own(change.connection(), by, image).await?;
        let planned = image
            .transitions
            .iter()
            .filter(|t| to.is_none_or(|to| t.to_state == to));
        let planned: Vec<ImageState> = planned.map(|t| t.to_state).collect();
        if let (Some(to), []) = (to, planned.as_slice()) {
            return Err(CatalogError::NotPlanned { name: image.name, to });
        }
        for to in planned {
            if to == ImageState::Deleted {
                delete::may_outlive(&image)?;
            }
            forget_plan(change.connection(), &image.id, to).await?;
            let message = format!("Image {} will not become {to} as planned.", image.name);
            tell(
                &mut change,
                "image.transition-cancelled",
                &by.name,
                &image,
                message,
            )
            .await?;
        }
        let changed = find::get_in(change.connection(), &image.id).await?;
        change.commit().await?;
        changed.ok_or_else(|| CatalogError::gone(&image.id))
    }

    /// Makes the changes whose time has come; how many.
    pub async fn perform_due(&self) -> Result<usize, CatalogError> {
        let mut done = 0;
        loop {
            let due = sqlx::query(
                "SELECT image_id, to_state FROM image_transitions WHERE at <= ? ORDER BY at, image_id LIMIT ?",
            )
            .bind(self.clock.now_ms())
            .bind(DUE_AT_ONCE)
            .fetch_all(&self.db)
            .await?;
            if due.is_empty() {
                return Ok(done);
            }
            for row in due {
                let (id, to): (String, String) = (row.try_get("image_id")?, row.try_get("to_state")?);
                self.perform(&id, &to).await?;
                done += 1;
            }
        }
    }

    async fn perform(&self, id: &str, to: &str) -> Result<(), CatalogError> {
        let mut change = self.events.begin().await?;
        let image = find::get_in(change.connection(), id).await?;
        let planned = image.as_ref().and_then(|image| {
            let mut planned = image.transitions.iter();
            planned.find(|t| t.to_state.as_str() == to && t.at <= self.clock.now())
        });
        let (Some(image), Some(planned)) = (&image, planned) else {
            // Deleted, or planned anew, since it was looked for.
            if image.is_none() {
                sqlx::query("DELETE FROM image_transitions WHERE image_id = ?")
                    .bind(id)
                    .execute(change.connection())
                    .await?;
            }
            return Ok(change.commit().await?);
        };
        let wish = Wish {
            to: planned.to_state,
            replacement: planned.replacement.clone(),
            reason: planned.reason.clone(),
        };
        let allowed = match (wish.to, step(image.state, wish.to)) {
            (_, Step::Never) => Err(format!("it is {}", image.state)),
            (ImageState::Deleted, _) => delete::may_go(image).map_err(|error| error.to_string()),
            _ => Ok(()),
        };
        match allowed {
            Ok(()) if wish.to == ImageState::Deleted => {
                delete::delete_in(&mut change, self.clock.now_ms(), &planned.planned_by, image).await?;
            }
            Ok(()) => {
                self.change_state(&mut change, &planned.planned_by, image, &wish)
                    .await?;
            }
            Err(reason) => {
                forget_plan(change.connection(), id, wish.to).await?;
                let message = format!(
                    "Image {} did not become {} as planned, since {reason}.",
                    image.name, wish.to
                );
                tell(
                    &mut change,
                    "image.transition-refused",
                    &planned.planned_by,
                    image,
                    message,
                )
                .await?;
            }
        }
        Ok(change.commit().await?)
    }

    async fn plan(
        &self,
        change: &mut Change,
        by: &Caller,
        image: &Image,
        wish: &Wish,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        put_plan(change.connection(), &by.name, &image.id, wish, at).await?;
        let message = format!("Image {} is to become {} at {at}.", image.name, wish.to);
        tell(change, "image.transition-planned", &by.name, image, message).await
    }

    async fn change_state(
        &self,
        change: &mut Change,
        by: &str,
        image: &Image,
        wish: &Wish,
    ) -> Result<(), CatalogError> {
        // What is put back is as good as it was; otherwise what was said before holds until something else is said.
        let replacement = match wish.to {
            ImageState::Active => None,
            _ => wish.replacement.as_ref().or(image.replacement.as_ref()),
        };
        sqlx::query(
            "UPDATE images SET state = ?, state_reason = ?, replacement = ?, row_version = row_version + 1, updated_at = ?
             WHERE id = ?",
        )
        .bind(wish.to.as_str())
        .bind(&wish.reason)
        .bind(replacement)
        .bind(self.clock.now_ms())
        .bind(&image.id)
        .execute(change.connection())
        .await?;
        forget_plan(change.connection(), &image.id, wish.to).await?;
        let kind = match wish.to {
            ImageState::Active => "image.activated",
            ImageState::Deactivated => "image.deactivated",
            ImageState::Deprecated => "image.deprecated",
            _ => "image.obsolete",
        };
        let mut message = format!("Image {} is {} now", image.name, wish.to);
        if !wish.reason.is_empty() {
            message.push_str(": ");
            message.push_str(wish.reason.trim_end_matches('.'));
        }
        message.push('.');
        tell(change, kind, by, image, message).await
    }
}

/// An image that `by` may change: of its project, or any for an administrator.
pub(super) async fn own(
    connection: &mut SqliteConnection,
    by: &Caller,
    image: &str,
) -> Result<Image, CatalogError> {
    let image = find::find_in(connection, &by.viewer(), image).await?;
    if by.role == Role::Admin || image.project_id == by.project_id {
        Ok(image)
    } else {
        Err(CatalogError::NotYours { name: image.name })
    }
}

/// Only what has its content can be changed.
pub(super) fn ready(image: &Image) -> Result<(), CatalogError> {
    if image.state.is_unfinished() {
        return Err(CatalogError::NotReady {
            name: image.name.clone(),
        });
    }
    Ok(())
}

/// Writes an event about an image.
pub(super) async fn tell(
    change: &mut Change,
    kind: &str,
    by: &str,
    image: &Image,
    message: String,
) -> Result<(), CatalogError> {
    tell_with(change, kind, by, image, message, json!({})).await
}

/// As [`tell`], with further facts.
pub(super) async fn tell_with(
    change: &mut Change,
    kind: &str,
    by: &str,
    image: &Image,
    message: String,
    mut details: serde_json::Value,
) -> Result<(), CatalogError> {
    details["image_id"] = json!(image.id);
    details["by"] = json!(by);
    change.about_project(&image.project_id);
    change
        .append(NewEvent {
            kind,
            node_id: None,
            deployment_id: None,
            message,
            details,
        })
        .await?;
    Ok(())
}

async fn forget_plan(
    connection: &mut SqliteConnection,
    image_id: &str,
    to: ImageState,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM image_transitions WHERE image_id = ? AND to_state = ?")
        .bind(image_id)
        .bind(to.as_str())
        .execute(connection)
        .await
        .map(drop)
}

async fn put_plan(
    connection: &mut SqliteConnection,
    by: &str,
    image_id: &str,
    wish: &Wish,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO image_transitions (image_id, to_state, at, replacement, reason, planned_by)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(image_id)
    .bind(wish.to.as_str())
    .bind(at.as_millisecond())
    .bind(&wish.replacement)
    .bind(&wish.reason)
    .bind(by)
    .execute(connection)
    .await
    .map(drop)
}

/// Plans or takes back that an image deletes itself.
pub(super) async fn put_expiry(
    connection: &mut SqliteConnection,
    by: &str,
    image_id: &str,
    at: Option<Timestamp>,
) -> Result<(), sqlx::Error> {
    match at {
        None => forget_plan(connection, image_id, ImageState::Deleted).await,
        Some(at) => {
            let wish = Wish {
                to: ImageState::Deleted,
                replacement: None,
                reason: "its time is over".to_owned(),
            };
            put_plan(connection, by, image_id, &wish, at).await
        }
    }
}
