//! Requests about images as the catalogue takes them.

use std::str::FromStr;

use imprint_proto::v1 as wire;
use jiff::Timestamp;

use crate::{
    api::rest::problem::Problem,
    catalog::{
        ComposeRequest, ImageChange, ImageQuery, ImageSpec, ImageState, License, Part, Price,
        TransitionRequest,
    },
    words::UnknownWord,
};

/// A word that the caller sent, `None` when it is empty.
pub(super) fn word<T: FromStr<Err = UnknownWord>>(text: &str) -> Result<Option<T>, Problem> {
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

pub(super) fn query(request: wire::ListImagesRequest) -> Result<ImageQuery, Problem> {
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

fn words<T: FromStr<Err = UnknownWord>>(texts: &[String]) -> Result<Vec<T>, Problem> {
    let given = texts.iter().filter(|text| !text.is_empty());
    given.filter_map(|text| word(text).transpose()).collect()
}

fn time(at: &prost_types::Timestamp) -> Result<Timestamp, Problem> {
    Timestamp::new(at.seconds, at.nanos).map_err(|error| {
        Problem::invalid(
            format!("The time cannot be read: {error}."),
            "Send a time between the years 1 and 9999.",
        )
    })
}

fn license(license: wire::License) -> Option<License> {
    (!license.name.is_empty()).then_some(License {
        name: license.name,
        included: license.included,
        required: license.required,
        reference: license.reference,
    })
}

fn price(price: wire::Price) -> Result<Option<Price>, Problem> {
    let Some(per) = word(&price.per)?.filter(|_| !price.amount.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(Price {
        amount: price.amount,
        currency: price.currency,
        per,
    }))
}

pub(super) fn change(request: wire::UpdateImageRequest) -> Result<ImageChange, Problem> {
    let expires_at = match (&request.expires_at, request.keep) {
        (Some(at), _) => Some(Some(time(at)?)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    Ok(ImageChange {
        name: request.name,
        family: request.family.map(given),
        version: request.version.map(given),
        description: request.description,
        tags: request.tags.map(|tags| tags.words),
        properties: request.properties.map(|all| all.properties.into_iter().collect()),
        os_distribution: request.os_distribution,
        os_version: request.os_version,
        architecture: request.architecture,
        boot_modes: request.boot_modes.map(|modes| words(&modes.words)).transpose()?,
        min_disk_bytes: request.min_disk_bytes,
        min_memory_bytes: request.min_memory_bytes,
        license: request.license.map(license),
        price: request.price.map(price).transpose()?,
        protected: request.protected,
        exclude_from_latest: request.exclude_from_latest,
        target: word(request.target.as_deref().unwrap_or_default())?,
        expires_at,
        row_version: request.row_version,
    })
}

pub(super) fn transition(
    to: ImageState,
    request: wire::ChangeImageStateRequest,
) -> Result<(String, TransitionRequest), Problem> {
    let wanted = TransitionRequest {
        to,
        at: request.at.as_ref().map(time).transpose()?,
        replacement: given(request.replacement),
        reason: given(request.reason),
    };
    Ok((request.image, wanted))
}

pub(in crate::api::grpc) fn spec(spec: wire::ImageSpec) -> Result<ImageSpec, Problem> {
    Ok(ImageSpec {
        name: spec.name,
        family: given(spec.family),
        version: given(spec.version),
        description: given(spec.description),
        kind: word(&spec.kind)?,
        visibility: word(&spec.visibility)?,
        region: given(spec.region),
        tags: spec.tags,
        properties: spec.properties.into_iter().collect(),
        os_distribution: given(spec.os_distribution),
        os_version: given(spec.os_version),
        architecture: given(spec.architecture),
        boot_modes: words(&spec.boot_modes)?,
        min_disk_bytes: spec.min_disk_bytes,
        min_memory_bytes: spec.min_memory_bytes,
        license: spec.license.and_then(license),
        price: spec.price.map(price).transpose()?.flatten(),
        protected: Some(spec.protected),
        exclude_from_latest: Some(spec.exclude_from_latest),
        target: word(&spec.target)?,
        source_model: given(spec.source_model),
        parent: given(spec.parent),
        encrypt: spec.encrypt,
        certified_for: spec.certified_for,
    })
}

pub(super) fn compose(request: wire::ComposeImageRequest) -> Result<ComposeRequest, Problem> {
    let part = |part: wire::compose_image_request::Part| Part {
        image: part.image,
        role: part.role,
    };
    Ok(ComposeRequest {
        spec: spec(request.spec.unwrap_or_default())?,
        disks: request.disks.into_iter().map(part).collect(),
    })
}
