//! PCI devices, and the kernel modules that claim them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use imprint_proto::agent::v1::PciDevice;

use super::sysfs;

const MAX_DEVICES: usize = 512;
const MAX_MODULES: usize = 8;
/// Four times what a distribution's kernel has for all devices there are.
const MAX_ALIASES: u64 = 8 << 20;
/// What a chipset consists of: hundreds of functions that no image could need a driver of its own for.
const LEFT_OUT: [&str; 2] = ["06", "08"];
/// Controllers of SD cards, which are in the class of system peripherals.
const SD_HOST: &str = "0805";

/// All PCI devices below a root folder but those of the chipset, by address.
pub(super) fn read(root: &Path) -> Vec<PciDevice> {
    let folder = root.join("sys/bus/pci/devices");
    let aliases = Aliases::read(root);
    sysfs::names(&folder)
        .into_iter()
        .filter_map(|address| device(&folder.join(&address), address, &aliases))
        .take(MAX_DEVICES)
        .collect()
}

fn device(folder: &Path, address: String, aliases: &Aliases) -> Option<PciDevice> {
    let class = id(folder, "class");
    if LEFT_OUT.iter().any(|left_out| class.starts_with(left_out)) && !class.starts_with(SD_HOST) {
        return None;
    }
    let subsystem = |name: &str| {
        Some(id(folder, name))
            .filter(|id| id != "0000")
            .unwrap_or_default()
    };
    Some(PciDevice {
        class,
        vendor_id: id(folder, "vendor"),
        device_id: id(folder, "device"),
        subsystem_vendor_id: subsystem("subsystem_vendor"),
        subsystem_device_id: subsystem("subsystem_device"),
        driver: sysfs::link_name(folder.join("driver")),
        modalias_modules: aliases.modules(&sysfs::value(folder.join("modalias"))),
        address,
    })
}

/// "0x8086" as "8086".
pub(super) fn id(folder: &Path, name: &str) -> String {
    let value = sysfs::value(folder.join(name));
    value.strip_prefix("0x").unwrap_or(&value).to_lowercase()
}

/// Patterns of `modules.alias` for PCI, by the vendor that they begin with; under the empty text those of any vendor.
#[derive(Debug, Default)]
struct Aliases(BTreeMap<String, Vec<(String, String)>>);

/// `pci:v` and eight digits.
const VENDOR: usize = 13;

impl Aliases {
    fn read(root: &Path) -> Self {
        let release = sysfs::value(root.join("proc/sys/kernel/osrelease"));
        let modules = Path::new("lib/modules").join(&release);
        let found = ["", "usr"]
            .into_iter()
            .find_map(|above| File::open(root.join(above).join(&modules).join("modules.alias")).ok());
        let mut aliases = Self::default();
        if release.is_empty() || release.contains('/') {
            return aliases;
        }
        let Some(file) = found else {
            return aliases;
        };
        for line in BufReader::new(file.take(MAX_ALIASES))
            .lines()
            .map_while(Result::ok)
        {
            let mut words = line.split_ascii_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) = (words.next(), words.next(), words.next())
                && pattern.starts_with("pci:")
            {
                let vendor = pattern
                    .get(..VENDOR)
                    .filter(|vendor| !vendor.contains('*'))
                    .unwrap_or_default();
                aliases
                    .0
                    .entry(vendor.to_owned())
                    .or_default()
                    .push((pattern.to_owned(), sysfs::clean(module)));
            }
        }
        aliases
    }

    fn modules(&self, modalias: &str) -> Vec<String> {
        let own = modalias.get(..VENDOR).and_then(|vendor| self.0.get(vendor));
        let any = self.0.get("");
        let mut modules: Vec<String> = [own, any]
            .into_iter()
            .flatten()
            .flatten()
            .filter(|(pattern, _)| matches(pattern.as_bytes(), modalias.as_bytes()))
            .map(|(_, module)| module.clone())
            .collect();
        modules.sort();
        modules.dedup();
        modules.truncate(MAX_MODULES);
        modules
    }
}

/// `*` stands for any letters, everything else for itself: aliases of PCI have no other signs.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut last_star = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, read));
                at += 1;
            }
            Some(letter) if *letter == text[read] => {
                at += 1;
                read += 1;
            }
            // The last star takes one letter more.
            _ => match last_star {
                Some((star, from)) => {
                    last_star = Some((star, from + 1));
                    at = star + 1;
                    read = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_aliases() {
        let device = "pci:v00008086d00001572sv00008086sd00000001bc02sc00i00";
        let cases = [
            ("pci:v00008086d00001572sv*sd*bc*sc*i*", true),
            ("pci:v00008086d00001573sv*sd*bc*sc*i*", false),
            ("pci:v*d*sv*sd*bc02sc00i00*", true),
            ("pci:v*d*sv*sd*bc02sc00i01*", false),
            ("*", true),
            ("", false),
            ("*i0", false),
            ("*i0*", true),
        ];
        for (pattern, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), device.as_bytes()),
                expected,
                "{pattern}"
            );
        }
    }
}
