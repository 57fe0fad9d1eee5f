//! A boot of a machine that is made up, as the agent sees it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use imprint_agent::{
    finish::{
        Done, FinishError, WrittenDisk,
        confined::ConfinedRoot,
        efi::PartitionSignature,
        guest::{self, GuestError, Traces},
        profile::Profile,
    },
    machine::{Claim, Installed, Line, Machine},
    stream::{self, WriteFailure, WriteFigures, WriteNote, WriteProgress, WriteRequest, WriterChoice},
    target::{FileTarget, Target},
    tasks::{Disarmed, Leave, Trouble, record::Record},
};
use imprint_proto::agent::v1::{Disk, Fingerprint, FinishPlan, Inventory};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    disk::{self, Hollow},
    faults::Plan,
    hardware::Hardware,
    tally::{Gauge, Lines, NodeTally, Standing},
};

/// The version that an old agent says it has.
pub const OLD_VERSION: &str = "0.0.9";

/// What all nodes share.
#[derive(Debug)]
pub struct Shared {
    /// Counters.
    pub lines: Lines,
    /// Writes with the agent's engine, so many at a time.
    pub engines: Arc<Semaphore>,
    /// Digest of the image's content, which written disks are compared with.
    pub image: std::sync::OnceLock<(blake3::Hash, u64)>,
    /// The guest plugin and its units, as the ramdisk has them.
    pub plugin: PathBuf,
}

/// One boot of one machine.
#[derive(Debug)]
pub struct MadeUp {
    /// What it is.
    pub hardware: Arc<Hardware>,
    /// The kernel's random id.
    pub boot_id: String,
    /// What the agent says of itself.
    pub version: &'static str,
    /// How long a write takes.
    pub takes: Duration,
    /// Whether the agent's engine writes.
    pub engine: bool,
    /// The node's folder: `system` and `disk.raw`, its disk.
    pub folder: PathBuf,
    /// What goes wrong.
    pub plan: Plan,
    /// Rung once, when the write has come to where it goes wrong.
    pub struck: CancellationToken,
    /// Rung when the agent restarts the machine.
    pub restarts: CancellationToken,
    /// Whether its line is open.
    pub gauge: Gauge,
    /// What the node has seen.
    pub tally: Arc<NodeTally>,
    /// The fleet.
    pub shared: Arc<Shared>,
    /// The agent has its certificate.
    pub enrolled: AtomicBool,
}

impl MadeUp {
    fn system(&self) -> PathBuf {
        self.folder.join("system")
    }

    fn disk_file(&self) -> PathBuf {
        self.folder.join("disk.raw")
    }

    async fn engine(
        &self,
        mut request: WriteRequest,
        progress: watch::Sender<WriteProgress>,
        notes: mpsc::UnboundedSender<WriteNote>,
        cancel: CancellationToken,
    ) -> Result<WriteFigures, WriteFailure> {
        let _turn = self.shared.engines.acquire().await;
        request.options.max_memory_bytes = 24 << 20;
        request.options.workers = Some(1);
        request.options.writer = WriterChoice::Threads;
        let written = stream::write_image(request, progress, notes, cancel).await?;
        let (path, expected) = (self.disk_file(), self.shared.image.get().copied());
        let compared = tokio::task::spawn_blocking(move || compare(&path, expected)).await;
        match compared {
            Ok(Ok(())) => {
                self.shared.lines.proved.fetch_add(1, Relaxed);
                Ok(written.figures)
            }
            Ok(Err(error)) => Err(disk::contradicts(error.to_string())),
            Err(error) => Err(disk::contradicts(error.to_string())),
        }
    }
}

/// Compares the bytes of a written disk with the image.
fn compare(path: &Path, expected: Option<(blake3::Hash, u64)>) -> io::Result<()> {
    let (expected, len) = expected.ok_or_else(|| io::Error::other("no image is known to compare with"))?;
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut io::Read::take(fs::File::open(path)?, len), &mut hasher)?;
    if hasher.finalize() == expected {
        return Ok(());
    }
    Err(io::Error::other("the disk holds other bytes than the image"))
}

impl Machine for MadeUp {
    fn version(&self) -> &str {
        self.version
    }

    fn boot_id(&self) -> String {
        self.boot_id.clone()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.hardware.fingerprint()
    }

    fn inventory(&self) -> Inventory {
        let mut inventory = self.hardware.inventory.clone();
        self.version.clone_into(&mut inventory.agent_version);
        inventory
    }

    fn learn(&self, _publish: watch::Sender<Inventory>, _stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn disks(&self) -> Vec<Disk> {
        self.hardware.inventory.disks.clone()
    }

    fn claim(&self, disk: &Disk, claimed: Option<&str>) -> Result<Claim, Trouble> {
        if claimed.is_none() {
            self.blank().map_err(|error| broken(&error))?;
        }
        let path = self.disk_file();
        let target: Arc<dyn Target> = if self.engine {
            let file = FileTarget::open(&path, Some(disk.size_bytes));
            Arc::new(file.map_err(|error| broken(&error))?)
        } else {
            Arc::new(Hollow::of(&path, disk.size_bytes))
        };
        let identity = target.identity();
        if claimed.is_some_and(|claimed| claimed != identity) {
            return Err(Trouble::new(
                format!("the disk of this task is gone: claimed was {claimed:?}, here is {identity}"),
                "report this as a fault of the fleet simulator",
            ));
        }
        Ok(Claim {
            target,
            identity,
            former: Vec::new(),
        })
    }

    fn write<'a>(
        &'a self,
        request: WriteRequest,
        progress: watch::Sender<WriteProgress>,
        notes: mpsc::UnboundedSender<WriteNote>,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<WriteFigures, WriteFailure>> {
        if self.engine {
            return Box::pin(self.engine(request, progress, notes, cancel));
        }
        Box::pin(async move {
            let strikes = |percent| {
                if percent >= self.plan.at_percent {
                    self.struck.cancel();
                }
            };
            let written = disk::pace(&request, self.takes, &progress, &cancel, strikes).await;
            drop(notes);
            written
        })
    }

    fn free(&self, _disk: &WrittenDisk, claimed: &str) -> Result<(), Trouble> {
        if claimed.is_empty() {
            return Err(Trouble::new(
                "no disk was claimed",
                "report this as a fault of the agent",
            ));
        }
        Ok(())
    }

    fn system(
        &self,
        _disk: &WrittenDisk,
        plan: &FinishPlan,
        prepared: bool,
    ) -> Result<(Arc<dyn Installed>, Done), FinishError> {
        let system = OnFolder {
            root: self.system(),
            plugin: self.shared.plugin.clone(),
            boot_entry: self.hardware.platform == "efi",
        };
        if !prepared {
            system.make(plan).map_err(cannot_write)?;
        }
        let done = Done {
            detail: "the last partition fills the disk".to_owned(),
            notes: Vec::new(),
        };
        Ok((Arc::new(system), done))
    }

    fn disarm<'a>(&'a self, _record: &'a Record, _hung: bool) -> BoxFuture<'a, Disarmed> {
        let mut disarmed = Disarmed::default();
        match self.blank() {
            Ok(()) => disarmed.head_cleared = true,
            Err(error) => disarmed.troubles.push(broken(&error)),
        }
        Box::pin(std::future::ready(disarmed))
    }

    fn leave(&self, _leave: Leave) {
        self.restarts.cancel();
    }

    fn line(&self, change: Line) {
        let lines = &self.shared.lines;
        match change {
            Line::Dials => {
                if !self.enrolled.swap(true, Relaxed) {
                    lines.booted.fetch_add(1, Relaxed);
                }
                lines.dialled.fetch_add(1, Relaxed);
            }
            Line::Open => {
                self.gauge.opens(lines);
                self.tally.opened.fetch_add(1, Relaxed);
                self.tally.stands(Standing::Connected);
            }
            Line::Lost => {
                self.gauge.closes(lines);
                self.tally.stands(Standing::Calls);
            }
        }
    }
}

impl MadeUp {
    /// Nothing is on the disk any more.
    fn blank(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.system()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn broken(error: &dyn std::error::Error) -> Trouble {
    Trouble::new(
        format!("the folder of this made-up machine cannot be used: {error}"),
        "give --state a folder in RAM with room",
    )
}

fn cannot_write(source: io::Error) -> FinishError {
    FinishError::Guest(GuestError::Ramdisk {
        path: PathBuf::from("system"),
        source,
    })
}

/// A system of a few files: what its guest plugin reads, and what the agent's own code writes.
struct OnFolder {
    root: PathBuf,
    plugin: PathBuf,
    boot_entry: bool,
}

impl OnFolder {
    /// The files that an image would bring, and those that its kernel would show.
    fn make(&self, plan: &FinishPlan) -> io::Result<()> {
        let put = |path: &str, text: &str| -> io::Result<()> {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
            fs::write(path, text)
        };
        put(
            "etc/os-release",
            "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
        )?;
        put("etc/machine-id", &format!("{}\n", Uuid::new_v4().simple()))?;
        put("proc/sys/kernel/hostname", &format!("{}\n", plan.hostname))?;
        put("proc/sys/kernel/osrelease", "6.1.0-30-amd64\n")?;
        put("proc/uptime", "21.50 40.00\n")
    }
}

impl Installed for OnFolder {
    fn seed(&self, plan: &FinishPlan) -> Result<Done, FinishError> {
        let seed = plan.seed.clone().unwrap_or_default();
        let write = || -> io::Result<()> {
            let folder = self.root.join("var/lib/cloud/seed/nocloud");
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("meta-data"), &seed.meta_data)?;
            fs::write(folder.join("user-data"), &seed.user_data)
        };
        write().map_err(cannot_write)?;
        Ok(Done {
            detail: "identity of the image removed, seed written".to_owned(),
            notes: Vec::new(),
        })
    }

    fn guest(&self, plan: &FinishPlan, traces: &Traces) -> Result<Done, FinishError> {
        let root = ConfinedRoot::open(&self.root)?;
        let profile = Profile {
            systemd: true,
            ..Profile::default()
        };
        let detail = guest::install(&root, &profile, &self.plugin, plan.guest.as_ref(), traces)?;
        Ok(Done {
            detail,
            notes: Vec::new(),
        })
    }

    fn boot_entry(
        &self,
        _plan: &FinishPlan,
        _formerly_here: &[PartitionSignature],
    ) -> Result<(String, Done), FinishError> {
        let entry = if self.boot_entry {
            r"Boot0003 debian \EFI\debian\shimx64.efi"
        } else {
            ""
        };
        let done = Done {
            detail: format!("the next boot goes to the disk {entry}")
                .trim_end()
                .to_owned(),
            notes: Vec::new(),
        };
        Ok((entry.to_owned(), done))
    }

    /// What it writes has no table.
    fn let_boot(&self) -> Result<(), FinishError> {
        Ok(())
    }

    fn reports(&self) -> bool {
        true
    }
}
