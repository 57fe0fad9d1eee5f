//! The machine that the agent runs on.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use imprint_proto::agent::v1::{Disk, Fingerprint, FinishPlan, Inventory};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Claim, Installed, Machine};
use crate::{
    finish::{
        self, Done, FinishError, Places, System, WrittenDisk, efi::PartitionSignature, guest::Traces, table,
    },
    inventory,
    session::backoff::chain,
    stream::{self, WriteFailure, WriteFigures, WriteNote, WriteProgress, WriteRequest},
    target::Target as _,
    tasks::{Disarmed, Leave, Restart, Trouble, disk, record::Record},
};

/// Switches announce themselves every 30 seconds.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(35);

/// The machine that the agent runs on, below a root folder.
#[derive(Clone)]
pub struct Local {
    root: PathBuf,
    places: Places,
    restart: Restart,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Local {
    /// With `/` or a tree of a test, the agent's state folder, and what ends the life of the ramdisk.
    #[must_use]
    pub fn new(root: &Path, state: &Path, restart: Restart) -> Self {
        Self {
            root: root.to_path_buf(),
            places: Places::below(root, state),
            restart,
        }
    }
}

impl Machine for Local {
    fn boot_id(&self) -> String {
        inventory::boot_id(&self.root)
    }

    fn fingerprint(&self) -> Fingerprint {
        inventory::fingerprint(&self.root, &inventory::Live::now(&self.root))
    }

    fn inventory(&self) -> Inventory {
        inventory::read(&self.root, &inventory::Live::now(&self.root))
    }

    fn learn(&self, publish: watch::Sender<Inventory>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(learn(self.root.clone(), publish, stop))
    }

    fn disks(&self) -> Vec<Disk> {
        inventory::disks(&self.root)
    }

    fn claim(&self, disk: &Disk, claimed: Option<&str>) -> Result<Claim, Trouble> {
        let path = self.places.dev.join(&disk.kernel_name);
        let sector = u64::from(disk.logical_sector_bytes);
        // What firmware entries may point at; a disk without a table, or with a broken one, had none.
        let former = File::open(&path).map(|mut file| table::read(&mut file, sector));
        let former = former
            .ok()
            .and_then(Result::ok)
            .map(|table| finish::signatures(&table))
            .unwrap_or_default();
        let target = disk::claim(&path, claimed)?;
        Ok(Claim {
            identity: target.identity(),
            target,
            former,
        })
    }

    fn write<'a>(
        &'a self,
        request: WriteRequest,
        progress: watch::Sender<WriteProgress>,
        notes: mpsc::UnboundedSender<WriteNote>,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<WriteFigures, WriteFailure>> {
        Box::pin(async move {
            let written = stream::write_image(request, progress, notes, cancel).await?;
            Ok(written.figures)
        })
    }

    fn free(&self, disk: &WrittenDisk, claimed: &str) -> Result<(), Trouble> {
        disk::still_there(&self.places.device(disk), claimed)?;
        finish::clear_mounts(&self.places).map_err(|error| Trouble::new(chain(&error), error.remedy()))
    }

    fn system(
        &self,
        disk: &WrittenDisk,
        plan: &FinishPlan,
        prepared: bool,
    ) -> Result<(Arc<dyn Installed>, Done), FinishError> {
        let (system, done) = if prepared {
            (System::find(&self.places, disk, plan)?, Done::default())
        } else {
            System::prepare(&self.places, disk, plan)?
        };
        let here = OnDisk {
            places: self.places.clone(),
            disk: disk.clone(),
            system,
        };
        Ok((Arc::new(here), done))
    }

    fn disarm<'a>(&'a self, record: &'a Record, hung: bool) -> BoxFuture<'a, Disarmed> {
        Box::pin(disk::disarm(&self.places, record, hung))
    }

    fn leave(&self, leave: Leave) {
        (self.restart)(leave);
    }
}

/// A system on a disk of this machine.
struct OnDisk {
    places: Places,
    disk: WrittenDisk,
    system: System,
}

impl Installed for OnDisk {
    fn seed(&self, plan: &FinishPlan) -> Result<Done, FinishError> {
        self.system.seed(&self.places, &self.disk, plan)
    }

    fn guest(&self, plan: &FinishPlan, traces: &Traces) -> Result<Done, FinishError> {
        self.system.guest(&self.places, plan, traces)
    }

    fn boot_entry(
        &self,
        plan: &FinishPlan,
        formerly_here: &[PartitionSignature],
    ) -> Result<(String, Done), FinishError> {
        self.system
            .boot_entry(&self.places, &self.disk, plan, formerly_here)
    }

    fn let_boot(&self) -> Result<(), FinishError> {
        finish::let_boot(&self.places, &self.disk)
    }

    fn reports(&self) -> bool {
        self.system.reports()
    }
}

/// Asks devices and listens for neighbours beside the session, and publishes what that adds to the inventory.
///
/// Nothing else of it is read again: while the agent works, what it does to a disk would look like somebody's use of it.
async fn learn(root: PathBuf, publish: watch::Sender<Inventory>, stop: CancellationToken) {
    let inventory = publish.borrow().clone();
    let asking = {
        let inventory = inventory.clone();
        tokio::task::spawn_blocking(move || inventory::Live::of_devices(&root, &inventory))
    };
    // What was learned is sent only if it is something.
    let complete = |live: &inventory::Live| {
        publish.send_if_modified(|inventory| {
            let before = inventory.clone();
            live.complete(inventory);
            *inventory != before
        });
    };
    let devices = async {
        match asking.await {
            Ok(live) => complete(&live),
            Err(error) => tracing::warn!(%error, "disks and management controller cannot be asked"),
        }
    };
    let neighbours = async {
        let live = inventory::Live::of_neighbours(&inventory, NEIGHBOUR_PATIENCE).await;
        complete(&live);
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = async { tokio::join!(devices, neighbours) } => {}
    }
}
