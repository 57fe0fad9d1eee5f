//! Deployments onto network volumes. A request is judged as if the volume were the server's only disk, by the same rules; the
//! deployment waits until a card shows it, and the agent until it sees it.

use std::borrow::Cow;

use imprint_proto::agent::v1 as wire;
use jiff::Timestamp;
use sqlx::{FromRow, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Deployments,
    error::DeployError,
    record::Deployment,
    request::{DeployRequest, Refusal},
    state::{DeploymentState, Step},
};
use crate::{
    clock::timestamp_from_ms,
    events::{Change, doing},
    identity::{Caller, Viewer},
    inventory::{Disk, Inventory, Node, NodeProblem},
    volumes::{Backing, DiskKind, VolumeContent, VolumeRecord, VolumeState, WantedSeat, content},
    words::words,
};

/// Sectors of disks that cards show.
const SECTOR_BYTES: u32 = 512;

words! {
    /// Where the content of a deployment's disk comes from.
    DiskContent, "source of a disk's content", {
        /// The image is streamed.
        Streamed => "streamed",
        /// The image is on the volume already.
        Prepared => "prepared",
        /// What a system has made of the image stays.
        Kept => "kept",
    }
}

/// Where a deployment goes that does not go onto a disk of the server.
#[derive(Debug, Clone)]
pub(super) struct VolumeTarget {
    /// The volume.
    pub record: VolumeRecord,
    /// What is on it.
    pub content: VolumeContent,
    /// That is to stay.
    pub keep: bool,
    /// Where it is to appear.
    pub seat: WantedSeat,
}

impl VolumeTarget {
    /// Where the content comes from when it is to be this disk of an image.
    fn source(&self, manifest: &str) -> DiskContent {
        if self.keep {
            DiskContent::Kept
        } else if self.content.is_prepared && self.content.manifest.as_deref() == Some(manifest) {
            DiskContent::Prepared
        } else {
            DiskContent::Streamed
        }
    }

    /// The server with the volume as its only disk: as its agent has seen it, or as it will.
    pub(super) fn alone(&self, mut inventory: Inventory) -> Inventory {
        let seen = inventory.disks.drain(..).find(|disk| is_it(&self.record, disk));
        let mut disk = seen.unwrap_or_else(|| self.disk());
        disk.volume_id.clone_from(&self.record.id);
        inventory.disks = vec![disk];
        inventory
    }

    /// As the agent will see it. What is on it nobody has looked at.
    fn disk(&self) -> Disk {
        let (serial, wwn) = names(&self.record);
        let (transport, driver) = match (&self.record.backing, self.seat.kind) {
            (Backing::Static { .. }, _) => ("", ""),
            (_, DiskKind::VirtioBlk) => ("virtio", "virtio_blk"),
            (_, DiskKind::Nvme) => ("nvme", "nvme"),
        };
        Disk {
            kernel_name: format!("volume {}", self.record.name),
            serial,
            wwn,
            transport: transport.to_owned(),
            driver: driver.to_owned(),
            size_bytes: self.record.size_bytes,
            logical_sector_bytes: SECTOR_BYTES,
            physical_sector_bytes: SECTOR_BYTES,
            ..Disk::default()
        }
    }
}

/// The rule that names it.
fn rule_of(record: &VolumeRecord) -> String {
    format!("volume={}", record.id)
}

/// What its disk says as its serial number and its WWN.
fn names(record: &VolumeRecord) -> (String, String) {
    match &record.backing {
        Backing::Static { serial, wwn } => (
            serial.clone().unwrap_or_default(),
            wwn.clone().unwrap_or_default(),
        ),
        Backing::NvmeTcp { .. } | Backing::Named { .. } => (record.volume().serial(), String::new()),
    }
}

/// Whether a disk that was seen in the server says that it is the volume.
fn is_it(record: &VolumeRecord, disk: &Disk) -> bool {
    let (serial, wwn) = names(record);
    let same = |ours: &str, theirs: &str| !ours.is_empty() && ours.eq_ignore_ascii_case(theirs);
    same(&serial, &disk.serial) || same(&wwn, &disk.wwn)
}

/// How a deployment stands to its volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum VolumeFact {
    /// It has none, or its server is shown it.
    #[default]
    Ready,
    /// A card is to show it.
    Awaited {
        /// What it waits for, in the volume's own words.
        why: String,
        /// When that is given up.
        until: Timestamp,
    },
    /// It will not be there.
    Lost(NodeProblem),
}

impl VolumeFact {
    /// The columns that [`FromRow`] takes, of a deployment `d` and its volume `v`.
    pub(super) const COLUMNS: &'static str = "d.volume_id AS volume_wanted, d.volume_name AS volume_title, d.node_id AS volume_for, \
         v.node_id AS volume_at, v.state AS volume_state, v.why AS volume_why, v.remedy AS volume_remedy, \
         v.deadline AS volume_until";
    /// Where they come from.
    pub(super) const JOIN: &'static str = "LEFT JOIN volumes v ON v.id = d.volume_id";
}

impl FromRow<'_, SqliteRow> for VolumeFact {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        if row.try_get::<Option<String>, _>("volume_wanted")?.is_none() {
            return Ok(Self::Ready);
        }
        let name: String = row.try_get("volume_title")?;
        let lost = |cause: String, remedy: String| {
            Self::Lost(NodeProblem {
                step: Step::AttachVolume.to_string(),
                cause,
                remedy,
            })
        };
        let wanted_at: String = row.try_get("volume_for")?;
        let is_at: Option<String> = row.try_get("volume_at")?;
        let taken = || {
            lost(
                format!("The volume {name} was taken away from the server."),
                "Deploy again with --volume: it is attached again.".to_owned(),
            )
        };
        if is_at.as_ref() != Some(&wanted_at) {
            return Ok(taken());
        }
        let state: VolumeState = row
            .try_get::<String, _>("volume_state")?
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let why: String = row.try_get("volume_why")?;
        Ok(match state {
            VolumeState::Attached => Self::Ready,
            VolumeState::Attaching => Self::Awaited {
                why,
                until: row
                    .try_get::<Option<i64>, _>("volume_until")?
                    .map_or(Timestamp::MAX, timestamp_from_ms),
            },
            VolumeState::Error => lost(
                format!("The volume {name} cannot be shown to the server: {why}."),
                row.try_get("volume_remedy")?,
            ),
            VolumeState::Available
            | VolumeState::Detaching
            | VolumeState::Preparing
            | VolumeState::Deleting => taken(),
        })
    }
}

impl Deployments {
    /// The volume that a request names, and the request as it is judged: with the rule that names this volume.
    pub(super) async fn onto_volume<'a>(
        &self,
        by: &Caller,
        request: &'a DeployRequest,
    ) -> Result<(Cow<'a, DeployRequest>, Option<VolumeTarget>), DeployError> {
        let refused = |fault: &str| DeployError::Refused(vec![Refusal::Volume(fault.to_owned())]);
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let kind = given(&request.volume_kind)
            .map(|word| word.parse::<DiskKind>())
            .transpose()
            .map_err(|error| refused(&error.to_string()))?;
        let keep = request.keep_content == Some(true);
        let Some(wanted) = given(&request.volume) else {
            if kind.is_some() || keep {
                return Err(refused("it is not said which volume is meant"));
            }
            return Ok((Cow::Borrowed(request), None));
        };
        if given(&request.disk).is_some() {
            return Err(refused(
                "a disk of the server is named as well; one of them is meant",
            ));
        }
        let record = self.volumes.find(&by.viewer(), &wanted).await?;
        let content = self.volumes.content(&record.id).await?;
        let image = match (request.image.as_str(), &content.image_id) {
            ("", Some(on_it)) if given(&request.family).is_none() => on_it.clone(),
            (named, _) => named.to_owned(),
        };
        if keep && request.finish == Some(false) {
            return Err(refused(
                "the volume keeps what is on it, and no system is to be made of that: there is nothing to do",
            ));
        }
        if keep {
            let on_it = content.image_id.as_deref();
            let on_it = on_it.ok_or_else(|| {
                refused("nobody knows what is on the volume: no deployment onto it has ended well")
            })?;
            if given(&request.family).is_some() || self.catalog.find(&by.viewer(), &image).await?.id != on_it
            {
                return Err(refused(
                    "another image is on the volume than the one that is named",
                ));
            }
        }
        // Where it is already, it stays as it is.
        let there = record.attachment.as_ref().and_then(|there| there.kind);
        let seat = WantedSeat {
            kind: kind.or(there).unwrap_or(DiskKind::VirtioBlk),
            function: None,
        };
        let request = DeployRequest {
            image,
            disk: Some(rule_of(&record)),
            ..request.clone()
        };
        let target = VolumeTarget {
            record,
            content,
            keep,
            seat,
        };
        Ok((Cow::Owned(request), Some(target)))
    }

    /// Has the volume of a new deployment shown to its server, if it is not yet.
    pub(super) async fn take_volume(
        &self,
        change: &mut Change,
        id: &str,
        node: &Node,
        target: &VolumeTarget,
        manifest: &str,
    ) -> Result<(), DeployError> {
        let record = self
            .volumes
            .attach_in(change, &target.record.id, node, target.seat)
            .await?;
        sqlx::query("UPDATE deployments SET volume_id = ?, volume_name = ?, content = ? WHERE id = ?")
            .bind(&record.id)
            .bind(&record.name)
            .bind(target.source(manifest).as_str())
            .bind(id)
            .execute(change.connection())
            .await
            .map_err(doing("keep the volume of the deployment"))?;
        Ok(())
    }

    /// The task leaves for the agent, which changes what is on the volume.
    pub(super) async fn note_volume_use(&self, deployment: &Deployment) -> Result<(), DeployError> {
        if let Some(id) = &deployment.volume_id {
            let mut connection = self
                .db
                .acquire()
                .await
                .map_err(doing("note the use of the volume"))?;
            match deployment.content {
                DiskContent::Streamed => content::overwritten(&mut connection, id).await?,
                DiskContent::Prepared | DiskContent::Kept => content::in_use(&mut connection, id).await?,
            }
        }
        Ok(())
    }

    /// The deployment has ended: what is on its volume now.
    pub(super) async fn note_volume_end(
        &self,
        connection: &mut SqliteConnection,
        deployment: &Deployment,
        state: DeploymentState,
    ) -> Result<(), DeployError> {
        if let Some(id) = &deployment.volume_id {
            match (state, deployment.content) {
                (DeploymentState::Succeeded, _) if deployment.finish => {
                    content::has_system(connection, id, &deployment.id).await?;
                }
                (DeploymentState::Failed | DeploymentState::Cancelled, DiskContent::Prepared) => {
                    content::spoilt(connection, id).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the agent is told of the volume.
    pub(super) async fn expected_volume(
        &self,
        deployment: &Deployment,
    ) -> Result<Option<wire::ExpectedVolume>, DeployError> {
        let Some(id) = &deployment.volume_id else {
            return Ok(None);
        };
        let record = self.volumes.find(&Viewer::All, id).await?;
        Ok(Some(expected(&record)))
    }

    /// The volumes that a node is shown, by whatever deployment or caller.
    pub(super) async fn volumes_of(&self, node_id: &str) -> Result<Vec<wire::ExpectedVolume>, DeployError> {
        let shown = self.volumes.at_node(node_id).await?;
        Ok(shown.iter().map(expected).collect())
    }

    /// The disks that are volumes are known as such.
    pub(super) async fn with_volumes(
        &self,
        node_id: &str,
        mut inventory: Inventory,
    ) -> Result<Inventory, DeployError> {
        for record in self.volumes.at_node(node_id).await? {
            for disk in inventory.disks.iter_mut().filter(|disk| is_it(&record, disk)) {
                disk.volume_id.clone_from(&record.id);
            }
        }
        Ok(inventory)
    }
}

/// As an agent is told of it.
fn expected(record: &VolumeRecord) -> wire::ExpectedVolume {
    let (serial, wwn) = names(record);
    let seat = record.attachment.as_ref().and_then(|there| there.seat());
    let transport = match seat.map(|seat| seat.kind) {
        Some(DiskKind::VirtioBlk) => wire::Transport::Virtio,
        Some(DiskKind::Nvme) => wire::Transport::Nvme,
        None => wire::Transport::Unspecified,
    };
    let function = seat.map(|seat| seat.function);
    wire::ExpectedVolume {
        volume_id: record.id.clone(),
        name: record.name.clone(),
        serial,
        wwn,
        size_bytes: record.size_bytes,
        transport: transport.into(),
        physical_function: function
            .filter(|function| function.virtual_ == 0)
            .map(|function| u32::from(function.physical)),
    }
}
