//! What the card was asked for: every resource by its name, as a file that survives the card.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use imprint_proto::opi::nvme_namespace_status::{OperState, State};
use imprint_proto::opi::{
    NvmeController, NvmeControllerStatus, NvmeNamespace, NvmeNamespaceStatus, NvmePath, NvmeRemoteController,
    NvmeSubsystem, NvmeSubsystemStatus, VirtioBlk,
};
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::names;

/// All resources, by name.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Books {
    /// Disks of the kind virtio-blk.
    pub virtio_blks: BTreeMap<String, VirtioBlk>,
    /// NVMe subsystems.
    pub subsystems: BTreeMap<String, NvmeSubsystem>,
    /// Their controllers.
    pub controllers: BTreeMap<String, NvmeController>,
    /// Their namespaces.
    pub namespaces: BTreeMap<String, NvmeNamespace>,
    /// Storage systems.
    pub remotes: BTreeMap<String, NvmeRemoteController>,
    /// The ways to them.
    pub paths: BTreeMap<String, NvmePath>,
}

impl Books {
    /// From a file; empty when there is none yet.
    pub fn load(file: &Path) -> Result<Self> {
        match fs::read(file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} holds no books", file.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Into a file, which is the old or the new one, whenever the card dies.
    pub fn save(&self, file: &Path) -> Result<()> {
        let new = file.with_extension("new");
        let text = serde_json::to_vec_pretty(self).context("books are not JSON")?;
        fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, file).with_context(|| format!("cannot replace {}", file.display()))
    }

    /// Whether anything has this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Something below this name.
    pub fn below(&self, name: &str) -> Option<&str> {
        self.names().find(|known| names::is_below(known, name))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let keys = [
            self.virtio_blks.keys().collect::<Vec<_>>(),
            self.subsystems.keys().collect(),
            self.controllers.keys().collect(),
            self.namespaces.keys().collect(),
            self.remotes.keys().collect(),
            self.paths.keys().collect(),
        ];
        keys.into_iter().flatten().map(String::as_str)
    }
}

/// A kind of thing that the card keeps.
pub trait Resource: Clone + PartialEq + Send + 'static {
    /// As names say it.
    const COLLECTION: &'static str;

    /// Where it stands.
    fn shelf(books: &Books) -> &BTreeMap<String, Self>;
    /// The same, to be changed.
    fn shelf_mut(books: &mut Books) -> &mut BTreeMap<String, Self>;
    /// As the caller has asked for it: without name, status and secrets.
    fn asked(self) -> Self;
    /// As the card keeps it.
    fn named(self, name: String) -> Self;
    /// What is wrong with it by itself, whatever else there is.
    fn check(&self) -> Result<(), Status>;
}

impl Resource for VirtioBlk {
    const COLLECTION: &'static str = "virtioBlks";

    fn shelf(books: &Books) -> &BTreeMap<String, Self> {
        &books.virtio_blks
    }

    fn shelf_mut(books: &mut Books) -> &mut BTreeMap<String, Self> {
        &mut books.virtio_blks
    }

    fn asked(mut self) -> Self {
        self.name.clear();
        self
    }

    fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    fn check(&self) -> Result<(), Status> {
        need(self.pcie_id.is_some(), "virtio_blk.pcie_id")?;
        need(!self.volume_name_ref.is_empty(), "virtio_blk.volume_name_ref")
    }
}

impl Resource for NvmeSubsystem {
    const COLLECTION: &'static str = "nvmeSubsystems";

    fn shelf(books: &Books) -> &BTreeMap<String, Self> {
        &books.subsystems
    }

    fn shelf_mut(books: &mut Books) -> &mut BTreeMap<String, Self> {
        &mut books.subsystems
    }

    fn asked(mut self) -> Self {
        self.name.clear();
        self.status = None;
        if let Some(spec) = &mut self.spec {
            spec.psk.clear();
        }
        self
    }

    fn named(mut self, name: String) -> Self {
        self.name = name;
        self.status = Some(NvmeSubsystemStatus {
            firmware_revision: env!("CARGO_PKG_VERSION").to_owned(),
            fru_guid: Vec::new(),
        });
        self
    }

    fn check(&self) -> Result<(), Status> {
        let nqn = self.spec.as_ref().map(|spec| spec.nqn.as_str());
        need(nqn.is_some_and(|nqn| !nqn.is_empty()), "nvme_subsystem.spec.nqn")
    }
}

impl Resource for NvmeController {
    const COLLECTION: &'static str = "nvmeControllers";

    fn shelf(books: &Books) -> &BTreeMap<String, Self> {
        &books.controllers
    }

    fn shelf_mut(books: &mut Books) -> &mut BTreeMap<String, Self> {
        &mut books.controllers
    }

    fn asked(mut self) -> Self {
        self.name.clear();
        self.status = None;
        self
    }

    fn named(mut self, name: String) -> Self {
        self.name = name;
        self.status = Some(NvmeControllerStatus { active: true });
        self
    }

    fn check(&self) -> Result<(), Status> {
        let endpoint = self.spec.as_ref().and_then(|spec| spec.endpoint.as_ref());
        need(endpoint.is_some(), "nvme_controller.spec.pcie_id")
    }
}

impl Resource for NvmeNamespace {
    const COLLECTION: &'static str = "nvmeNamespaces";

    fn shelf(books: &Books) -> &BTreeMap<String, Self> {
        &books.namespaces
    }

    fn shelf_mut(books: &mut Books) -> &mut BTreeMap<String, Self> {
        &mut books.namespaces
    }

    fn asked(mut self) -> Self {
        self.name.clear();
        self.status = None;
        self
    }

    fn named(mut self, name: String) -> Self {
        self.name = name;
        self.status = Some(NvmeNamespaceStatus {
            state: State::Enabled.into(),
            oper_state: OperState::Online.into(),
        });
        self
    }

    fn check(&self) -> Result<(), Status> {
        let volume = self.spec.as_ref().map(|spec| spec.volume_name_ref.as_str());
        let named = volume.is_some_and(|volume| !volume.is_empty());
        need(named, "nvme_namespace.spec.volume_name_ref")
    }
}

impl Resource for NvmeRemoteController {
    const COLLECTION: &'static str = "nvmeRemoteControllers";

    fn shelf(books: &Books) -> &BTreeMap<String, Self> {
        &books.remotes
    }

    fn shelf_mut(books: &mut Books) -> &mut BTreeMap<String, Self> {
        &mut books.remotes
    }

    fn asked(mut self) -> Self {
        self.name.clear();
        if let Some(tcp) = &mut self.tcp {
            tcp.psk.clear();
        }
        self
    }

    fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    fn check(&self) -> Result<(), Status> {
        Ok(())
    }
}

impl Resource for NvmePath {
    const COLLECTION: &'static str = "nvmePaths";

    fn shelf(books: &Books) -> &BTreeMap<String, Self> {
        &books.paths
    }

    fn shelf_mut(books: &mut Books) -> &mut BTreeMap<String, Self> {
        &mut books.paths
    }

    fn asked(mut self) -> Self {
        self.name.clear();
        self
    }

    fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    fn check(&self) -> Result<(), Status> {
        need(!self.traddr.is_empty(), "nvme_path.traddr")?;
        let fabrics = self.fabrics.as_ref();
        let export = fabrics.is_some_and(|fabrics| !fabrics.subnqn.is_empty());
        need(export, "nvme_path.fabrics.subnqn")?;
        let port = fabrics.is_some_and(|fabrics| u16::try_from(fabrics.trsvcid).is_ok_and(|port| port > 0));
        need(port, "nvme_path.fabrics.trsvcid")
    }
}

fn need(there: bool, field: &str) -> Result<(), Status> {
    match there {
        true => Ok(()),
        false => Err(Status::invalid_argument(format!(
            "{field} is missing, or no value for it"
        ))),
    }
}
