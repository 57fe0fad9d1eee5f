//! A disk of an image, looked at and ready to be written.

use std::sync::Arc;

use imprint_image::{
    MAX_MANIFEST_BYTES, Manifest, SignedManifest,
    export::{EXPORT_REVISION, ExportFormat, ExportPlan},
};

use super::{ExportFault, Exports, Inner};
use crate::{
    catalog::{Image, ImageDisk, ImageState},
    identity::Viewer,
    store::StoreObject,
};

/// A disk that may be written as a file of a format.
#[derive(Debug, Clone)]
pub struct OpenedDisk {
    /// Id of the image.
    pub image_id: String,
    /// Its name.
    pub image: String,
    /// Which of its disks.
    pub role: String,
    /// The format.
    pub format: ExportFormat,
    /// Length of the file, where it is known.
    pub file_bytes: Option<u64>,
    pub(super) manifest_key: String,
    pub(super) manifest: Arc<Manifest>,
}

impl OpenedDisk {
    /// Names the bytes of the file: the same tag, the same bytes.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}-{}-{EXPORT_REVISION}\"", self.manifest_key, self.format)
    }

    /// Size of the disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.manifest.disk_size_bytes
    }

    /// A name for the file.
    #[must_use]
    pub fn file_name(&self, of_several: bool) -> String {
        let end = self.format.extension();
        if of_several {
            format!("{}-{}.{end}", self.image, self.role)
        } else {
            format!("{}.{end}", self.image)
        }
    }
}

/// Refuses an image whose content `viewer` is not to have, though it may see it.
pub(crate) fn require_content(image: &Image, viewer: &Viewer) -> Result<(), ExportFault> {
    let own = match viewer {
        Viewer::All => true,
        Viewer::Project(project) => *project == image.project_id,
    };
    let may = match image.state {
        ImageState::Active | ImageState::Deprecated => true,
        ImageState::Deactivated | ImageState::Obsolete => own,
        _ => false,
    };
    let name = || image.name.clone();
    if !may {
        return Err(ExportFault::State {
            image: name(),
            state: image.state,
        });
    }
    if image.price.is_some() && !own {
        return Err(ExportFault::Paid { image: name() });
    }
    Ok(())
}

fn chosen<'a>(image: &'a Image, role: Option<&str>) -> Result<&'a ImageDisk, ExportFault> {
    let roles = || image.disks.iter().map(|disk| disk.role.clone()).collect();
    image
        .disk(role)
        .ok_or_else(|| match role.filter(|role| !role.is_empty()) {
            Some(role) => ExportFault::NoDisk {
                image: image.name.clone(),
                role: role.to_owned(),
                roles: roles(),
            },
            None => ExportFault::WhichDisk {
                image: image.name.clone(),
                roles: roles(),
            },
        })
}

impl Exports {
    /// Looks at a disk of an image that `viewer` may see, and lays out the file.
    pub async fn open(
        &self,
        image: &Image,
        viewer: &Viewer,
        role: Option<&str>,
        format: ExportFormat,
    ) -> Result<OpenedDisk, ExportFault> {
        require_content(image, viewer)?;
        let disk = chosen(image, role)?;
        let manifest = self.0.manifest(&image.name, disk).await?;
        let file_bytes = ExportPlan::new(&manifest, format)
            .map_err(ExportFault::of)?
            .file_bytes();
        Ok(OpenedDisk {
            image_id: image.id.clone(),
            image: image.name.clone(),
            role: disk.role.clone(),
            format,
            file_bytes,
            manifest_key: disk.manifest.clone(),
            manifest: Arc::new(manifest),
        })
    }
}

impl Inner {
    /// The manifest of a disk, proven, with its key when it is encrypted.
    pub(super) async fn manifest(&self, image: &str, disk: &ImageDisk) -> Result<Manifest, ExportFault> {
        let fault = |source| ExportFault::Manifest {
            image: image.to_owned(),
            manifest: disk.manifest.clone(),
            source,
        };
        let key = disk.manifest.parse().expect("the catalogue keeps digests");
        let bytes = self
            .store
            .get(&StoreObject::Manifest(key), MAX_MANIFEST_BYTES)
            .await?;
        let data_key = self.image_keys.open(&disk.manifest).await?;
        let keys = self.authority.manifest_public_keys();
        SignedManifest::open_with(&bytes, &keys, data_key.as_ref()).map_err(fault)
    }
}

impl Exports {
    /// The manifest of a disk, proven.
    pub(crate) async fn manifest(&self, image: &str, disk: &ImageDisk) -> Result<Manifest, ExportFault> {
        self.0.manifest(image, disk).await
    }
}
