//! Finishing: after the image is proven, files and EFI variables are edited. No program of the image is ever run.
//!
//! Each function here is one step of a deployment, blocking, and can be done again: [`partitions`], [`seed`],
//! [`guest`], [`boot_entry`]. Each mounts what it needs and unmounts it before it ends, so that an agent that was
//! killed leaves at most a mount, which the next one clears ([`clear_mounts`]).

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::{Disk, FinishPlan};

use crate::{
    inventory,
    sys::mount::{self, Mount},
};

pub mod clash;
pub mod cleanup;
pub mod closed;
pub mod confined;
mod console;
pub mod efi;
mod error;
pub mod extras;
pub mod family;
pub mod filesystem;
mod fresh;
pub mod fstab;
pub mod guest;
mod kernel;
mod layout;
pub mod lvm;
mod network;
pub mod profile;
mod secrets;
pub mod seed;
pub mod settle;
mod system;
pub mod table;
pub mod tool;
pub mod users;

pub use error::FinishError;
pub use layout::{Closed, Layout, System, find_layout, signatures};

use confined::ConfinedRoot;
use filesystem::FileSystem;
use layout::Esp;
use profile::Profile;
use settle::PartitionNode;
use table::{Table, TableError};

/// The disk that the image was written to.
#[derive(Debug, Clone)]
pub struct WrittenDisk {
    /// The kernel's name.
    pub name: String,
    /// Logical block size.
    pub sector_bytes: u64,
    /// Size.
    pub size_bytes: u64,
}

/// Folders of the machine; others in tests.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/`.
    pub root: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// Where the agent mounts: `/run/imprint/mnt`.
    pub mounts: PathBuf,
    /// The guest plugin in the ramdisk.
    pub guest: PathBuf,
    /// Programs of the ramdisk: `/usr/sbin`.
    pub tools: PathBuf,
}

impl Places {
    /// Below a root folder (`/`), with the agent's state folder.
    #[must_use]
    pub fn below(root: &Path, state: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            sys: root.join("sys"),
            dev: root.join("dev"),
            mounts: state.join("mnt"),
            guest: root.join(guest::GUEST_FOLDER.trim_start_matches('/')),
            tools: root.join("usr/sbin"),
        }
    }

    /// The device file of a disk.
    #[must_use]
    pub fn device(&self, disk: &WrittenDisk) -> PathBuf {
        self.dev.join(&disk.name)
    }
}

/// What a step did, for the report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// One sentence.
    pub detail: String,
    /// What is worth keeping besides.
    pub notes: Vec<String>,
}

/// Undoes the mounts of an agent that was killed, and puts out the volumes it left active.
///
/// # Errors
/// When something uses one of them still.
pub fn clear_mounts(places: &Places) -> Result<(), FinishError> {
    for name in ["probe", "root", "esp"] {
        let point = places.mounts.join(name);
        mount::clear(&point).map_err(|source| FinishError::Unmount { point, source })?;
    }
    lvm::clear(places).map_err(FinishError::Volumes)
}

/// Settles the table, moves the backup GPT, and grows the last partition when it holds the root.
///
/// # Errors
/// See [`FinishError`].
pub fn partitions(
    places: &Places,
    disk: &WrittenDisk,
    plan: &FinishPlan,
) -> Result<(Layout, Done), FinishError> {
    let kernel = |source| FinishError::Kernel {
        disk: disk.name.clone(),
        source,
    };
    let device = places.device(disk);
    let mut done = Done::default();
    let mut words = Vec::new();
    let change = |action: &mut dyn FnMut(&mut File) -> Result<(), TableError>| -> Result<(), FinishError> {
        let mut file = settle::open_exclusive(&device).map_err(kernel)?;
        action(&mut file)?;
        file.sync_all().map_err(kernel)?;
        settle::reread(&file).map_err(kernel)
    };
    let mut moved = false;
    change(&mut |file| {
        moved = table::move_backup(file, disk.sector_bytes)?;
        Ok(())
    })?;
    if moved {
        words.push("backup GPT moved to the end of the disk".to_owned());
    }
    let mut layout = find_layout(places, disk)?;
    if !layout.separate.is_empty() {
        return Err(FinishError::Separate {
            points: layout.separate.join(", "),
        });
    }
    let disks = inventory::disks(&places.root);
    if let Some((group, disk)) = clash::group(&disks, &disk.name, &layout.groups()) {
        return Err(FinishError::GroupTwice { group, disk });
    }
    if plan.grow_root && layout.has_room_behind() {
        let last = layout.table.last().map(|last| last.number);
        if let Some(number) = last.filter(|last| layout.root_partitions().contains(last)) {
            let mut grown = None;
            change(&mut |file| {
                grown = table::grow_last(file, disk.sector_bytes, number)?;
                Ok(())
            })?;
            layout = find_layout(places, disk)?;
            if let Some(blocks) = grown {
                let mib = blocks.saturating_mul(disk.sector_bytes) >> 20;
                words.push(format!("partition {number} grown to {mib} MiB"));
            }
        } else {
            let numbers: Vec<String> = layout.root_partitions().iter().map(u32::to_string).collect();
            done.notes.push(format!(
                "partition {} holds the root and is not the last one: it keeps its size",
                numbers.join(" and ")
            ));
        }
        if let Some(name) = layout.root_volume() {
            match lvm::grow(places, &layout.volumes, &layout.root.path) {
                Ok(true) => {
                    layout = find_layout(places, disk)?;
                    words.push(format!(
                        "logical volume {name} grown to {} MiB",
                        layout.root.size_bytes >> 20
                    ));
                }
                Ok(false) => {}
                Err(error) => done
                    .notes
                    .push(format!("logical volume {name} keeps its size: {error}")),
            }
        }
        match grow_file_system(places, &layout)? {
            Ok(()) => words.push(format!("{} fills it", layout.system.name())),
            Err(error) => done.notes.push(format!(
                "{} could not be grown here ({error}); the installed system is left to grow it",
                layout.system.name()
            )),
        }
    }
    let mut file = File::open(&device).map_err(kernel)?;
    let needed = fresh::needed(disk, &mut file)?;
    drop(file);
    if let Some(fresh) = needed {
        match fresh.rename(places, &layout)? {
            fresh::Outcome::Renamed(files) => {
                change(&mut |file| table::set_identity(file, disk.sector_bytes, fresh.identity()))?;
                layout = find_layout(places, disk)?;
                words.push("fresh identifiers of disk and partitions".to_owned());
                if !files.is_empty() {
                    done.notes
                        .push(format!("partitions are named by their new identifiers in {}", files.join(", ")));
                }
            }
            fresh::Outcome::Kept(file) => done.notes.push(format!(
                "disk and partitions keep the identifiers of the image: {file} may name them and cannot be changed"
            )),
        }
    }
    if plan.fresh_uuids {
        let (count, notes) = fresh::systems::renew(places, disk, &layout)?;
        if count > 0 {
            layout = find_layout(places, disk)?;
            words.push(format!("fresh UUIDs of {count} file systems"));
        }
        done.notes.extend(notes);
    }
    done.notes.extend(clash::notes(&disks, &disk.name));
    done.notes.extend(tidy_fstab(places, &layout, &disks)?);
    words.push(format!(
        "{} is the root of {}",
        layout.root.path.display(),
        layout.profile.name
    ));
    done.detail = words.join("; ");
    Ok((layout, done))
}

/// Takes out of fstab what would hold up the first boot.
fn tidy_fstab(places: &Places, layout: &Layout, disks: &[Disk]) -> Result<Vec<String>, FinishError> {
    const PATH: &str = "etc/fstab";
    const LONGEST: u64 = 256 << 10;
    let done = with_root(places, layout, |root| {
        let text = root.read(PATH, LONGEST)?.unwrap_or_default();
        let presence = |spec: &str| extras::presence(spec, &layout.partitions, &layout.table, disks);
        // Text that is none is left to the installed system.
        let tidied = str::from_utf8(&text)
            .ok()
            .and_then(|text| fstab::tidied(text, presence));
        let notes = match tidied {
            Some((text, notes)) => {
                root.write(PATH, text.as_bytes(), 0o644)?;
                notes
            }
            None => Vec::new(),
        };
        Ok(Done {
            detail: String::new(),
            notes,
        })
    })?;
    Ok(done.notes)
}

fn grow_file_system(places: &Places, layout: &Layout) -> Result<io::Result<()>, FinishError> {
    let active = layout.activate(places)?;
    let mount = mount_root(places, layout)?;
    let result = File::open(&layout.root.path).and_then(|device| {
        filesystem::grow_mounted(layout.system, &device, layout.root.size_bytes, mount.point())
    });
    unmount(mount)?;
    active.end().map_err(FinishError::Volumes)?;
    Ok(result)
}

/// Removes the identity of the image, writes the cloud-init seed, and adds arguments of the kernel.
///
/// # Errors
/// See [`FinishError`].
pub fn seed(places: &Places, layout: &Layout, plan: &FinishPlan) -> Result<Done, FinishError> {
    let named = layout
        .profile
        .fstab
        .iter()
        .any(|mount| mount.point == users::HOMES);
    let mounted = layout.extras.iter().any(|extra| extra.point == users::HOMES);
    if plan.remove_image_keys && named && !mounted {
        return Err(FinishError::Homes);
    }
    let mut done = with_root(places, layout, |root| {
        let (detail, mut notes) = seed::apply(root, &layout.profile, plan)?;
        notes.extend(users::apply(
            root,
            plan.remove_image_keys,
            plan.lock_image_passwords,
        )?);
        Ok(Done { detail, notes })
    })?;
    let mut arguments = plan.kernel_arguments.clone();
    if plan.firmware_console {
        let (words, note) = console::arguments(places, layout, &arguments)?;
        arguments.extend(words);
        done.notes.extend(note);
    }
    done.notes.extend(kernel::add(places, layout, &arguments)?);
    Ok(done)
}

/// Installs the guest plugin and the traces.
///
/// # Errors
/// See [`FinishError`].
pub fn guest(
    places: &Places,
    layout: &Layout,
    plan: &FinishPlan,
    traces: &guest::Traces,
) -> Result<Done, FinishError> {
    with_root(places, layout, |root| {
        let detail = guest::install(root, &layout.profile, &places.guest, plan.guest.as_ref(), traces)?;
        Ok(Done {
            detail,
            notes: Vec::new(),
        })
    })
}

/// Overwrites user-data and report token on a disk whose system is not wanted. The answer is how many files there were.
///
/// # Errors
/// When that can't be done for certain; see [`FinishError`].
pub fn erase_secrets(places: &Places, disk: &WrittenDisk) -> Result<usize, FinishError> {
    clear_mounts(places)?;
    let layout = match layout::find_system(places, disk)? {
        System::Open(layout) => layout,
        System::Closed(closed) => match closed::erase(places, disk, &closed)? {
            0 => return Err(FinishError::NoRoot { seen: closed.seen }),
            count => return Ok(count),
        },
    };
    let mut count = 0;
    with_root(places, &layout, |root| {
        let (seed, token) = (secrets::erase_seed(root), secrets::erase_token(root));
        count = seed? + token?;
        Ok(Done::default())
    })?;
    if layout.system == FileSystem::Btrfs && count > 0 {
        return Err(FinishError::CopyOnWrite {
            system: layout.system.name(),
        });
    }
    Ok(count)
}

/// Lifts the veil over the first sector: from now on the disk can boot. A disk without one is left as it is.
///
/// # Errors
/// When it is in use, or does not take it.
pub fn let_boot(places: &Places, disk: &WrittenDisk) -> Result<(), FinishError> {
    let lift = || {
        let file = settle::open_exclusive(&places.device(disk))?;
        let mut first = vec![0; usize::try_from(disk.sector_bytes).unwrap_or(512)];
        file.read_exact_at(&mut first, 0)?;
        if table::veil::lift(&mut first) {
            // What was finished must be on the disk before it becomes bootable, not in its cache.
            file.sync_all()?;
            file.write_all_at(&first, 0)?;
            file.sync_all()?;
        }
        Ok(())
    };
    lift().map_err(|source| FinishError::Kernel {
        disk: disk.name.clone(),
        source,
    })
}

fn with_root(
    places: &Places,
    layout: &Layout,
    edit: impl FnOnce(&ConfinedRoot) -> Result<Done, FinishError>,
) -> Result<Done, FinishError> {
    let active = layout.activate(places)?;
    let root = (&layout.root, layout.system, layout.subvolume);
    let tree = extras::mount_tree(places, "root", root, &layout.extras, false)?;
    let done = ConfinedRoot::open(tree.point())
        .map_err(FinishError::from)
        .and_then(|root| edit(&root))?;
    tree.unmount()?;
    active.end().map_err(FinishError::Volumes)?;
    Ok(done)
}

fn mount_root(places: &Places, layout: &Layout) -> Result<Mount, FinishError> {
    mount_node(
        &places.mounts.join("root"),
        &layout.root,
        layout.system,
        layout.subvolume,
        false,
    )
}

fn mount_node(
    point: &Path,
    node: &PartitionNode,
    system: FileSystem,
    subvolume: Option<&str>,
    read_only: bool,
) -> Result<Mount, FinishError> {
    let mut options = system.options(read_only).to_owned();
    if let Some(subvolume) = subvolume {
        let comma = if options.is_empty() { "" } else { "," };
        options.push_str(&format!("{comma}subvol={subvolume}"));
    }
    let mount = || Mount::new(&node.path, point, system.name(), &options, read_only);
    // udev reads the table of a disk again when a writer closes it; its partitions are gone for a moment then. A
    // subvolume that is not there answers in the same way and doesn't come back.
    let mounted = if subvolume.is_none() {
        settle::retry_vanished(mount)
    } else {
        mount()
    };
    mounted.map_err(|source| FinishError::Mount {
        device: node.path.clone(),
        system: system.name(),
        source,
    })
}

fn unmount(mount: Mount) -> Result<(), FinishError> {
    let point = mount.point().to_path_buf();
    mount
        .unmount()
        .map_err(|source| FinishError::Unmount { point, source })
}

/// Writes the firmware's boot entry; with a BIOS there is nothing to write.
///
/// # Errors
/// See [`FinishError`].
pub fn boot_entry(
    places: &Places,
    disk: &WrittenDisk,
    layout: &Layout,
    plan: &FinishPlan,
    formerly_here: &[efi::PartitionSignature],
) -> Result<(String, Done), FinishError> {
    let found = (&layout.table, layout.esp.as_ref(), &layout.profile);
    write_entry(places, disk, found, plan, formerly_here)
}

/// The same by what is known of any disk.
fn write_entry(
    places: &Places,
    disk: &WrittenDisk,
    (table, esp, profile): (&Table, Option<&Esp>, &Profile),
    plan: &FinishPlan,
    formerly_here: &[efi::PartitionSignature],
) -> Result<(String, Done), FinishError> {
    let firmware = places.sys.join("firmware/efi");
    if !firmware.is_dir() {
        let detail =
            "BIOS: the boot code of the image is kept as it is, there is no entry to write".to_owned();
        return Ok((
            String::new(),
            Done {
                detail,
                notes: Vec::new(),
            },
        ));
    }
    let Some(esp) = esp else {
        return Err(efi::EfiError::NoEsp.into());
    };
    let variables = efi::open_variables(&firmware)?;
    let point = places.mounts.join("esp");
    let mut mount = mount_node(&point, &esp.node, FileSystem::Vfat, None, true)?;
    let mut done = Done::default();
    let names = &efi::loader::NAMES;
    let root = ConfinedRoot::open(mount.point())?;
    let folder = profile.family.efi_folder(&profile.id);
    let loader = efi::loader::find(&root, names, folder)?.ok_or(efi::EfiError::NoLoader)?;
    if efi::loader::removable(&root, names)?.is_none() {
        // Only now is the partition written to; its bytes stay the image's otherwise.
        drop(root);
        unmount(mount)?;
        mount = mount_node(&point, &esp.node, FileSystem::Vfat, None, false)?;
        let copied = efi::loader::fill_removable(&ConfinedRoot::open(mount.point())?, names, &loader)?;
        done.notes.push(format!(
            "the removable path was empty and has been filled: {}",
            copied.join(", ")
        ));
    } else {
        drop(root);
    }
    unmount(mount)?;
    let present = layout::signatures_of_all_disks(places, disk, table);
    let entry = efi::Wanted {
        loader: &loader,
        esp: esp.drive,
        policy: plan.boot_order(),
        present: &present,
        formerly_here,
    };
    let written = efi::install(&variables, &entry)?;
    done.notes.extend(written.notes);
    done.detail = format!(
        "{} written and read back, found by {}",
        written.text, loader.found_by
    );
    Ok((written.text, done))
}

#[cfg(test)]
pub(crate) mod tests;
