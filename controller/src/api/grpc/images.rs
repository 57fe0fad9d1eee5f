//! `imprint.v1.Images`.

use std::str::FromStr;

use imprint_proto::v1::{
    self as wire, GetImageRequest, ListImagesRequest, ListImagesResponse,
    images_server::{Images, ImagesServer},
};
use jiff::Timestamp;
use tonic::{Request, Response, Status, service::RoutesBuilder};

use crate::{
    api::rest::problem::Problem,
    app::App,
    catalog::{Image, ImageDisk, ImageQuery, Transition},
    identity::Permission,
    words::UnknownWord,
};

/// Adds the service to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(ImagesServer::new(ImagesService(app.clone())));
}

/// The service.
#[derive(Debug, Clone)]
pub struct ImagesService(pub App);

#[tonic::async_trait]
impl Images for ImagesService {
    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let caller = super::caller(&request)?;
        caller.require(Permission::ReadImages)?;
        let query = query(request.into_inner())?;
        let page = self
            .0
            .catalog
            .list(&caller.viewer(), &query)
            .await
            .map_err(Problem::from)?;
        Ok(Response::new(ListImagesResponse {
            images: page.items.into_iter().map(message).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_image(&self, request: Request<GetImageRequest>) -> Result<Response<wire::Image>, Status> {
        let caller = super::caller(&request)?;
        caller.require(Permission::ReadImages)?;
        let image = self
            .0
            .catalog
            .find(&caller.viewer(), &request.into_inner().image)
            .await
            .map_err(Problem::from)?;
        Ok(Response::new(message(image)))
    }
}

/// A word that the caller sent, `None` when it is empty.
fn word<T: FromStr<Err = UnknownWord>>(text: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: UnknownWord| {
        Problem::invalid(
            format!("{error}."),
            "The comments of the .proto file say which words there are.",
        )
    })
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn query(request: ListImagesRequest) -> Result<ImageQuery, Problem> {
    Ok(ImageQuery {
        family: given(request.family),
        kind: word(&request.kind)?,
        visibility: word(&request.visibility)?,
        state: word(&request.state)?,
        region: given(request.region),
        os: given(request.os),
        os_version: given(request.os_version),
        architecture: given(request.architecture),
        boot: word(&request.boot)?,
        tags: request.tags,
        software: given(request.software),
        text: given(request.q),
        certified_for: given(request.certified_for),
        owner: given(request.owner),
        page_size: request.page_size,
        page_token: given(request.page_token),
    })
}

pub(super) fn message(image: Image) -> wire::Image {
    wire::Image {
        id: image.id,
        name: image.name,
        image_digest: image.image_digest,
        disk_size_bytes: image.disk_size_bytes,
        data_bytes: image.data_bytes,
        stored_bytes: image.stored_bytes,
        logical_sector_bytes: image.logical_sector_bytes,
        source_format: image.source_format,
        created_at: Some(timestamp(image.created_at)),
        project_id: image.project_id,
        created_by: image.created_by,
        family: image.family.unwrap_or_default(),
        version: image.version.unwrap_or_default(),
        description: image.description,
        kind: image.kind.to_string(),
        visibility: image.visibility.to_string(),
        state: image.state.to_string(),
        state_reason: image.state_reason,
        replacement: image.replacement.unwrap_or_default(),
        exclude_from_latest: image.exclude_from_latest,
        protected: image.protected,
        region: image.region,
        source: image.source.to_string(),
        source_reference: image.source_reference,
        parent_id: image.parent_id.unwrap_or_default(),
        source_model: image.source_model,
        target: image.target.to_string(),
        os_distribution: image.os_distribution,
        os_version: image.os_version,
        architecture: image.architecture,
        boot_modes: image.boot_modes.iter().map(ToString::to_string).collect(),
        min_disk_bytes: image.min_disk_bytes,
        min_memory_bytes: image.min_memory_bytes,
        encrypted: image.encrypted,
        license: image.license.map(|license| wire::License {
            name: license.name,
            included: license.included,
            required: license.required,
            reference: license.reference,
        }),
        price: image.price.map(|price| wire::Price {
            amount: price.amount,
            currency: price.currency,
            per: price.per.to_string(),
        }),
        publisher: image.publisher,
        certified_for: image.certified_for,
        tags: image.tags,
        properties: image.properties.into_iter().collect(),
        disks: image.disks.into_iter().map(disk).collect(),
        transitions: image.transitions.into_iter().map(transition).collect(),
        expires_at: image.expires_at.map(timestamp),
        row_version: image.row_version,
        updated_at: Some(timestamp(image.updated_at)),
    }
}

fn disk(disk: ImageDisk) -> wire::ImageDisk {
    wire::ImageDisk {
        role: disk.role,
        manifest: disk.manifest,
        image_digest: disk.image_digest,
        disk_size_bytes: disk.disk_size_bytes,
        data_bytes: disk.data_bytes,
        stored_bytes: disk.stored_bytes,
        logical_sector_bytes: disk.logical_sector_bytes,
        encrypted: disk.encrypted,
    }
}

fn transition(transition: Transition) -> wire::ImageTransition {
    wire::ImageTransition {
        to_state: transition.to_state.to_string(),
        at: Some(timestamp(transition.at)),
        replacement: transition.replacement.unwrap_or_default(),
        reason: transition.reason,
        planned_by: transition.planned_by,
    }
}

/// A time as protobuf writes it.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    // Whole seconds below, nanoseconds above: protobuf counts the fraction upwards also before 1970.
    let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}
