//! Logical volumes of the written disk, by lvm(8) of the ramdisk.
//!
//! The program sees the partitions of this disk and nothing else: no file of devices, no other disk's groups. Volumes are
//! active while a value of [`Active`] lives, and grown while they are not: partitions can be read again then. What an agent
//! that was killed left active is noted beside its mounts, and put out by the next one ([`clear`]).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Places,
    settle::PartitionNode,
    tool::{self, ToolError},
};

const PATIENCE: Duration = Duration::from_secs(120);
/// Where the note of active volumes is, beside the mounts.
const NOTE: &str = "active-volumes";
/// What can be mounted as it is; everything else needs programs and modules of its own.
const PLAIN: [&str; 2] = ["linear", "striped"];

/// Reports, and their columns.
const PHYSICAL: (&str, &str) = ("pvs", "pv_name,vg_name,vg_free,vg_missing_pv_count,vg_exported");
const LOGICAL: (&str, &str) = ("lvs", "vg_name,lv_name,lv_dm_path,lv_size,segtype");

/// The volume groups on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volumes {
    /// Those that are whole.
    pub groups: Vec<Group>,
    /// What cannot be used, and why, for people.
    pub refused: Vec<String>,
}

/// A volume group with all it needs on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Device files of its physical volumes.
    pub devices: Vec<PathBuf>,
    /// What no volume has.
    pub free_bytes: u64,
    /// Those that can be mounted.
    pub volumes: Vec<Volume>,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the group.
    pub name: String,
    /// Its device file, there while it is active.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
}

#[derive(Deserialize)]
struct Answer<T> {
    report: Vec<T>,
}

#[derive(Deserialize)]
struct Physical {
    pv: Vec<PhysicalRow>,
}

#[derive(Deserialize)]
struct PhysicalRow {
    pv_name: String,
    vg_name: String,
    vg_free: String,
    vg_missing_pv_count: String,
    vg_exported: String,
}

#[derive(Deserialize)]
struct Logical {
    lv: Vec<LogicalRow>,
}

#[derive(Deserialize)]
struct LogicalRow {
    vg_name: String,
    lv_name: String,
    lv_dm_path: String,
    lv_size: String,
    segtype: String,
}

/// The groups on some partitions; none when there is no physical volume among them.
///
/// # Errors
/// When the program does not do what it is asked to.
pub fn find(places: &Places, nodes: &[PartitionNode]) -> Result<Volumes, ToolError> {
    let devices: Vec<PathBuf> = nodes
        .iter()
        .filter(|node| is_physical(node))
        .map(|node| node.path.clone())
        .collect();
    if devices.is_empty() {
        return Ok(Volumes::default());
    }
    let physical = report(places, &devices, PHYSICAL)?;
    let logical = report(places, &devices, LOGICAL)?;
    assemble(&physical, &logical, &devices, &places.dev)
}

/// What a reporting command says in JSON, in bytes.
fn report(
    places: &Places,
    devices: &[PathBuf],
    (command, columns): (&str, &str),
) -> Result<Vec<u8>, ToolError> {
    let form = [
        "--reportformat",
        "json",
        "--units",
        "b",
        "--nosuffix",
        "-o",
        columns,
    ];
    lvm(places, devices, command, &form)
}

fn is_physical(node: &PartitionNode) -> bool {
    fs::File::open(&node.path)
        .ok()
        .and_then(|file| crate::inventory::volume(&file, node.size_bytes))
        .is_some_and(|volume| volume.kind == "lvm-pv")
}

fn read<T: DeserializeOwned>(answer: &[u8], program: &str) -> Result<Vec<T>, ToolError> {
    let answer: Answer<T> = serde_json::from_slice(answer).map_err(|source| ToolError::Answer {
        program: program.to_owned(),
        source,
    })?;
    Ok(answer.report)
}

/// Groups out of two answers. Pure but for the paths, which are followed.
fn assemble(physical: &[u8], logical: &[u8], devices: &[PathBuf], dev: &Path) -> Result<Volumes, ToolError> {
    let mut volumes = Volumes::default();
    let mut groups = BTreeMap::<String, Group>::new();
    for row in read::<Physical>(physical, "lvm pvs")?
        .into_iter()
        .flat_map(|part| part.pv)
    {
        if row.vg_name.is_empty() {
            continue;
        }
        let against = if row.vg_missing_pv_count != "0" {
            Some(format!(
                "{} of its physical volumes are on other disks",
                row.vg_missing_pv_count
            ))
        } else if !row.vg_exported.is_empty() {
            Some("it is exported".to_owned())
        } else {
            None
        };
        if let Some(against) = against {
            let told = format!("volume group {} ({against})", row.vg_name);
            if !volumes.refused.contains(&told) {
                volumes.refused.push(told);
            }
            continue;
        }
        let name = Path::new(&row.pv_name);
        let Some(device) = devices.iter().find(|device| canonical(device) == canonical(name)) else {
            continue;
        };
        let group = groups.entry(row.vg_name.clone()).or_insert_with(|| Group {
            name: row.vg_name.clone(),
            devices: Vec::new(),
            free_bytes: number(&row.vg_free),
            volumes: Vec::new(),
        });
        group.devices.push(device.clone());
    }
    // One row for each segment.
    let mut kinds = BTreeMap::<(String, String), (LogicalRow, bool)>::new();
    for row in read::<Logical>(logical, "lvm lvs")?
        .into_iter()
        .flat_map(|part| part.lv)
    {
        let plain = PLAIN.contains(&row.segtype.as_str());
        let key = (row.vg_name.clone(), row.lv_name.clone());
        kinds
            .entry(key)
            .and_modify(|(_, all)| *all &= plain)
            .or_insert((row, plain));
    }
    for ((group, name), (row, plain)) in kinds {
        let Some(group) = groups.get_mut(&group) else {
            continue;
        };
        let file = row
            .lv_dm_path
            .strip_prefix("/dev/mapper/")
            .filter(|file| !file.contains('/'));
        match file {
            Some(file) if plain => group.volumes.push(Volume {
                path: dev.join("mapper").join(file),
                size_bytes: number(&row.lv_size),
                name,
            }),
            _ => volumes
                .refused
                .push(format!("logical volume {}/{name} ({})", group.name, row.segtype)),
        }
    }
    volumes.groups = groups.into_values().collect();
    Ok(volumes)
}

fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

impl Volumes {
    /// No groups.
    pub const NONE: &'static Self = &Self {
        groups: Vec::new(),
        refused: Vec::new(),
    };

    /// Every volume, as a partition without a number.
    pub fn nodes(&self) -> impl Iterator<Item = PartitionNode> {
        let volumes = self.groups.iter().flat_map(|group| &group.volumes);
        volumes.map(|volume| PartitionNode {
            number: 0,
            path: volume.path.clone(),
            first_byte: 0,
            size_bytes: volume.size_bytes,
        })
    }

    /// The group and volume that a device file is of.
    #[must_use]
    pub fn holding(&self, path: &Path) -> Option<(&Group, &Volume)> {
        self.groups
            .iter()
            .find_map(|group| Some((group, group.volumes.iter().find(|volume| volume.path == path)?)))
    }

    /// Makes their device files appear until the value goes.
    ///
    /// # Errors
    /// When the program does not do what it is asked to.
    pub fn activate<'a>(&'a self, places: &'a Places) -> Result<Active<'a>, ToolError> {
        let mut active = Active {
            places,
            volumes: self,
            active: false,
        };
        if self.groups.iter().all(|group| group.volumes.is_empty()) {
            return Ok(active);
        }
        note(places, Some(self)).map_err(|source| ToolError::Start {
            program: "lvm lvchange".to_owned(),
            source,
        })?;
        active.active = true;
        for group in self.groups.iter().filter(|group| !group.volumes.is_empty()) {
            let names: Vec<String> = group
                .volumes
                .iter()
                .map(|volume| format!("{}/{}", group.name, volume.name))
                .collect();
            let mut arguments = vec!["--activate", "y", "--ignoreactivationskip"];
            arguments.extend(names.iter().map(String::as_str));
            lvm(places, &group.devices, "lvchange", &arguments)?;
        }
        Ok(active)
    }
}

/// Volumes that are active. They are put out when the value goes.
#[derive(Debug)]
#[must_use = "volumes are active as long as this value is there"]
pub struct Active<'a> {
    places: &'a Places,
    volumes: &'a Volumes,
    active: bool,
}

impl Active<'_> {
    /// Puts them out: nothing of them is in use any more, and all is written.
    ///
    /// # Errors
    /// When something uses one of them still.
    pub fn end(mut self) -> Result<(), ToolError> {
        self.put_out()
    }

    fn put_out(&mut self) -> Result<(), ToolError> {
        if !std::mem::take(&mut self.active) {
            return Ok(());
        }
        for group in &self.volumes.groups {
            lvm(
                self.places,
                &group.devices,
                "vgchange",
                &["--activate", "n", &group.name],
            )?;
        }
        if let Err(error) = note(self.places, None) {
            tracing::warn!(%error, "cannot remove the note of active volumes");
        }
        Ok(())
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.put_out() {
            tracing::warn!(%error, "logical volumes stay active");
        }
    }
}

/// Puts out what an agent that was killed left active.
///
/// # Errors
/// When something uses one of them still.
pub fn clear(places: &Places) -> Result<(), ToolError> {
    let text = fs::read_to_string(places.mounts.with_file_name(NOTE)).unwrap_or_default();
    // A disk that is gone has taken its volumes along as far as they can go.
    let devices: Vec<PathBuf> = text
        .lines()
        .map(PathBuf::from)
        .filter(|device| device.exists())
        .collect();
    if !devices.is_empty() {
        lvm(places, &devices, "vgchange", &["--activate", "n"])?;
    }
    if !text.is_empty()
        && let Err(error) = note(places, None)
    {
        tracing::warn!(%error, "cannot remove the note of active volumes");
    }
    Ok(())
}

/// Written before anything is active, removed after nothing is.
fn note(places: &Places, volumes: Option<&Volumes>) -> io::Result<()> {
    let path = places.mounts.with_file_name(NOTE);
    let Some(volumes) = volumes else {
        return fs::remove_file(path);
    };
    let devices = volumes.groups.iter().flat_map(|group| &group.devices);
    let text: String = devices.map(|device| format!("{}\n", device.display())).collect();
    fs::create_dir_all(places.mounts.parent().unwrap_or(&places.mounts))?;
    fs::write(path, text)
}

/// Gives a volume everything that its group has left, after the group's physical volumes took what their partitions have.
/// Nothing may be active. True when the volume is larger now.
///
/// # Errors
/// When the program refuses; what it had done stays.
pub fn grow(places: &Places, volumes: &Volumes, path: &Path) -> Result<bool, ToolError> {
    let Some((group, volume)) = volumes.holding(path) else {
        return Ok(false);
    };
    for device in &group.devices {
        let device = canonical(device);
        lvm(places, &group.devices, "pvresize", &[&device.to_string_lossy()])?;
    }
    let free = report(places, &group.devices, PHYSICAL)?;
    let free = read::<Physical>(&free, "lvm pvs")?
        .iter()
        .flat_map(|part| &part.pv)
        .any(|row| row.vg_name == group.name && number(&row.vg_free) > 0);
    if free {
        let name = format!("{}/{}", group.name, volume.name);
        lvm(
            places,
            &group.devices,
            "lvextend",
            &["--extents", "+100%FREE", &name],
        )?;
    }
    Ok(free)
}

/// One command of the program, which sees `devices` only. It makes device files itself: udev has no rules for volumes here.
fn lvm(places: &Places, devices: &[PathBuf], command: &str, own: &[&str]) -> Result<Vec<u8>, ToolError> {
    let locks = places.mounts.with_file_name("lvm");
    let settings = format!(
        "global {{ locking_dir=\"{}\" use_lvmpolld=0 event_activation=0 }} \
         devices {{ use_devicesfile=0 hints=\"none\" scan_lvs=0 obtain_device_list_from_udev=0 }} \
         activation {{ udev_sync=0 udev_rules=0 monitoring=0 }} backup {{ backup=0 archive=0 }}",
        locks.display()
    );
    let devices: Vec<String> = devices
        .iter()
        .map(|device| canonical(device).to_string_lossy().into_owned())
        .collect();
    let mut common = vec![command, "--yes", "--config", &settings];
    for device in &devices {
        common.extend(["--devices", device]);
    }
    let arguments = tool::arguments(&common, own);
    tool::run(
        &places.tools.join("lvm"),
        &format!("lvm {command}"),
        &arguments,
        PATIENCE,
    )
}

#[cfg(test)]
mod tests;
