//! Whether the image fits the node, as the matching says it: the part of a deployment's checks that is about hardware.

use imprint_hardware::matching::{Answer, CHECKS, Check, Group, Reason, Weight};
use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Deployments, disk_choice,
    error::DeployError,
    request::{DeployRequest, Refusal},
};
use crate::{
    catalog::Image,
    events::doing,
    identity::Viewer,
    inventory::{Inventory, Node},
};

/// Who may be allowed in spite of it by `allow_unverified`.
const UNVERIFIED: &str = "image-unverified-on-model";

fn check_of(reason: &Reason) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.code == reason.code)
}

/// The slug of a reason.
pub(super) fn kind(reason: &Reason) -> &'static str {
    check_of(reason).map_or("image-does-not-fit", |check| check.code)
}

/// The kind of a reason, for people.
pub(super) fn title(reason: &Reason) -> &'static str {
    match kind(reason) {
        UNVERIFIED => "The image is from another model of server",
        "not-enough-memory" => "The node has too little memory",
        "image-larger-than-disk" => "The image is larger than the disk",
        "sector-size-differs" => "The sector sizes differ",
        _ => "The image does not fit the node",
    }
}

/// What is against a deployment, of the reasons that are about hardware: the image's own rules are refusals of their own.
pub(super) fn refusals(request: &DeployRequest, answer: Option<&Answer>) -> Vec<Refusal> {
    let stands = |reason: &&Reason| match check_of(reason) {
        Some(check) if check.group == Group::Image => false,
        Some(check) if check.weight == Weight::Unverified => request.allow_unverified != Some(true),
        _ => true,
    };
    let reasons = answer.map(|answer| answer.reasons.as_slice()).unwrap_or_default();
    reasons.iter().filter(stands).cloned().map(Refusal::Fit).collect()
}

/// What goes on in spite of something that is not shown.
pub(super) fn warnings(answer: Option<&Answer>) -> Vec<String> {
    let reasons = answer.map(|answer| answer.reasons.as_slice()).unwrap_or_default();
    let allowed = |reason: &&Reason| check_of(reason).is_some_and(|check| check.weight == Weight::Unverified);
    reasons
        .iter()
        .filter(allowed)
        .map(|reason| format!("{} It is not verified, and deployed on request.", reason.text))
        .collect()
}

/// Says nothing twice: what the choice of the disk and the matching both found. The former has every disk.
pub(super) fn without_doubles(refusals: &mut Vec<Refusal>) {
    let of_disk = |refusal: &Refusal| matches!(refusal, Refusal::TooSmall(_) | Refusal::Sectors(_));
    let said: Vec<&'static str> = refusals
        .iter()
        .filter(|r| of_disk(r))
        .map(Refusal::kind)
        .collect();
    let no_disk = refusals
        .iter()
        .any(|refusal| matches!(refusal, Refusal::NoDisk(_)));
    refusals.retain(|refusal| match refusal {
        Refusal::Fit(reason) => {
            !(no_disk && reason.code == "no-boot-disk" || said.contains(&reason.code.as_str()))
        }
        _ => true,
    });
}

impl Deployments {
    /// How the image stands to the node; `None` for an image that has no such disk, which is another refusal.
    pub(super) async fn fit(
        &self,
        request: &DeployRequest,
        node: &Node,
        inventory: Option<&Inventory>,
        image: &Image,
    ) -> Result<Option<Answer>, DeployError> {
        let role = request.role.as_deref().filter(|role| !role.is_empty());
        let Some(disk) = image.disk(role) else {
            return Ok(None);
        };
        // A rule that cannot be read is another refusal.
        let rule = request
            .disk
            .as_deref()
            .and_then(|text| disk_choice::read(text).ok());
        let answer = self
            .matching
            .answer(node, inventory, image, disk, rule.as_ref())
            .await?;
        Ok(Some(answer))
    }

    /// Of a family: the best image that fits the node, as the matching ranks them. The newest one when none does, so that
    /// the reasons are told.
    pub(super) async fn best_of(
        &self,
        viewer: &Viewer,
        newest: Image,
        node: &Node,
        inventory: Option<&Inventory>,
    ) -> Result<Image, DeployError> {
        let (Some(inventory), Some(family)) = (inventory, &newest.family) else {
            return Ok(newest);
        };
        let mut images = self.matching.images(viewer, Some(family)).await?;
        images.retain(|image| image.project_id == newest.project_id);
        let best = self
            .matching
            .best_of_family(viewer, node, inventory, &images)
            .await?;
        Ok(best.unwrap_or(newest))
    }
}

/// Keeps with a deployment why its image was thought to fit.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    id: &str,
    answer: Option<&Answer>,
) -> Result<(), DeployError> {
    sqlx::query("UPDATE deployments SET fit = ? WHERE id = ?")
        .bind(answer.map(|answer| json!(answer).to_string()))
        .bind(id)
        .execute(connection)
        .await
        .map_err(doing("keep why the image fits"))?;
    Ok(())
}
