//! What the image itself says about a deployment: its state, kind, region and needs. Pure: all facts come in as values.

use std::fmt;

use http::StatusCode;
use imprint_hardware::matching::Answer;

use super::{fit, request::DeployRequest};
use crate::catalog::{Image, ImageDisk, ImageKind, ImageState, Target};

/// The image, and what else of the catalogue a deployment depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub image: &'a Image,
    /// Name of the image to use instead, if there is one that the caller may use.
    pub replacement: Option<&'a str>,
    /// The region of this controller.
    pub region: &'a str,
    /// How the matching judges it, for a node.
    pub fit: Option<&'a Answer>,
    /// Why its root cannot be written, when that is certain.
    pub sealed: Option<&'a str>,
}

/// One reason why an image cannot be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRefusal {
    /// Neither an image nor a family was named, or both.
    Unnamed,
    /// Its content is still to come.
    Unfinished {
        /// Its name.
        name: String,
    },
    /// It may not be used now, or not any more.
    Withdrawn {
        /// Its name.
        name: String,
        /// `deactivated`, `obsolete` or `failed`.
        state: ImageState,
        /// Why, as its owner said.
        reason: String,
        /// What to use instead.
        replacement: Option<String>,
    },
    /// It is for another region.
    Region {
        /// Its name.
        name: String,
        /// Where it can be used.
        theirs: String,
        /// Where this controller is.
        ours: String,
    },
    /// It is for virtual machines.
    Virtual {
        /// Its name.
        name: String,
    },
    /// It is an installation medium.
    Iso {
        /// Its name.
        name: String,
    },
    /// It has several disks, and one deployment writes one.
    FullMachine {
        /// Its name.
        name: String,
        /// Each disk's role and size.
        disks: Vec<(String, u64)>,
    },
    /// It has no disk with this role.
    Role {
        /// Its name.
        name: String,
        /// What was asked for.
        role: String,
        /// What there is.
        roles: Vec<String>,
    },
    /// It has data and no system.
    Data {
        /// Its name.
        name: String,
    },
    /// Its stored content is damaged.
    Damaged {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for ImageRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("The request names neither an image nor a family, or both."),
            Self::Unfinished { name } => write!(f, "The content of image {name} is still on the way."),
            Self::Withdrawn {
                name, state, reason, ..
            } if reason.is_empty() => write!(f, "Image {name} is {state}."),
            Self::Withdrawn {
                name, state, reason, ..
            } => write!(f, "Image {name} is {state}: {}.", reason.trim_end_matches('.')),
            Self::Region { name, theirs, ours } => write!(
                f,
                "Image {name} belongs to region {theirs}, and this controller deploys in region {ours}."
            ),
            Self::Virtual { name } => write!(
                f,
                "Image {name} was made for virtual machines and lacks what a bare-metal server needs."
            ),
            Self::Iso { name } => write!(
                f,
                "Image {name} is an installation medium, which serves a temporary server only; it is not a disk."
            ),
            Self::FullMachine { name, disks } => {
                let disks: Vec<String> = disks
                    .iter()
                    .map(|(role, bytes)| format!("{role} ({bytes} bytes)"))
                    .collect();
                write!(
                    f,
                    "Image {name} has {} disks, and one deployment writes one: {}.",
                    disks.len(),
                    disks.join(", ")
                )
            }
            Self::Role { name, role, roles } => write!(
                f,
                "Image {name} has no disk with the role `{role}`, only {}.",
                roles.join(", ")
            ),
            Self::Data { name } => write!(f, "Image {name} holds data and no system to start."),
            Self::Damaged { name } => write!(f, "The stored content of image {name} is damaged."),
        }
    }
}

impl ImageRefusal {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unnamed => "image-or-family",
            Self::Unfinished { .. } => "image-not-ready",
            Self::Withdrawn { .. } => "image-withdrawn",
            Self::Region { .. } => "image-in-other-region",
            Self::Virtual { .. } => "image-for-virtual-machines",
            Self::Iso { .. } => "image-is-iso",
            Self::FullMachine { .. } => "image-has-several-disks",
            Self::Role { .. } => "no-such-image-disk",
            Self::Data { .. } => "image-holds-data",
            Self::Damaged { .. } => "image-damaged",
        }
    }

    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::Unnamed => "One image or one family has to be named",
            Self::Unfinished { .. } => "The image is not ready",
            Self::Withdrawn { .. } => "The image may not be used",
            Self::Region { .. } => "The image belongs to another region",
            Self::Virtual { .. } => "The image is for virtual machines",
            Self::Iso { .. } => "An ISO image is not deployed",
            Self::FullMachine { .. } => "The image has several disks",
            Self::Role { .. } => "The image has no such disk",
            Self::Data { .. } => "The image holds data only",
            Self::Damaged { .. } => "The image is damaged",
        }
    }

    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Unnamed => "Give either --image or --family (API: `image` or `family`).".to_owned(),
            Self::Unfinished { name } => {
                format!("Wait until its import has ended: `imprint image show {name}` says how it stands.")
            }
            Self::Withdrawn {
                replacement: Some(other),
                ..
            } => format!("Use {other} instead, which its owner names as the replacement."),
            Self::Withdrawn {
                state: ImageState::Deactivated,
                name,
                ..
            } => format!("Choose another image, or ask its owner to put it back: `imprint image activate {name}`."),
            Self::Withdrawn { .. } => {
                "Choose another image; `imprint image list --state active` shows those that can be used.".to_owned()
            }
            Self::Region { name, ours, .. } => {
                format!("Copy it first: `imprint image copy {name} --region {ours}`, and deploy the copy.")
            }
            Self::Virtual { .. } => {
                "Choose an image for bare metal; if this one really fits, `imprint image update IMAGE --target any` says so.".to_owned()
            }
            Self::Iso { .. } => {
                "Install from it on a temporary machine, capture or export that machine's disk, and deploy that as a system-disk image.".to_owned()
            }
            Self::FullMachine { name, disks } => {
                let each: Vec<String> = disks
                    .iter()
                    .map(|(role, _)| {
                        let finish = if role == "system" { "" } else { " --no-finish" };
                        format!("`imprint deploy NODE --image {name} --role {role} --disk RULE{finish}`")
                    })
                    .rev()
                    .collect();
                format!(
                    "Deploy each disk on its own, the system last: {} (API: `role`).",
                    each.join(", then ")
                )
            }
            Self::Role { .. } => "Give one of these roles.".to_owned(),
            Self::Data { .. } => {
                "Repeat with --no-finish: the data is written to the disk and nothing else (API: `\"finish\": false`).".to_owned()
            }
            Self::Damaged { name } => format!(
                "Import the same file again, or restore the store's objects from a backup; then `imprint store verify --image {name}`."
            ),
        }
    }

    /// 409 for a state that may change by itself, 422 for a request that has to change.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unfinished { .. } | Self::Withdrawn { .. } | Self::Damaged { .. } => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// The disk of the image that is to be written, or every reason against it.
pub(super) fn choose_disk(
    request: &DeployRequest,
    chosen: Chosen<'_>,
) -> Result<ImageDisk, Vec<ImageRefusal>> {
    let image = chosen.image;
    let name = || image.name.clone();
    let mut refusals = Vec::new();
    match image.state {
        ImageState::Active | ImageState::Deprecated => {}
        ImageState::Queued | ImageState::Importing => {
            // Nothing else is known of it yet.
            return Err(vec![ImageRefusal::Unfinished { name: name() }]);
        }
        state => refusals.push(ImageRefusal::Withdrawn {
            name: name(),
            state,
            reason: image.state_reason.clone(),
            replacement: chosen.replacement.map(str::to_owned),
        }),
    }
    if image.region != chosen.region {
        refusals.push(ImageRefusal::Region {
            name: name(),
            theirs: image.region.clone(),
            ours: chosen.region.to_owned(),
        });
    }
    if image.target == Target::Vm {
        refusals.push(ImageRefusal::Virtual { name: name() });
    }
    if image.kind == ImageKind::Iso {
        refusals.push(ImageRefusal::Iso { name: name() });
        return Err(refusals);
    }
    let role = request.role.as_deref().filter(|role| !role.is_empty());
    let disk = match (image.disk(role), role) {
        (Some(disk), _) => disk,
        (None, None) => {
            let disks = image.disks.iter();
            refusals.push(ImageRefusal::FullMachine {
                name: name(),
                disks: disks.map(|d| (d.role.clone(), d.disk_size_bytes)).collect(),
            });
            return Err(refusals);
        }
        (None, Some(role)) => {
            refusals.push(ImageRefusal::Role {
                name: name(),
                role: role.to_owned(),
                roles: image.disks.iter().map(|d| d.role.clone()).collect(),
            });
            return Err(refusals);
        }
    };
    if !has_system(image, disk) && request.finish != Some(false) {
        refusals.push(ImageRefusal::Data { name: name() });
    }
    if refusals.is_empty() {
        Ok(disk.clone())
    } else {
        Err(refusals)
    }
}

/// Whether a system is on a disk of an image.
pub(super) fn has_system(image: &Image, disk: &ImageDisk) -> bool {
    match image.kind {
        ImageKind::DataDisk => false,
        ImageKind::FullMachine => disk.role == "system",
        ImageKind::SystemDisk | ImageKind::Iso => true,
    }
}

/// What the caller is to know of an image that can be deployed.
pub(super) fn warnings(chosen: Chosen<'_>) -> Vec<String> {
    fit::warnings(chosen.fit)
        .into_iter()
        .chain(deprecation(chosen))
        .collect()
}

fn deprecation(chosen: Chosen<'_>) -> Option<String> {
    let image = chosen.image;
    if image.state != ImageState::Deprecated {
        return None;
    }
    let mut warning = format!("Image {} is deprecated", image.name);
    if !image.state_reason.is_empty() {
        warning.push_str(": ");
        warning.push_str(image.state_reason.trim_end_matches('.'));
    }
    warning.push('.');
    if let Some(replacement) = chosen.replacement {
        warning.push_str(&format!(" Use {replacement} instead."));
    }
    Some(warning)
}
