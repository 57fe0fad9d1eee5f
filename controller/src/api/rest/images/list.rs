//! Lists of images.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Caller, Problem, ProblemDocument};
use crate::{
    app::App,
    catalog::{BootMode, Image, ImageKind, ImageQuery, ImageState, Visibility},
    identity::Permission,
};

/// A page of images.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImageList {
    /// The images, in the order of their import.
    items: Vec<Image>,
    /// Asks for the next page; null on the last one.
    next_page_token: Option<String>,
}

/// Which images, all conditions together, and which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ImageListQuery {
    /// Of this family.
    family: Option<String>,
    /// Of this kind.
    kind: Option<ImageKind>,
    /// With this visibility.
    visibility: Option<Visibility>,
    /// In this state.
    state: Option<ImageState>,
    /// For this region.
    region: Option<String>,
    /// With this distribution.
    os: Option<String>,
    /// With this version of it.
    os_version: Option<String>,
    /// For this architecture.
    architecture: Option<String>,
    /// That start in this way.
    boot: Option<BootMode>,
    /// With all of these tags, joined by commas.
    tag: Option<String>,
    /// That hold this software: `NAME` or `NAME=VERSION`.
    software: Option<String>,
    /// With this text in name, family, description, distribution or a tag.
    q: Option<String>,
    /// Certified for this model of servers.
    certified_for: Option<String>,
    /// Of the caller's own project (`own`), or of the project with this id or name.
    owner: Option<String>,
    /// That fit this node (id, name, UUID, serial number or MAC address), or else servers of this hardware model. A page
    /// may have less images than it could and still be followed by another one.
    fits: Option<String>,
    /// At most this many: 100 when 0 or not given, 1,000 at most.
    #[serde(default)]
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

impl From<ImageListQuery> for ImageQuery {
    fn from(query: ImageListQuery) -> Self {
        let tags = query.tag.unwrap_or_default();
        Self {
            family: query.family,
            kind: query.kind,
            visibility: query.visibility,
            state: query.state,
            region: query.region,
            os: query.os,
            os_version: query.os_version,
            architecture: query.architecture,
            boot: query.boot,
            tags: tags.split(',').map(|tag| tag.trim().to_owned()).collect(),
            software: query.software,
            text: query.q,
            certified_for: query.certified_for,
            owner: query.owner,
            page_size: query.page_size,
            page_token: query.page_token,
        }
    }
}

/// All images that the caller may see.
#[utoipa::path(
    get,
    path = "/v1/images",
    tag = "images",
    params(ImageListQuery),
    responses(
        (status = 200, description = "A page of images", body = ImageList),
        (status = 400, description = "A word that is none of the known ones, or a page token of another list",
         body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`fits` names neither a node nor a hardware model", body = ProblemDocument,
         content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_images(
    caller: Caller,
    State(app): State<App>,
    query: Result<Query<ImageListQuery>, QueryRejection>,
) -> Result<Json<ImageList>, Problem> {
    caller.require(Permission::ReadImages)?;
    let Query(mut query) = query?;
    let page = match query.fits.take().filter(|fits| !fits.is_empty()) {
        None => app.catalog.list(&caller.viewer(), &query.into()).await?,
        Some(fits) => {
            caller.require(Permission::ReadNodes)?;
            let matching = app.deployments.matching();
            matching.fitting(&caller, &query.into(), &fits).await?
        }
    };
    Ok(Json(ImageList {
        items: page.items,
        next_page_token: page.next_page_token,
    }))
}
