//! The image that a volume is to be prepared from, and whether the volume's project may have it so.

use super::{VolumeError, Volumes};
use crate::{
    catalog::{CatalogError, Image, ImageDisk, ImageKind, ImageState, Target},
    export::require_content,
    identity::{Caller, Viewer},
};

/// An image that a volume is to be prepared from.
#[derive(Debug, Clone)]
pub struct FromImage {
    /// Id or name.
    pub image: String,
    /// Which of its disks; `None`: the only one.
    pub role: Option<String>,
}

/// A disk that a volume may be prepared from.
#[derive(Debug)]
pub(super) struct Source {
    pub image: Image,
    pub disk: ImageDisk,
}

fn refused(image: &Image, why: &str, remedy: &str) -> VolumeError {
    VolumeError::Image {
        why: format!("image {} {why}", image.name),
        remedy: remedy.to_owned(),
    }
}

/// What the image itself says against it. Pure.
fn disk_of(image: &Image, role: Option<&str>, region: &str) -> Result<ImageDisk, VolumeError> {
    let no = |why: &str, remedy: &str| Err(refused(image, why, remedy));
    match image.state {
        ImageState::Active | ImageState::Deprecated => {}
        ImageState::Queued | ImageState::Importing => {
            return no("has no content yet", "Wait until its import has ended.");
        }
        state => return no(&format!("is {state}"), "Choose another image."),
    }
    if image.region != region {
        let why = format!("belongs to region {}, and this is {region}", image.region);
        return no(&why, "Copy it first: `imprint image copy`.");
    }
    if image.target == Target::Vm {
        return no("was made for virtual machines", "Choose an image for bare metal.");
    }
    let role = role.filter(|role| !role.is_empty());
    let Some(disk) = image.disk(role) else {
        let roles: Vec<&str> = image.disks.iter().map(|disk| disk.role.as_str()).collect();
        let why = format!("has the disks {}", roles.join(", "));
        return no(&why, "Say which with `role`.");
    };
    let has_system = match image.kind {
        ImageKind::SystemDisk => true,
        ImageKind::FullMachine => disk.role == "system",
        ImageKind::DataDisk | ImageKind::Iso => false,
    };
    if !has_system {
        return no(
            "is no disk with a system, and a volume is prepared for one",
            "Choose an image of a system disk, or the disk `system` of a full machine.",
        );
    }
    if image.damaged {
        return no(
            "is damaged in the store",
            "Import the same file again, or restore the store's objects from a backup; then `imprint store verify`.",
        );
    }
    if disk.encrypted {
        return no(
            "is encrypted, and would be in plain text on the storage of the volume",
            "Deploy it to the server instead, onto an empty volume, or import it without encryption.",
        );
    }
    Ok(disk.clone())
}

impl Volumes {
    /// The disk that a volume of the project is to be prepared from, by the rules of deployments. Its content is the
    /// project's from then on, as with an export: an image that others sell is refused.
    pub(super) async fn source(
        &self,
        by: &Caller,
        project_id: &str,
        wanted: &FromImage,
    ) -> Result<Source, VolumeError> {
        let image = self.images.catalog.find(&by.viewer(), &wanted.image).await?;
        let project = Viewer::Project(project_id.to_owned());
        if image.project_id != by.project_id && image.project_id != project_id {
            match self.images.catalog.find(&project, &image.id).await {
                Ok(_) => {}
                Err(CatalogError::NotFound { .. }) => {
                    return Err(refused(
                        &image,
                        "is not shared with the project of the volume",
                        "Share it with the project (`imprint image share`), or make the volume in the image's project.",
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let disk = disk_of(&image, wanted.role.as_deref(), &self.images.region)?;
        require_content(&image, &project)?;
        if let Some(terms) = self.images.catalog.unpaid(&image, project_id).await? {
            return Err(terms.into());
        }
        Ok(Source { image, disk })
    }
}
