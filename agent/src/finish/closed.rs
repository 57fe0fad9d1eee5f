//! Systems whose root cannot be written: LUKS, RAID, ZFS, thin pools, file systems that are not known.
//!
//! cloud-init's seed goes to a partition of its own at the end of the disk, which cloud-init finds by its label. Whatever
//! else the steps do in files of the root is left out, and told. An interrupted step is done again with the same result:
//! the partition is found by its label, or by its entry in the table, and written as a whole.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::{Disk, FinishPlan, SeedLayout};
use uuid::Uuid;

use super::{
    Done, FinishError, Places, WrittenDisk,
    layout::{Closed, System, find_system},
    network, seed,
    settle::{self, PartitionNode},
    table::{
        Scheme,
        room::{self, RoomError, SEED_BYTES},
    },
};
use crate::inventory;

mod volume;

/// What cloud-init looks for: NoCloud, and ConfigDrive.
const LABELS: [&str; 2] = ["CIDATA", "config-2"];

/// A seed has no place on a disk whose root cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ClosedError {
    /// There is no room.
    #[error("no partition can be made for cloud-init's seed")]
    Room(#[from] RoomError),
    /// They are in files that can't be reached.
    #[error("users of the image are to lose their access, and its root cannot be written")]
    Users,
    /// It would be lost.
    #[error(
        "a ConfigDrive has no place for network-config version 2, and the root of the image cannot be written"
    )]
    Network,
    /// The partition can't be written.
    #[error("cannot write the seed partition {device}")]
    Volume {
        /// Its device file.
        device: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An earlier step has made it.
    #[error("the seed partition is gone")]
    Gone,
}

impl ClosedError {
    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Room(_) => {
                "take a disk that is larger than the image by 8 MiB or more, or an image with a GPT, or deploy it without \
                 finishing (finish: false)"
            }
            Self::Users => "deploy it with --image-users keep, and let user-data do it",
            Self::Network => {
                "give the network as OpenStack's network_data.json, or deploy with --data-source nocloud"
            }
            Self::Volume { .. } | Self::Gone => {
                "look at the kernel's messages on the machine's console for faults of the disk, then deploy again"
            }
        }
    }
}

/// Makes the partition for the seed. The table keeps the identifiers of the image.
///
/// # Errors
/// See [`FinishError`].
pub(super) fn partitions(
    places: &Places,
    disk: &WrittenDisk,
    plan: &FinishPlan,
) -> Result<(Closed, Done), FinishError> {
    if plan.remove_image_keys || plan.lock_image_passwords {
        return Err(ClosedError::Users.into());
    }
    // Nothing is changed for what fails in the next step.
    contents(plan)?;
    let mut closed = find(places, disk)?;
    let mut words = vec![format!("the root cannot be written: {}", closed.seen)];
    if seed_node(places, disk, &closed)?.is_none() {
        let number = make(places, disk)?;
        closed = find(places, disk)?;
        words.push(format!(
            "partition {number} of {} MiB made for cloud-init's seed",
            SEED_BYTES >> 20
        ));
    } else {
        words.push("there is a partition for cloud-init's seed".to_owned());
    }
    let mut notes = vec![
        "disk and partitions keep the identifiers of the image: the root may name them and cannot be looked into"
            .to_owned(),
    ];
    if plan.grow_root {
        notes.push(
            "the root keeps its size; the room up to the seed partition is left to the installed system"
                .to_owned(),
        );
    }
    if plan.fresh_uuids {
        notes.push("file systems keep the UUIDs of the image: the root cannot be looked into".to_owned());
    }
    let done = Done {
        detail: words.join("; "),
        notes,
    };
    Ok((closed, done))
}

fn find(places: &Places, disk: &WrittenDisk) -> Result<Closed, FinishError> {
    match find_system(places, disk)? {
        System::Closed(closed) => Ok(closed),
        // It had none a moment ago.
        System::Open(_) => Err(ClosedError::Gone.into()),
    }
}

fn make(places: &Places, disk: &WrittenDisk) -> Result<u32, FinishError> {
    let kernel = |source| FinishError::Kernel {
        disk: disk.name.clone(),
        source,
    };
    let mut file = settle::open_exclusive(&places.device(disk)).map_err(kernel)?;
    let unique = Uuid::new_v4().to_bytes_le();
    let number = room::add(&mut file, disk.sector_bytes, unique).map_err(ClosedError::from)?;
    file.sync_all().map_err(kernel)?;
    settle::reread(&file).map_err(kernel)?;
    Ok(number)
}

/// The partition for the seed: one with such a label, the image's own too, else the one that was made and not written yet.
fn seed_node<'a>(
    places: &Places,
    disk: &WrittenDisk,
    closed: &'a Closed,
) -> Result<Option<&'a PartitionNode>, FinishError> {
    if closed.table.scheme == Scheme::None {
        return Ok(None);
    }
    let esp = closed.esp.as_ref().map(|esp| esp.node.number);
    let labelled = closed.partitions.iter().find(|node| {
        node.number != 0
            && Some(node.number) != esp
            && node.size_bytes >= SEED_BYTES
            && File::open(&node.path)
                .ok()
                .and_then(|file| inventory::volume(&file, node.size_bytes))
                .is_some_and(|volume| volume.kind == "vfat" && is_seed_label(&volume.label))
    });
    if labelled.is_some() {
        return Ok(labelled);
    }
    let mut file = File::open(places.device(disk)).map_err(|source| FinishError::Kernel {
        disk: disk.name.clone(),
        source,
    })?;
    let number = room::find(&mut file, disk.sector_bytes)?;
    Ok(closed
        .partitions
        .iter()
        .find(|node| Some(node.number) == number && node.size_bytes >= SEED_BYTES))
}

fn is_seed_label(label: &str) -> bool {
    LABELS.iter().any(|ours| label.eq_ignore_ascii_case(ours))
}

/// Writes the seed.
///
/// # Errors
/// See [`FinishError`].
pub(super) fn write_seed(
    places: &Places,
    disk: &WrittenDisk,
    closed: &Closed,
    plan: &FinishPlan,
) -> Result<Done, FinishError> {
    let contents = contents(plan)?;
    let node = seed_node(places, disk, closed)?.ok_or(ClosedError::Gone)?;
    let written = contents
        .volume(disk.sector_bytes)
        .and_then(|bytes| overwrite(&node.path, &bytes));
    written.map_err(|source| ClosedError::Volume {
        device: node.path.clone(),
        source,
    })?;
    let mut notes = contents.notes;
    notes.push(format!(
        "the seed on partition {} can be read by whoever reads the disk, and stays there until it is removed",
        node.number
    ));
    notes.push(
        "whether the system has a cloud-init that looks for it cannot be seen; host name, keys and users of the image stay as \
         they are unless it changes them"
            .to_owned(),
    );
    if plan.firmware_console || !plan.kernel_arguments.is_empty() {
        notes.push("arguments of the kernel are not added: the root cannot be written".to_owned());
    }
    notes.extend(others(&inventory::disks(&places.root), &disk.name, node.number));
    Ok(Done {
        detail: format!(
            "cloud-init seed written to partition {} (label {})",
            node.number, contents.label
        ),
        notes,
    })
}

/// What may be taken for the seed in its place. Pure.
fn others(disks: &[Disk], written: &str, number: u32) -> Vec<String> {
    let labelled = disks.iter().flat_map(|disk| {
        let ours = disk.kernel_name == written;
        disk.contents
            .iter()
            .filter(move |content| {
                is_seed_label(&content.label) && !(ours && content.partition == Some(number))
            })
            .map(move |content| (disk, content))
    });
    labelled
        .map(|(disk, content)| {
            format!(
                "{}{} has the label {} too: cloud-init may read that one; wipe it or take it out",
                disk.kernel_name,
                content
                    .partition
                    .map_or_else(String::new, |number| format!(", partition {number},")),
                content.label
            )
        })
        .collect()
}

fn overwrite(device: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = settle::open_exclusive(device)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()
}

/// What is on the partition.
#[derive(Debug)]
struct Contents {
    label: &'static str,
    files: Vec<(String, Vec<u8>)>,
    notes: Vec<String>,
}

impl Contents {
    fn volume(&self, sector: u64) -> io::Result<Vec<u8>> {
        let files = self
            .files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
        let files: Vec<(&str, &[u8])> = files.collect();
        let mut serial = crc32fast::Hasher::new();
        for (_, bytes) in &files {
            serial.update(bytes);
        }
        volume::build(self.label, serial.finalize(), &files, sector)
    }
}

/// The files of the seed in the form that is asked for. Pure.
fn contents(plan: &FinishPlan) -> Result<Contents, ClosedError> {
    let seed = plan.seed.clone().unwrap_or_default();
    let given = seed.network_config.as_slice();
    let mut notes = Vec::new();
    let (label, folder, network) = match plan.seed_layout() {
        SeedLayout::ConfigDrive => {
            let network = if given.is_empty() || seed::network_data(given) {
                given.to_vec()
            } else if network::is_plain_dhcp(given) {
                notes.push(
                    "a ConfigDrive has no place for network-config version 2: cloud-init asks for an address by itself".to_owned(),
                );
                Vec::new()
            } else {
                return Err(ClosedError::Network);
            };
            (LABELS[1], "openstack/latest/", network)
        }
        SeedLayout::NoCloud | SeedLayout::Unspecified => {
            let written = network::for_cloud_init(given);
            notes.extend(written.notes);
            (LABELS[0], "", written.seed.unwrap_or_default())
        }
    };
    let files = seed::files(&seed, plan.seed_layout(), &network)
        .into_iter()
        .filter_map(|(name, bytes)| Some((format!("{folder}{name}"), bytes?.to_vec())))
        .collect();
    Ok(Contents { label, files, notes })
}

/// Overwrites the seed partition of a disk whose system is not wanted. The answer is how many there were.
///
/// # Errors
/// When it can't be written.
pub(super) fn erase(places: &Places, disk: &WrittenDisk, closed: &Closed) -> Result<usize, FinishError> {
    let Some(node) = seed_node(places, disk, closed)? else {
        return Ok(0);
    };
    let zeroes = vec![0; usize::try_from(SEED_BYTES).unwrap_or_default()];
    overwrite(&node.path, &zeroes).map_err(|source| ClosedError::Volume {
        device: node.path.clone(),
        source,
    })?;
    Ok(1)
}

#[cfg(test)]
mod tests;
