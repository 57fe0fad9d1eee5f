//! What the server is to see, from the books alone. Pure.

use std::collections::BTreeMap;

use imprint_proto::opi::{NvmeNamespace, PciEndpoint, nvme_controller_spec::Endpoint};
use tonic::Status;

use super::Serial;
use super::books::Books;
use super::names;
use super::relay::Address;

/// What a remote controller's one namespace is called.
pub const REMOTE_NAMESPACE: &str = "1";
/// A serial number has no more characters, in virtio-blk as in NVMe.
const SERIAL: usize = 20;
/// What all disks call themselves on cards that are so: as qemu-storage-daemon has it.
const FIXED_SERIAL: &str = "vhost_user_blk";

/// A card as it was built.
#[derive(Debug, Clone)]
pub struct Layout {
    /// PCI functions.
    pub functions: u8,
    /// What disks call themselves.
    pub serial: Serial,
    /// Where exports are that are named without a remote controller; a card without a server needs none.
    pub storage: Option<Address>,
    /// Whether there is a server to show disks to.
    pub has_server: bool,
}

/// Disks by PCI function.
pub type Wanted = BTreeMap<u8, Disk>;

/// A disk that the server is to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The resource that asks for it.
    pub name: String,
    /// As what.
    pub kind: Kind,
    /// What it says of itself.
    pub serial: Option<String>,
    /// What is behind it.
    pub volume: Volume,
}

/// What a server takes a disk for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// virtio-blk.
    VirtioBlk,
    /// NVMe.
    Nvme,
}

/// A volume on the storage network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The ways to it, the first one that works is taken.
    pub addresses: Vec<Address>,
    /// The export's name.
    pub export: String,
}

/// What is wanted, or why the books contradict themselves or this card.
pub fn wanted(books: &Books, layout: &Layout) -> Result<Wanted, Status> {
    let mut wanted = Wanted::new();
    let mut taken = BTreeMap::new();
    for (name, disk) in &books.virtio_blks {
        let function = function(disk.pcie_id.as_ref(), layout)?;
        take(&mut taken, function, name)?;
        let disk = Disk {
            name: name.clone(),
            kind: Kind::VirtioBlk,
            serial: serial(names::last(name), Kind::VirtioBlk, layout.serial),
            volume: volume(&disk.volume_name_ref, books, layout)?,
        };
        wanted.insert(function, disk);
    }
    one_nqn_each(books)?;
    for (name, controller) in &books.controllers {
        let Some(spec) = &controller.spec else { continue };
        let Some(Endpoint::PcieId(pci)) = &spec.endpoint else {
            return Err(Status::invalid_argument(
                "this card shows NVMe on PCI functions only",
            ));
        };
        let function = function(Some(pci), layout)?;
        take(&mut taken, function, name)?;
        let subsystem = names::parent(name);
        let Some(namespace) = only_namespace(subsystem, books)? else {
            continue;
        };
        let spec = books
            .subsystems
            .get(subsystem)
            .and_then(|found| found.spec.as_ref());
        let says = spec.map_or("", |spec| spec.serial_number.as_str());
        let says = if says.is_empty() {
            names::last(subsystem)
        } else {
            says
        };
        let reference = namespace.spec.as_ref().map_or("", |spec| &spec.volume_name_ref);
        let disk = Disk {
            name: name.clone(),
            kind: Kind::Nvme,
            serial: serial(says, Kind::Nvme, layout.serial),
            volume: volume(reference, books, layout)?,
        };
        wanted.insert(function, disk);
    }
    for namespace in books.namespaces.values() {
        let reference = namespace.spec.as_ref().map_or("", |spec| &spec.volume_name_ref);
        volume(reference, books, layout)?;
    }
    Ok(wanted)
}

/// The function that an endpoint names.
fn function(endpoint: Option<&PciEndpoint>, layout: &Layout) -> Result<u8, Status> {
    let Some(endpoint) = endpoint else {
        return Err(Status::invalid_argument("pcie_id is missing"));
    };
    let number = |value: Option<i32>| value.unwrap_or_default();
    let known = u8::try_from(number(endpoint.physical_function))
        .ok()
        .filter(|function| *function < layout.functions)
        .filter(|_| number(endpoint.port_id) == 0 && number(endpoint.virtual_function) == 0);
    known.ok_or_else(|| {
        Status::invalid_argument(format!(
            "this card has no function {} (virtual {}) on port {}: its port 0 has the physical functions 0 to {}",
            number(endpoint.physical_function),
            number(endpoint.virtual_function),
            number(endpoint.port_id),
            layout.functions - 1
        ))
    })
}

fn take<'a>(taken: &mut BTreeMap<u8, &'a str>, function: u8, name: &'a str) -> Result<(), Status> {
    match taken.insert(function, name) {
        Some(other) => Err(Status::failed_precondition(format!(
            "function {function} is taken by {other}"
        ))),
        None => Ok(()),
    }
}

fn one_nqn_each(books: &Books) -> Result<(), Status> {
    let mut seen = BTreeMap::new();
    for (name, subsystem) in &books.subsystems {
        let nqn = subsystem.spec.as_ref().map_or("", |spec| &spec.nqn);
        if let Some(other) = seen.insert(nqn, name) {
            return Err(Status::already_exists(format!("{other} has the NQN {nqn}")));
        }
    }
    Ok(())
}

/// The virtual server's NVMe device has one namespace.
fn only_namespace<'a>(subsystem: &str, books: &'a Books) -> Result<Option<&'a NvmeNamespace>, Status> {
    let mut of_subsystem = books
        .namespaces
        .iter()
        .filter(|(name, _)| names::is_below(name, subsystem));
    let first = of_subsystem.next();
    match of_subsystem.next() {
        Some(_) => Err(Status::resource_exhausted(format!(
            "{subsystem} has a namespace, and this card shows one"
        ))),
        None => Ok(first.map(|(_, namespace)| namespace)),
    }
}

fn serial(says: &str, kind: Kind, mode: Serial) -> Option<String> {
    match (mode, kind) {
        (Serial::None, Kind::VirtioBlk) => None,
        // An NVMe disk without a serial number can't be.
        (Serial::None, Kind::Nvme) => Some("0".to_owned()),
        (Serial::Fixed, _) => Some(FIXED_SERIAL.to_owned()),
        (Serial::Volume, _) => Some(says.chars().take(SERIAL).collect()),
    }
}

/// What a `volume_name_ref` means.
fn volume(reference: &str, books: &Books, layout: &Layout) -> Result<Volume, Status> {
    let refused = |why: String| Err(Status::failed_precondition(why));
    if !reference.starts_with("nvmeRemoteControllers/") {
        return match (&layout.storage, layout.has_server) {
            (None, true) => refused(format!(
                "the volume {reference} is named without a remote controller, and this card has no storage of its own"
            )),
            (storage, _) => Ok(Volume {
                addresses: storage.iter().cloned().collect(),
                export: reference.to_owned(),
            }),
        };
    }
    let remote = names::parent(reference);
    if !books.remotes.contains_key(remote) || names::last(reference) != REMOTE_NAMESPACE {
        return refused(format!("there is no volume {reference}"));
    }
    let mut export = None;
    let mut addresses = Vec::new();
    for (_, path) in books
        .paths
        .iter()
        .filter(|(name, _)| names::is_below(name, remote))
    {
        let Some(fabrics) = &path.fabrics else { continue };
        if *export.get_or_insert(&fabrics.subnqn) == &fabrics.subnqn {
            let port = u16::try_from(fabrics.trsvcid).unwrap_or_default();
            addresses.push(Address::Tcp(path.traddr.clone(), port));
        }
    }
    match export {
        Some(export) => Ok(Volume {
            addresses,
            export: export.clone(),
        }),
        None => refused(format!("{remote} has no path")),
    }
}

#[cfg(test)]
mod tests {
    use imprint_proto::opi::{
        FabricsPath, NvmeController, NvmeControllerSpec, NvmeNamespaceSpec, NvmePath, NvmeRemoteController,
        NvmeSubsystem, NvmeSubsystemSpec, VirtioBlk,
    };
    use tonic::Code;

    use super::*;

    fn layout() -> Layout {
        Layout {
            functions: 2,
            serial: Serial::Volume,
            storage: Some(Address::Tcp("storage".into(), 10809)),
            has_server: true,
        }
    }

    fn pci(function: i32) -> PciEndpoint {
        PciEndpoint {
            physical_function: Some(function),
            ..PciEndpoint::default()
        }
    }

    fn blk(function: i32, volume: &str) -> VirtioBlk {
        VirtioBlk {
            pcie_id: Some(pci(function)),
            volume_name_ref: volume.to_owned(),
            ..VirtioBlk::default()
        }
    }

    fn books_of(disks: &[(&str, VirtioBlk)]) -> Books {
        let mut books = Books::default();
        for (name, disk) in disks {
            books.virtio_blks.insert((*name).to_owned(), disk.clone());
        }
        books
    }

    #[test]
    fn a_function_has_one_disk() {
        let one = ("virtioBlks/a123456789012345678901234", blk(1, "export"));
        let found = wanted(&books_of(std::slice::from_ref(&one)), &layout()).unwrap();
        assert_eq!(found[&1].serial.as_deref(), Some("a1234567890123456789"));
        assert_eq!(found[&1].volume.export, "export");

        let both = books_of(&[one, ("virtioBlks/b", blk(1, "other"))]);
        assert_eq!(
            wanted(&both, &layout()).unwrap_err().code(),
            Code::FailedPrecondition
        );
        for unknown in [2, -1, 300] {
            let books = books_of(&[("virtioBlks/a", blk(unknown, "export"))]);
            assert_eq!(
                wanted(&books, &layout()).unwrap_err().code(),
                Code::InvalidArgument
            );
        }
    }

    #[test]
    fn an_nvme_disk_needs_controller_and_namespace() {
        let mut books = Books::default();
        let spec = NvmeSubsystemSpec {
            nqn: "nqn.2026-01.example:s".into(),
            serial_number: "VOLUME-1".into(),
            ..NvmeSubsystemSpec::default()
        };
        let subsystem = NvmeSubsystem {
            spec: Some(spec),
            ..NvmeSubsystem::default()
        };
        books.subsystems.insert("nvmeSubsystems/s".into(), subsystem);
        let spec = NvmeControllerSpec {
            endpoint: Some(Endpoint::PcieId(pci(0))),
            ..NvmeControllerSpec::default()
        };
        let controller = NvmeController {
            spec: Some(spec),
            ..NvmeController::default()
        };
        let name = "nvmeSubsystems/s/nvmeControllers/c";
        books.controllers.insert(name.into(), controller);
        assert!(wanted(&books, &layout()).unwrap().is_empty());
        books.virtio_blks.insert("virtioBlks/a".into(), blk(0, "export"));
        let taken = wanted(&books, &layout()).unwrap_err();
        assert_eq!(taken.code(), Code::FailedPrecondition, "{taken}");
        books.virtio_blks.clear();

        let spec = NvmeNamespaceSpec {
            volume_name_ref: "nvmeRemoteControllers/r/nvmeRemoteNamespaces/1".into(),
            ..NvmeNamespaceSpec::default()
        };
        let namespace = NvmeNamespace {
            spec: Some(spec),
            ..NvmeNamespace::default()
        };
        let name = "nvmeSubsystems/s/nvmeNamespaces/n";
        books.namespaces.insert(name.into(), namespace);
        assert_eq!(
            wanted(&books, &layout()).unwrap_err().code(),
            Code::FailedPrecondition
        );
        let remote = NvmeRemoteController::default();
        books.remotes.insert("nvmeRemoteControllers/r".into(), remote);
        for (path, traddr) in [("p1", "10.0.0.1"), ("p2", "10.0.0.2")] {
            let fabrics = FabricsPath {
                subnqn: "export".into(),
                trsvcid: 4420,
                ..FabricsPath::default()
            };
            let way = NvmePath {
                traddr: traddr.into(),
                fabrics: Some(fabrics),
                ..NvmePath::default()
            };
            let name = format!("nvmeRemoteControllers/r/nvmePaths/{path}");
            books.paths.insert(name, way);
        }
        let disk = &wanted(&books, &layout()).unwrap()[&0];
        assert_eq!(
            (disk.kind, disk.serial.as_deref()),
            (Kind::Nvme, Some("VOLUME-1"))
        );
        assert_eq!(disk.volume.export, "export");
        assert_eq!(disk.volume.addresses.len(), 2);
    }

    #[test]
    fn serials_are_as_cards_differ() {
        let cases = [
            (Serial::None, Kind::VirtioBlk, None),
            (Serial::None, Kind::Nvme, Some("0")),
            (Serial::Fixed, Kind::VirtioBlk, Some("vhost_user_blk")),
            (Serial::Volume, Kind::Nvme, Some("v")),
        ];
        for (mode, kind, expected) in cases {
            assert_eq!(serial("v", kind, mode).as_deref(), expected);
        }
    }
}
