//! What is known of a server.

use crate::{
    disk::DiskRule,
    facts::{Disk, Inventory},
    model::{Condition, HardwareModel, boot_disks, drivers_of},
};

/// A server as far as it matters to images.
#[derive(Debug, Clone, Copy)]
pub struct NodeFacts<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Whose it is.
    pub project: &'a str,
    /// What its agent read; unset until it has.
    pub inventory: Option<&'a Inventory>,
    /// Its model, if there is one for it.
    pub model: Option<&'a HardwareModel>,
    /// The disk that a request names; without one the model's boot disks are meant.
    pub disk: Option<&'a DiskRule>,
}

impl<'a> NodeFacts<'a> {
    /// "Dell Inc. PowerEdge R650"; empty when it is not known.
    #[must_use]
    pub fn hardware(&self) -> String {
        self.inventory.map(Inventory::hardware).unwrap_or_default()
    }

    /// The name of its model.
    #[must_use]
    pub fn model_name(&self) -> Option<&'a str> {
        self.model.map(|model| model.name.as_str())
    }

    /// The model or the hardware, for people.
    #[must_use]
    pub fn kind(&self) -> String {
        match (self.model_name(), self.hardware()) {
            (_, hardware) if !hardware.is_empty() => hardware,
            (Some(model), _) => model.to_owned(),
            (None, _) => "a server that has not told its model".to_owned(),
        }
    }

    /// The disks that an image could go to.
    #[must_use]
    pub fn candidates(&self) -> Vec<&'a Disk> {
        let Some(inventory) = self.inventory else {
            return Vec::new();
        };
        let rule = self.disk.filter(|rule| !rule.terms.is_empty());
        boot_disks(
            rule.or_else(|| self.model.and_then(|model| model.boot.as_ref())),
            &inventory.disks,
        )
    }

    /// The modules that it takes to start from a disk.
    #[must_use]
    pub fn drivers_of(&self, disk: &Disk) -> Vec<String> {
        self.inventory
            .map(|inventory| drivers_of(disk, inventory))
            .unwrap_or_default()
    }

    /// Modules that every image must have, whatever the disk.
    #[must_use]
    pub fn model_drivers(&self) -> &'a [String] {
        self.model.map_or(&[], |model| model.needs.drivers.as_slice())
    }

    /// The processor's architecture: as the agent saw it, else as the model says; empty when neither is known.
    #[must_use]
    pub fn architecture(&self) -> &'a str {
        if let Some(inventory) = self.inventory {
            return &inventory.cpu.architecture;
        }
        let conditions = self.model.map_or(&[][..], |model| &model.conditions);
        let said = conditions.iter().find_map(|condition| match condition {
            Condition::Architecture(architecture) => Some(architecture.as_str()),
            _ => None,
        });
        said.unwrap_or_default()
    }

    /// The firmware's mode, if it is known.
    #[must_use]
    pub fn firmware_mode(&self) -> Option<&'a str> {
        let mode = self
            .inventory
            .map_or("", |inventory| inventory.firmware.mode.as_str());
        ["uefi", "bios"].into_iter().find(|known| *known == mode)
    }

    /// Whether the firmware starts by this mode: as the agent saw it, else as the model says, else unknown.
    #[must_use]
    pub fn starts_by(&self, mode: &str) -> Option<bool> {
        match self.firmware_mode() {
            Some(runs) => Some(runs == mode),
            None => {
                let allowed = self.model.map(|model| &model.needs.firmware)?;
                (!allowed.is_empty()).then(|| allowed.iter().any(|one| one == mode))
            }
        }
    }

    /// Whether Secure Boot is on: as the agent saw it, else as the model asks for it.
    #[must_use]
    pub fn secure_boot(&self) -> Option<bool> {
        let seen = self
            .inventory
            .and_then(|inventory| inventory.firmware.secure_boot);
        seen.or_else(|| self.model.and_then(|model| model.needs.secure_boot))
    }
}
