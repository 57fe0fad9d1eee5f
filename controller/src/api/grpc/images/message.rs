//! Images as messages.

use imprint_proto::v1 as wire;

use super::timestamp;
use crate::catalog::{Family, Image, ImageDisk, Price, Transition};

pub(in crate::api::grpc) fn image(image: Image) -> wire::Image {
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
        price: image.price.map(price),
        publisher: image.publisher,
        certified_for: image.certified_for,
        tags: image.tags,
        properties: image.properties.into_iter().collect(),
        disks: image.disks.into_iter().map(disk).collect(),
        transitions: image.transitions.into_iter().map(transition).collect(),
        expires_at: image.expires_at.map(timestamp),
        row_version: image.row_version,
        updated_at: Some(timestamp(image.updated_at)),
        damaged: image.damaged,
    }
}

pub(in crate::api::grpc) fn price(price: Price) -> wire::Price {
    wire::Price {
        amount: price.amount,
        currency: price.currency,
        per: price.per.to_string(),
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

pub(super) fn family(family: Family) -> wire::Family {
    wire::Family {
        family: family.family,
        project_id: family.project_id,
        images: family.images,
        newest_id: family.newest_id.unwrap_or_default(),
        newest_name: family.newest_name.unwrap_or_default(),
        newest_version: family.newest_version.unwrap_or_default(),
        newest_created_at: family.newest_created_at.map(timestamp),
        newest_build_date: family.newest_build_date.unwrap_or_default(),
        update_policy: family.update_policy.unwrap_or_default(),
    }
}
