//! What disks are chosen by, and how each fact is spelled.

use crate::facts::Disk;

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Serial number.
    Serial,
    /// World wide name, whole: with the vendor's extension where there is one.
    Wwn,
    /// The first 64 bits of a world wide name, as udev's `ID_WWN` has them.
    WwnBase,
    /// The vendor's extension of a world wide name of 128 bits, as udev's `ID_WWN_VENDOR_EXTENSION` has it.
    WwnExtension,
    /// NVMe NGUID or EUI-64.
    Nguid,
    /// NVMe EUI-64.
    Eui64,
    /// Model.
    Model,
    /// Vendor.
    Vendor,
    /// `nvme`, `sata`, `sas`, `scsi`, `virtio`, `usb`, `raid`, `iscsi`, `mmc`.
    Transport,
    /// PCI address of the controller it hangs on.
    Pci,
    /// Link below `/dev/disk/by-path`.
    Path,
    /// SCSI address.
    Hctl,
    /// Volume of an SDI card.
    Volume,
    /// Size in bytes.
    Size,
    /// Logical sector size in bytes.
    Sector,
    /// Whether it turns.
    Rotational,
}

impl Fact {
    /// All facts, in the order in which messages list them.
    pub const ALL: [Self; 16] = [
        Self::Serial,
        Self::Wwn,
        Self::WwnBase,
        Self::WwnExtension,
        Self::Nguid,
        Self::Eui64,
        Self::Model,
        Self::Vendor,
        Self::Transport,
        Self::Pci,
        Self::Path,
        Self::Hctl,
        Self::Volume,
        Self::Size,
        Self::Sector,
        Self::Rotational,
    ];

    /// The key in a rule.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Wwn => "wwn",
            Self::WwnBase => "wwn-base",
            Self::WwnExtension => "wwn-extension",
            Self::Nguid => "nguid",
            Self::Eui64 => "eui64",
            Self::Model => "model",
            Self::Vendor => "vendor",
            Self::Transport => "transport",
            Self::Pci => "pci",
            Self::Path => "path",
            Self::Hctl => "hctl",
            Self::Volume => "volume",
            Self::Size => "size",
            Self::Sector => "sector",
            Self::Rotational => "rotational",
        }
    }

    /// The fact with this key.
    #[must_use]
    pub fn named(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|fact| fact.key().eq_ignore_ascii_case(key))
    }

    /// The number, for a fact that is counted.
    #[must_use]
    pub fn number(self, disk: &Disk) -> Option<u64> {
        match self {
            Self::Size => Some(disk.size_bytes),
            Self::Sector => Some(disk.logical_sector_bytes.into()),
            _ => None,
        }
    }

    /// Every way in which the fact is written, the usual one first. Empty when the disk does not tell it.
    #[must_use]
    pub fn spellings(self, disk: &Disk) -> Vec<String> {
        let one = |text: &str| vec![text.trim().to_owned()];
        let mut found = match self {
            Self::Serial => one(&disk.serial),
            Self::Wwn => wide_name(&disk.wwn),
            Self::WwnBase => base(&disk.wwn),
            Self::WwnExtension => extension(&disk.wwn),
            Self::Nguid => hexadecimal(&disk.nguid),
            Self::Eui64 => hexadecimal(&disk.eui64),
            Self::Model => one(&disk.model),
            Self::Vendor => one(&disk.vendor),
            Self::Transport => one(&disk.transport),
            Self::Pci => pci(&disk.pci_address),
            Self::Path => path(&disk.by_path),
            Self::Hctl => one(&disk.hctl),
            Self::Volume => one(&disk.volume_id),
            Self::Size | Self::Sector => self.number(disk).iter().map(u64::to_string).collect(),
            Self::Rotational => one(if disk.rotational { "true" } else { "false" }),
        };
        found.retain(|text| !text.is_empty());
        found
    }
}

/// The digits of a registered name of the SCSI world. Others ("eui.…", "t10.…", "uuid.…") are what they are.
fn naa_digits(wwn: &str) -> Option<&str> {
    wwn.strip_prefix("naa.")
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The kernel writes `naa.5000…`, udev and labels on drives write `0x5000…` or the digits alone.
fn wide_name(wwn: &str) -> Vec<String> {
    let mut found = vec![wwn.to_owned()];
    if let Some(digits) = naa_digits(wwn) {
        found.extend([format!("0x{digits}"), digits.to_owned()]);
    }
    found
}

fn base(wwn: &str) -> Vec<String> {
    match naa_digits(wwn) {
        Some(digits) => vec![format!("0x{}", &digits[..digits.len().min(16)])],
        None => vec![wwn.to_owned()],
    }
}

fn extension(wwn: &str) -> Vec<String> {
    let rest = naa_digits(wwn).and_then(|digits| digits.get(16..));
    rest.filter(|rest| !rest.is_empty())
        .map(|rest| vec![format!("0x{rest}")])
        .unwrap_or_default()
}

fn hexadecimal(id: &str) -> Vec<String> {
    if id.is_empty() {
        return Vec::new();
    }
    vec![id.to_owned(), format!("0x{id}"), format!("eui.{id}")]
}

/// `lspci` leaves out the domain 0000.
fn pci(address: &str) -> Vec<String> {
    let mut found = vec![address.to_owned()];
    found.extend(address.strip_prefix("0000:").map(ToOwned::to_owned));
    found
}

fn path(link: &str) -> Vec<String> {
    if link.is_empty() {
        return Vec::new();
    }
    vec![link.to_owned(), format!("/dev/disk/by-path/{link}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_all_their_spellings() {
        let disk = Disk {
            wwn: "naa.600508b400105e210000900000490000".to_owned(),
            nguid: "00a0".to_owned(),
            pci_address: "0000:3b:00.0".to_owned(),
            by_path: "pci-0000:3b:00.0-nvme-1".to_owned(),
            logical_sector_bytes: 4096,
            ..Disk::default()
        };
        for (fact, expected) in [
            (
                Fact::Wwn,
                &[
                    "naa.600508b400105e210000900000490000",
                    "0x600508b400105e210000900000490000",
                    "600508b400105e210000900000490000",
                ][..],
            ),
            (Fact::WwnBase, &["0x600508b400105e21"]),
            (Fact::WwnExtension, &["0x0000900000490000"]),
            (Fact::Nguid, &["00a0", "0x00a0", "eui.00a0"]),
            (Fact::Eui64, &[]),
            (Fact::Pci, &["0000:3b:00.0", "3b:00.0"]),
            (
                Fact::Path,
                &[
                    "pci-0000:3b:00.0-nvme-1",
                    "/dev/disk/by-path/pci-0000:3b:00.0-nvme-1",
                ],
            ),
            (Fact::Sector, &["4096"]),
            (Fact::Rotational, &["false"]),
            (Fact::Serial, &[]),
        ] {
            assert_eq!(fact.spellings(&disk), expected, "{}", fact.key());
        }
        let short = Disk {
            wwn: "naa.5000c500a1b2c3d4".to_owned(),
            ..Disk::default()
        };
        assert_eq!(Fact::WwnBase.spellings(&short), ["0x5000c500a1b2c3d4"]);
        assert!(Fact::WwnExtension.spellings(&short).is_empty());
        let nvme = Disk {
            wwn: "eui.0025385".to_owned(),
            ..Disk::default()
        };
        assert_eq!(Fact::WwnBase.spellings(&nvme), ["eui.0025385"]);
    }

    #[test]
    fn every_fact_has_its_own_key() {
        for fact in Fact::ALL {
            assert_eq!(Fact::named(&fact.key().to_uppercase()), Some(fact));
        }
        assert_eq!(Fact::named("name"), None);
    }
}
