//! What is asked for, and who does it.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{Copies, CopyFault, spec_of};
use crate::{
    catalog::{Image, ImageSpec},
    export::require_content,
    identity::{Caller, Role},
    jobs::{Job, JobKind, Jobs, NewJob},
};

/// Whether the copy is encrypted in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encrypt {
    /// As the image is.
    #[default]
    Keep,
    /// With a key of its own.
    Yes,
    /// Not.
    No,
}

/// A copy of an image. It belongs to the caller's project and is private, whatever the image was.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// Name of the copy; that of the image when it goes to another region and this is left out.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for; as the image says when it is left out.
    #[serde(default)]
    pub description: Option<String>,
    /// Id of the project that it is to belong to; administrators only.
    #[serde(default)]
    pub project: Option<String>,
    /// Name of another region, as the controller's configuration has it.
    #[serde(default)]
    pub region: Option<String>,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encrypt: Encrypt,
}

impl Copies {
    /// Starts a copy of `image`, which the caller may see.
    pub async fn start(
        &self,
        jobs: &Jobs,
        caller: &Caller,
        image: &Image,
        request: &CopyRequest,
        idempotency_key: Option<String>,
    ) -> Result<Job, CopyFault> {
        // A caller who goes away in the middle of it leaves no row behind, and nothing reserved.
        let (copies, jobs, caller) = (self.clone(), jobs.clone(), caller.clone());
        let (image, request) = (image.clone(), request.clone());
        let begun = tokio::spawn(async move {
            copies
                .begin(&jobs, &caller, &image, &request, idempotency_key)
                .await
        });
        begun.await.map_err(CopyFault::Task)?
    }

    async fn begin(
        &self,
        jobs: &Jobs,
        caller: &Caller,
        image: &Image,
        request: &CopyRequest,
        idempotency_key: Option<String>,
    ) -> Result<Job, CopyFault> {
        require_content(image, &caller.viewer())?;
        let caller = &owner(caller, request)?;
        let elsewhere = request
            .region
            .as_deref()
            .filter(|region| *region != self.0.catalog.region());
        let spec = spec(image, request, elsewhere.is_some())?;
        let new = NewJob {
            kind: JobKind::Copy,
            project_id: caller.project_id.clone(),
            image_id: Some(image.id.clone()),
            request: json!({
                "image": image.name,
                "name": spec.name,
                "region": elsewhere,
                "encrypt": request.encrypt,
            }),
            by: caller.name.clone(),
            key: idempotency_key,
        };
        // The first request may have made its image already, whose name would be taken now.
        if let Some(job) = jobs.made_by(&new).await? {
            return Ok(job);
        }
        match elsewhere {
            None => self.within(jobs, caller, image, spec, request.encrypt, new).await,
            Some(region) => {
                self.across(jobs, caller, image, spec, region, request.encrypt, new)
                    .await
            }
        }
    }
}

/// Whose copy it is.
fn owner(caller: &Caller, request: &CopyRequest) -> Result<Caller, CopyFault> {
    let mut owner = caller.clone();
    if let Some(project) = request.project.as_deref().filter(|id| *id != caller.project_id) {
        if caller.role != Role::Admin {
            return Err(CopyFault::OtherProject);
        }
        project.clone_into(&mut owner.project_id);
    }
    Ok(owner)
}

fn spec(image: &Image, request: &CopyRequest, elsewhere: bool) -> Result<ImageSpec, CopyFault> {
    let name = match &request.name {
        Some(name) => name.clone(),
        None if elsewhere => image.name.clone(),
        None => return Err(CopyFault::NoName),
    };
    let mut spec = spec_of(image);
    spec.name = name;
    if let Some(description) = &request.description {
        spec.description = Some(description.clone());
    }
    spec.check()?;
    Ok(spec)
}
