//! The firmware's boot entry: written by our own code, read back and compared.
//!
//! [`device_path`] and [`load_option`] are the formats, [`order`] decides, [`loader`] finds the program, [`vars`]
//! reads and writes; [`install`] puts them together.

use std::{collections::BTreeMap, fs, io, path::Path};

use imprint_proto::agent::v1::BootOrderPolicy;

pub mod device_path;
pub mod load_option;
pub mod loader;
pub mod order;
pub mod vars;

pub use device_path::{HardDrive, PartitionSignature};

use device_path::Node;
use load_option::LoadOption;
use loader::Loader;
use vars::{VariableError, Variables};

/// The boot entry can't be made.
#[derive(Debug, thiserror::Error)]
pub enum EfiError {
    /// The machine boots by UEFI and the image can't.
    #[error("this machine booted by UEFI, and the image has no EFI system partition")]
    NoEsp,
    /// The partition has no program.
    #[error("the EFI system partition of the image has no boot loader")]
    NoLoader,
    /// The variables are not there.
    #[error("the firmware's variables are not accessible")]
    Unavailable {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// All numbers are taken.
    #[error("the firmware has no free boot entry")]
    NoFreeNumber,
    /// A variable.
    #[error("the boot entry cannot be written")]
    Variable(#[from] VariableError),
    /// The firmware says something else than what was written.
    #[error("the firmware does not keep {name}: it was written and reads back differently")]
    NotKept {
        /// The variable.
        name: String,
    },
}

impl EfiError {
    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoEsp | Self::NoLoader => {
                "use an image that boots by UEFI, or set the machine's firmware to BIOS (legacy) boot"
            }
            Self::Unavailable { .. } => {
                "check that the ramdisk's kernel was booted with EFI runtime services (no `noefi` or `efi=noruntime`)"
            }
            Self::NoFreeNumber | Self::Variable(_) | Self::NotKept { .. } => {
                "remove unused boot entries in the firmware's setup (its variable store may be full or locked), update the \
                 firmware, then deploy again"
            }
        }
    }
}

/// The entry that is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The program.
    pub loader: &'a Loader,
    /// The partition it is on.
    pub esp: HardDrive,
    /// The place in the order.
    pub policy: BootOrderPolicy,
    /// Partitions that exist now, on all disks.
    pub present: &'a [PartitionSignature],
    /// Partitions that the written disk had before.
    pub formerly_here: &'a [PartitionSignature],
}

/// What was written.
#[derive(Debug)]
pub struct Installed {
    /// "Boot0003 debian \EFI\debian\shimx64.efi", as read back.
    pub text: String,
    /// What is worth keeping: entries removed.
    pub notes: Vec<String>,
}

/// Opens the firmware's variables, mounting their file system when nobody has.
///
/// # Errors
/// When the kernel has none.
pub fn open_variables(firmware: &Path) -> Result<Variables, EfiError> {
    let folder = firmware.join("efivars");
    let empty = || fs::read_dir(&folder).map(|mut entries| entries.next().is_none());
    let unavailable = |source| EfiError::Unavailable { source };
    if empty().map_err(unavailable)? {
        crate::sys::mount::mount_kernel("efivarfs", &folder).map_err(unavailable)?;
    }
    Ok(Variables::at(&folder))
}

/// Writes the entry, the order and the next boot, reads all back, and removes what the entry replaces.
///
/// # Errors
/// When the firmware refuses or forgets.
pub fn install(variables: &Variables, wanted: &Wanted<'_>) -> Result<Installed, EfiError> {
    let option = LoadOption {
        attributes: load_option::ACTIVE,
        description: wanted.loader.label.clone(),
        path: vec![
            Node::HardDrive(wanted.esp),
            Node::FilePath(wanted.loader.efi_path()),
        ],
        optional: Vec::new(),
    };
    let (entries, broken) = variables.boot_entries()?;
    // An entry of an earlier run of this step is taken as it is: the step may be done again.
    let same = entries
        .iter()
        .find(|(_, entry)| **entry == option)
        .map(|(number, _)| *number);
    let number = same
        .or_else(|| order::free_number(&entries, &broken))
        .ok_or(EfiError::NoFreeNumber)?;
    let mut stale = order::stale(
        &entries,
        &option.description,
        &wanted.esp,
        wanted.present,
        wanted.formerly_here,
    );
    stale.retain(|(old, _)| *old != number);
    let gone: Vec<u16> = stale.iter().map(|(old, _)| *old).collect();
    let current = variables
        .read("BootOrder")?
        .map(|bytes| load_option::decode_order(&bytes))
        .unwrap_or_default();
    let plan = order::place(&current, &entries, number, &gone, wanted.policy);

    // First what the order names, last what nothing names any more: the machine can boot at any moment between.
    let name = vars::variable_name(number);
    write_and_compare(variables, &name, &option.encode())?;
    write_and_compare(variables, "BootOrder", &load_option::encode_order(&plan.order))?;
    if let Some(next) = plan.next {
        write_and_compare(variables, "BootNext", &next.to_le_bytes())?;
    }
    let mut notes = Vec::new();
    for (old, reason) in stale {
        variables.remove(&vars::variable_name(old))?;
        notes.push(format!(
            "old boot entry {} removed: {reason}",
            vars::variable_name(old)
        ));
    }
    Ok(Installed {
        text: text(variables, number)?,
        notes,
    })
}

fn write_and_compare(variables: &Variables, name: &str, value: &[u8]) -> Result<(), EfiError> {
    variables.write(name, value)?;
    if variables.read(name)?.as_deref() == Some(value) {
        Ok(())
    } else {
        Err(EfiError::NotKept {
            name: name.to_owned(),
        })
    }
}

fn text(variables: &Variables, number: u16) -> Result<String, EfiError> {
    let name = vars::variable_name(number);
    let entries: BTreeMap<u16, LoadOption> = variables.boot_entries()?.0;
    let option = entries
        .get(&number)
        .ok_or_else(|| EfiError::NotKept { name: name.clone() })?;
    let path = device_path::file_path(&option.path).unwrap_or_default();
    Ok(format!("{name} {} {path}", option.description))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loader() -> Loader {
        Loader {
            path: "EFI/debian/shimx64.efi".into(),
            label: "debian".into(),
            found_by: "test",
        }
    }

    fn drive(id: u8) -> HardDrive {
        let signature = PartitionSignature::Gpt([id; 16]);
        HardDrive {
            partition_number: 15,
            start_lba: 2048,
            size_lba: 4096,
            signature,
        }
    }

    #[test]
    fn writes_an_entry_after_the_network_and_again_without_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::at(folder.path());
        let network = LoadOption {
            attributes: 1,
            description: "UEFI PXEv4".into(),
            path: vec![Node::Other {
                kind: 3,
                subtype: 12,
                data: vec![0; 23],
            }],
            optional: vec![],
        };
        let old = LoadOption {
            attributes: 1,
            description: "debian".into(),
            path: vec![
                Node::HardDrive(drive(1)),
                Node::FilePath("\\EFI\\debian\\grubx64.efi".into()),
            ],
            optional: vec![],
        };
        variables.write("Boot0000", &old.encode()).unwrap();
        variables.write("Boot0001", &network.encode()).unwrap();
        variables.write("Boot0002", b"broken").unwrap();
        variables
            .write("BootOrder", &load_option::encode_order(&[0, 1, 2]))
            .unwrap();
        let loader = loader();
        let present = [drive(9).signature];
        let wanted = Wanted {
            loader: &loader,
            esp: drive(9),
            policy: BootOrderPolicy::NetworkFirst,
            present: &present,
            formerly_here: &[drive(1).signature],
        };
        for run in 0..2 {
            let installed = install(&variables, &wanted).unwrap();
            assert_eq!(installed.text, "Boot0003 debian \\EFI\\debian\\shimx64.efi");
            assert_eq!(installed.notes.len(), usize::from(run == 0));
            let order = load_option::decode_order(&variables.read("BootOrder").unwrap().unwrap());
            assert_eq!(order, [1, 3, 2], "the broken entry keeps its place");
            assert_eq!(variables.read("BootNext").unwrap().unwrap(), [3, 0]);
            assert_eq!(variables.read("Boot0000").unwrap(), None);
            assert_eq!(variables.read("Boot0002").unwrap().unwrap(), b"broken");
        }
    }
}
