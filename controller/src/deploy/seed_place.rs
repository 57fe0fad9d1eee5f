//! Where cloud-init's seed goes when nobody can write the root of the image, and what becomes of the deployment then. Pure
//! but for the reading of what is known.

use imprint_image::facts::VolumeFacts;

use super::{
    Deployments, error::DeployError, finish_options::DataSource, image_rules, image_users::ImageUsers,
    request::DeployRequest,
};
use crate::{
    catalog::{Image, ImageState},
    events::doing,
};

/// What holds file systems that the agent cannot reach.
const SEALS: [(&str, &str); 2] = [("luks", "LUKS"), ("linux_raid", "a Linux RAID")];
/// What the agent may find a root in, though the import could not.
const OPEN: [&str; 3] = ["xfs", "btrfs", "lvm2"];

/// Why a deployment cannot be as it is wanted on an image whose root cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// The seed has no place.
    NoPlace(String),
    /// Users of the image keep their access.
    Users(String),
}

impl Sealed {
    /// Cause, as a sentence.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::NoPlace(why) => format!(
                "The root of the image cannot be written ({why}), and cloud-init's seed is to have no partition of its own."
            ),
            Self::Users(why) => format!(
                "The root of the image cannot be written ({why}): its users cannot lose their access."
            ),
        }
    }

    /// What the caller can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoPlace(_) => {
                "Leave out seed_partition, or write the image and nothing else: --no-finish (API: `\"finish\": false`)."
            }
            Self::Users(_) => "Repeat with --image-users keep, and let user-data do it.",
        }
    }
}

/// Why the root on these volumes cannot be written, when that is certain.
pub(super) fn seal(volumes: &[VolumeFacts]) -> Option<String> {
    let kind = |volume: &VolumeFacts| volume.kind.clone().unwrap_or_default();
    // An ext4 that was not read may be the root all the same.
    let unread =
        |volume: &VolumeFacts| kind(volume).starts_with("ext") && volume.used_bytes.known().is_none();
    let may_be_root = |volume: &VolumeFacts| {
        volume.mounted_at.as_deref() == Some("/") || OPEN.contains(&kind(volume).as_str()) || unread(volume)
    };
    if volumes.iter().any(may_be_root) {
        return None;
    }
    volumes.iter().find_map(|volume| {
        let (_, name) = SEALS.iter().find(|(seal, _)| *seal == kind(volume))?;
        Some(match volume.partition {
            Some(number) => format!("partition {number} is {name}"),
            None => format!("the disk is {name}"),
        })
    })
}

/// The decision.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The agent may make a partition for it.
    pub partition: bool,
    /// What the caller is to know.
    pub warnings: Vec<String>,
}

/// Decides for a deployment that makes a system. `sealed`: why its root cannot be written, when that is certain.
pub(super) fn decide(
    request: &DeployRequest,
    sealed: Option<&str>,
    source: DataSource,
    users: ImageUsers,
) -> Result<Place, Sealed> {
    let place = |partition, warnings| Ok(Place { partition, warnings });
    let label = match source {
        DataSource::Nocloud => "CIDATA",
        DataSource::ConfigDrive => "config-2",
    };
    let Some(why) = sealed else {
        return match request.seed_partition {
            Some(true) => place(
                true,
                vec![format!(
                    "If no root file system of the image can be written, cloud-init's seed goes to a partition with the label \
                     {label}, which whoever has the disk can read, and the deployment ends without a report of the first boot."
                )],
            ),
            _ => place(false, Vec::new()),
        };
    };
    if request.seed_partition == Some(false) {
        return Err(Sealed::NoPlace(why.to_owned()));
    }
    if users != ImageUsers::Keep {
        return Err(Sealed::Users(why.to_owned()));
    }
    let mut warnings = vec![
        format!(
            "The root of the image cannot be written ({why}): cloud-init's seed goes to a partition with the label {label}, which \
             whoever has the disk can read, and stays there until it is removed."
        ),
        "There is no guest plugin in such a system: the deployment ends when the disk is written and verified, without a report \
         of the first boot."
            .to_owned(),
    ];
    if !request.kernel_arguments.is_empty() {
        warnings.push(
            "The arguments for the kernel are not added: the root of the image cannot be written.".to_owned(),
        );
    }
    place(true, warnings)
}

impl Deployments {
    /// Why the root of an image cannot be written, when its facts say so for certain.
    pub(super) async fn sealed_root(
        &self,
        request: &DeployRequest,
        image: &Image,
    ) -> Result<Option<String>, DeployError> {
        let role = request.role.as_deref().filter(|role| !role.is_empty());
        let known = matches!(image.state, ImageState::Active | ImageState::Deprecated);
        let Some(disk) = image
            .disk(role)
            .filter(|disk| known && image_rules::has_system(image, disk))
        else {
            return Ok(None);
        };
        let volumes: Option<Option<String>> =
            sqlx::query_scalar("SELECT json_extract(facts, '$.volumes') FROM manifests WHERE manifest = ?")
                .bind(&disk.manifest)
                .fetch_optional(&self.db)
                .await
                .map_err(doing("read what is known of the image"))?;
        // What another version wrote and this one cannot read was not looked at.
        let volumes: Option<Vec<VolumeFacts>> = volumes
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(volumes.and_then(|volumes| seal(&volumes)))
    }
}

#[cfg(test)]
mod tests {
    use imprint_image::facts::Fact;

    use super::*;

    fn volume(partition: u32, kind: &str, mounted_at: Option<&str>) -> VolumeFacts {
        VolumeFacts {
            partition: Some(partition),
            kind: Some(kind.to_owned()).filter(|kind| !kind.is_empty()),
            label: String::new(),
            uuid: String::new(),
            mounted_at: mounted_at.map(str::to_owned),
            size_bytes: 1,
            used_bytes: Fact::Known(1),
            unclean: false,
        }
    }

    #[test]
    fn a_root_is_sealed_only_when_it_can_be_nowhere_else() {
        let (esp, boot) = (volume(1, "fat32", None), volume(2, "ext4", Some("/boot")));
        let luks = volume(3, "luks", None);
        let of = |volumes: &[&VolumeFacts]| seal(&volumes.iter().map(|v| (*v).clone()).collect::<Vec<_>>());
        assert_eq!(of(&[&esp, &boot, &luks]).unwrap(), "partition 3 is LUKS");
        assert_eq!(
            of(&[&volume(1, "linux_raid", None)]).unwrap(),
            "partition 1 is a Linux RAID"
        );
        let unread = VolumeFacts {
            used_bytes: Fact::Unknown("meta_bg".to_owned()),
            ..volume(2, "ext4", None)
        };
        for open in [
            volume(4, "ext4", Some("/")),
            volume(4, "xfs", None),
            volume(4, "btrfs", None),
            volume(4, "lvm2", None),
            unread,
        ] {
            assert_eq!(of(&[&esp, &luks, &open]), None, "{open:?}");
        }
        // Nobody knows what that is: the agent looks, and says.
        assert_eq!(of(&[&esp, &volume(2, "", None), &volume(3, "ntfs", None)]), None);
        assert_eq!(seal(&[]), None);
    }

    #[test]
    fn the_image_decides_unless_the_request_does() {
        let asked = |seed_partition, sealed, users| {
            let request = DeployRequest {
                seed_partition,
                ..DeployRequest::default()
            };
            decide(&request, sealed, DataSource::Nocloud, users)
        };
        let keep = ImageUsers::Keep;
        let place = asked(None, None, keep).unwrap();
        assert_eq!((place.partition, place.warnings.len()), (false, 0));
        assert!(!asked(Some(false), None, keep).unwrap().partition);
        let place = asked(Some(true), None, ImageUsers::RemoveKeys).unwrap();
        assert!(
            place.partition && place.warnings[0].starts_with("If no root"),
            "{place:?}"
        );
        for wanted in [None, Some(true)] {
            let place = asked(wanted, Some("partition 3 is LUKS"), keep).unwrap();
            assert!(place.partition);
            let said = place.warnings.join(" ");
            assert!(
                said.contains("(partition 3 is LUKS)") && said.contains("CIDATA"),
                "{said}"
            );
            assert!(said.contains("without a report of the first boot"), "{said}");
        }
        let refused = asked(Some(false), Some("x"), keep).unwrap_err();
        assert_eq!(refused, Sealed::NoPlace("x".to_owned()));
        let refused = asked(None, Some("x"), ImageUsers::LockPasswords).unwrap_err();
        assert!(
            refused.cause().contains("(x)") && refused.remedy().contains("keep"),
            "{refused:?}"
        );
    }
}
