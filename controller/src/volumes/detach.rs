//! Volumes are taken away from servers: not while somebody works with them, unless that is wanted.

use imprint_proto::agent::v1::GuestDisk;

use super::{
    Backing, VolumeError, VolumeRecord, VolumeState, Volumes, attach::tell, decide::Reason, table::load,
    users::use_of,
};
use crate::{guests::Guests, identity::Caller};

/// How a volume is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detaching {
    /// Not while a deployment, a system or a file system works with it.
    Unused,
    /// Whatever works with it.
    Forced,
    /// The same, and without its card: that is gone, or the server is. What the card still shows becomes an orphan.
    Abandoned,
}

impl Detaching {
    /// Of what a caller says.
    #[must_use]
    pub fn of(force: bool, abandon: bool) -> Self {
        match (force, abandon) {
            (_, true) => Self::Abandoned,
            (true, false) => Self::Forced,
            (false, false) => Self::Unused,
        }
    }

    /// Whether it may take something from somebody: for operators, and written down.
    #[must_use]
    pub fn may_harm(self) -> bool {
        self != Self::Unused
    }
}

impl Volumes {
    /// Has a volume taken away from its server. Without effect where it is not. The server's plugin is asked whether it is
    /// mounted; a server without one is not.
    pub async fn detach(
        &self,
        guests: &Guests,
        by: &Caller,
        wanted: &str,
        how: Detaching,
    ) -> Result<VolumeRecord, VolumeError> {
        let found = self.find(&by.viewer(), wanted).await?;
        if how == Detaching::Unused
            && let Some(what) = self.use_in_server(guests, &found).await?
        {
            return Err(VolumeError::InUse {
                name: found.name,
                what,
            });
        }
        let mut change = self
            .events
            .begin_by(by.author().in_project(&found.project_id))
            .await?;
        let record = load(change.connection(), &found.id).await?;
        let Some(there) = record.attachment.clone() else {
            return Ok(record);
        };
        if record.state == VolumeState::Detaching && how != Detaching::Abandoned {
            return Ok(record);
        }
        let used = use_of(change.connection(), &record.id).await?;
        if let Some(what) = &used
            && !how.may_harm()
        {
            return Err(VolumeError::InUse {
                name: record.name,
                what: what.clone(),
            });
        }
        let on_card = there.seat().is_some();
        let abandoned = on_card && how == Detaching::Abandoned;
        if how.may_harm() {
            let what = match (abandoned, used) {
                (true, _) => "was abandoned: its card was not asked, and may still show it".to_owned(),
                (false, Some(what)) => format!("is taken away by force, though it {what}"),
                (false, None) => "is taken away by force".to_owned(),
            };
            tell(&mut change, "volume.forced", &record, &what, Some(&there.node_id)).await?;
        }
        let (state, kept) = if abandoned || !on_card {
            (VolumeState::Available, None)
        } else {
            (VolumeState::Detaching, Some(&there))
        };
        let next = self
            .go(&mut change, &record, state, &Reason::at_first(state), kept)
            .await?;
        change.commit().await?;
        self.ring();
        Ok(next)
    }

    /// What works with it in its server, as the end of "volume NAME …".
    async fn use_in_server(
        &self,
        guests: &Guests,
        record: &VolumeRecord,
    ) -> Result<Option<String>, VolumeError> {
        let Some(there) = record
            .attachment
            .as_ref()
            .filter(|_| record.state == VolumeState::Attached)
        else {
            return Ok(None);
        };
        let disks = guests.disks(&there.node_id).await.unwrap_or_default();
        let used = disks
            .into_iter()
            .find(|disk| is_it(record, disk) && !disk.used_by.is_empty());
        let Some(disk) = used else { return Ok(None) };
        let node = self.nodes.get(&there.node_id).await?.name;
        let users: Vec<String> = disk
            .used_by
            .iter()
            .take(MOST_USERS)
            .map(|user| user.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect())
            .collect();
        Ok(Some(format!("is {} in node {node}", users.join(", "))))
    }
}

/// Told of one disk.
const MOST_USERS: usize = 4;
/// Of each, in characters.
const MAX_TEXT: usize = 100;

/// Whether a disk of the running system is the volume. One whose disk says no name is not found.
fn is_it(record: &VolumeRecord, disk: &GuestDisk) -> bool {
    let same = |ours: &str, theirs: &str| !ours.is_empty() && ours.eq_ignore_ascii_case(theirs);
    match &record.backing {
        Backing::Static { serial, wwn } => {
            same(serial.as_deref().unwrap_or_default(), &disk.serial)
                || same(wwn.as_deref().unwrap_or_default(), &disk.wwn)
        }
        Backing::NvmeTcp { .. } | Backing::Named { .. } => same(&record.volume().serial(), &disk.serial),
    }
}
