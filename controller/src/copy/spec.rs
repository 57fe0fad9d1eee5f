//! What is said of an image, said of another one.

use crate::catalog::{Image, ImageSpec};

/// What an import of the same content would be told, so that it becomes the same image: all but who may see it and
/// where it is.
#[must_use]
pub fn spec_of(image: &Image) -> ImageSpec {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let bytes = |bytes: u64| Some(bytes).filter(|bytes| *bytes > 0);
    ImageSpec {
        name: image.name.clone(),
        family: image.family.clone(),
        version: image.version.clone(),
        description: text(&image.description),
        kind: Some(image.kind),
        visibility: None,
        region: None,
        tags: image.tags.clone(),
        properties: image.properties.clone(),
        os_distribution: text(&image.os_distribution),
        os_version: text(&image.os_version),
        architecture: text(&image.architecture),
        boot_modes: image.boot_modes.clone(),
        min_disk_bytes: bytes(image.min_disk_bytes),
        min_memory_bytes: bytes(image.min_memory_bytes),
        license: image.license.clone(),
        price: image.price.clone(),
        protected: None,
        encrypt: None,
        exclude_from_latest: Some(image.exclude_from_latest).filter(|excluded| *excluded),
        target: Some(image.target),
        source_model: text(&image.source_model),
        parent: None,
        certified_for: image.certified_for.clone(),
    }
}
