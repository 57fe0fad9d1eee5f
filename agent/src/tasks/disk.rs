//! The disk of a task: found once all disks are there, known again by its identity, and unable to boot when the task
//! fails.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use imprint_proto::agent::v1::Disk;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use crate::{
    finish::{self, Places, WrittenDisk},
    session::backoff::chain,
    target::{self, BlockDevice, Target as _},
};

/// Two readings this far apart have to show the same disks before one of them is chosen.
pub(super) const READINGS_APART: Duration = Duration::from_secs(2);
/// The disks of a machine get this long to appear.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// The longest a step's work on the disk may take; growing a large file system takes minutes.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(600);
const CLEAR_LIMIT: Duration = Duration::from_secs(60);

/// Why work on a disk came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened, with all its causes.
    pub cause: String,
    /// What an operator can do.
    pub remedy: String,
    /// The disk may still take what was sent to it.
    pub hung: bool,
}

impl Trouble {
    /// Of a disk that answers.
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            remedy: remedy.into(),
            hung: false,
        }
    }
}

/// Disk work off the network's threads. A panic in it is a failure of the step, not of the agent, and a disk that
/// does not answer holds up one thread, not the task.
pub(super) async fn blocking<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    match timeout(limit, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(Trouble::new(
            format!("the agent has failed inside of the step: {error}"),
            "report this with the agent's log (journalctl -u imprint-agent on the machine's console)",
        )),
        Err(_) => Err(Trouble {
            hung: true,
            ..Trouble::new(
                format!("the disk has not answered for {} s", limit.as_secs_f64()),
                "power-cycle the machine and look at the disk, its cable and its controller",
            )
        }),
    }
}

/// Reads until two readings in a row show the same disks: a rule that is judged while drivers still find disks may
/// name another one than it would a second later.
pub(super) async fn settled<F: Future<Output = Result<Vec<Disk>, Trouble>>>(
    mut read: impl FnMut() -> F,
    pause: Duration,
    limit: Duration,
    cancel: &CancellationToken,
) -> Result<Vec<Disk>, Trouble> {
    let began = Instant::now();
    let mut before = read().await?;
    loop {
        tokio::select! {
            () = cancel.cancelled() => {
                return Err(Trouble::new("the deployment was cancelled", "deploy again when wanted"));
            }
            () = tokio::time::sleep(pause) => {}
        }
        let now = read().await?;
        if marks(&before) == marks(&now) {
            return Ok(now);
        }
        if began.elapsed() >= limit {
            return Err(Trouble::new(
                format!(
                    "the disks of this machine still come and go after {} s",
                    limit.as_secs()
                ),
                "look for a failing disk, cable or controller in the kernel log, then deploy again",
            ));
        }
        before = now;
    }
}

/// What disk rules judge by and does not change while a disk is there.
fn marks(disks: &[Disk]) -> Vec<(&str, &str, &str, &str, u64)> {
    let mut marks: Vec<_> = disks
        .iter()
        .map(|disk| {
            let (name, path) = (disk.kernel_name.as_str(), disk.by_path.as_str());
            (
                name,
                path,
                disk.serial.as_str(),
                disk.wwn.as_str(),
                disk.size_bytes,
            )
        })
        .collect();
    marks.sort_unstable();
    marks
}

/// Whether the disk that has the name now is the one that the task has claimed.
pub(super) fn same(claimed: &str, now: &str) -> Result<(), Trouble> {
    if claimed == now {
        return Ok(());
    }
    Err(Trouble::new(
        format!(
            "the disk of this task is gone: claimed was \"{claimed}\", its name now belongs to \"{now}\""
        ),
        "check the disk's seating, cable and controller, then deploy again",
    ))
}

/// As [`same`], for what is at `path` now.
pub(crate) fn still_there(path: &Path, claimed: &str) -> Result<(), Trouble> {
    let now = target::identity_of(path).unwrap_or_else(|error| format!("nothing: {error}"));
    same(claimed, &now)
}

/// What became of a disk whose system is not wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disarmed {
    /// Nothing boots from it.
    pub head_cleared: bool,
    /// Files with secrets that were overwritten.
    pub erased: usize,
    /// What could not be done, and what an operator has to know because of it.
    pub troubles: Vec<Trouble>,
}

impl Disarmed {
    /// Adds what could not be done to the words about the failure.
    pub(super) fn tell(&self, cause: &mut String, remedy: &mut String) {
        for trouble in &self.troubles {
            cause.push_str(&format!("; and {}", trouble.cause));
            remedy.push_str(&format!("; {}", trouble.remedy));
        }
    }
}

/// The disk of the task must not boot, and must not hand its secrets to whoever looks at it next: first those are
/// overwritten, since that needs the partition table, then the head is cleared, unless what was on it before is to stay.
/// `hung`: it is not asked at all.
pub(crate) async fn disarm(places: &Places, record: &Record, hung: bool) -> Disarmed {
    let silent = || Trouble::new("it does not answer", "");
    let name = record.disk.as_ref().map_or("", |disk| &disk.kernel_name);
    let mut disarmed = Disarmed::default();
    if record.seeded {
        let erased = if hung {
            Err(silent())
        } else {
            erase_secrets(places, record).await
        };
        match erased {
            Ok(count) => disarmed.erased = count,
            Err(trouble) => disarmed.troubles.push(Trouble::new(
                format!(
                    "user-data and report token may still be readable on {name}: {}",
                    trouble.cause
                ),
                "treat the secrets in the user-data as known to whoever gets the disk",
            )),
        }
    }
    if record.kept {
        return disarmed;
    }
    let cleared = if hung {
        Err(silent())
    } else {
        clear_head(places, record).await
    };
    match cleared {
        Ok(()) => disarmed.head_cleared = true,
        Err(trouble) => disarmed.troubles.push(Trouble::new(
            format!("the head of {name} could not be cleared: {}", trouble.cause),
            "the disk may still boot the unfinished system: deploy again or wipe it",
        )),
    }
    disarmed
}

async fn erase_secrets(places: &Places, record: &Record) -> Result<usize, Trouble> {
    let disk = record.disk.clone().unwrap_or_default();
    let written = WrittenDisk {
        name: disk.kernel_name,
        sector_bytes: u64::from(disk.logical_sector_bytes),
        size_bytes: disk.size_bytes,
    };
    let (places, claimed) = (places.clone(), record.identity.clone());
    blocking(CLEAR_LIMIT, move || {
        still_there(&places.device(&written), &claimed)?;
        finish::erase_secrets(&places, &written).map_err(|error| Trouble::new(chain(&error), error.remedy()))
    })
    .await
}

async fn clear_head(places: &Places, record: &Record) -> Result<(), Trouble> {
    let name = record.disk.as_ref().map(|disk| disk.kernel_name.clone());
    let (places, claimed) = (places.clone(), record.identity.clone());
    let path = places.dev.join(name.unwrap_or_default());
    blocking(CLEAR_LIMIT, move || {
        // A mount that a failed step left would keep the disk from being claimed.
        finish::clear_mounts(&places).map_err(|error| Trouble::new(chain(&error), error.remedy()))?;
        let device = BlockDevice::open_exclusive(&path)
            .map_err(|error| Trouble::new(chain(&error), error.remedy()))?;
        same(&claimed, &device.identity())?;
        target::clear_head(&device).map_err(|error| Trouble::new(chain(&error), error.remedy()))
    })
    .await
}

/// Claims the disk at `path`; one that was claimed before must be the same.
pub(crate) fn claim(path: &Path, claimed: Option<&str>) -> Result<Arc<BlockDevice>, Trouble> {
    let known = |now: &str| claimed.map_or(Ok(()), |claimed| same(claimed, now));
    if let Some(claimed) = claimed {
        still_there(path, claimed)?;
    }
    let device =
        BlockDevice::open_exclusive(path).map_err(|error| Trouble::new(chain(&error), error.remedy()))?;
    known(&device.identity())?;
    Ok(Arc::new(device))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs};

    use imprint_proto::agent::v1::{CloudInitSeed, FinishPlan, GuestPlan};

    use super::*;
    use crate::finish::{
        guest::Traces,
        tests::{MIB, disk as loop_disk},
    };

    fn disks(names: &[&str]) -> Vec<Disk> {
        let disk = |name: &&str| Disk {
            kernel_name: (*name).to_owned(),
            ..Disk::default()
        };
        names.iter().map(disk).collect()
    }

    #[tokio::test]
    async fn disks_are_taken_once_two_readings_agree() {
        let readings: [&[&str]; 4] = [
            &["sda"],
            &["sda", "sdb"],
            &["sdb", "sda", "sdc"],
            &["sdc", "sda", "sdb"],
        ];
        let count = Cell::new(0);
        let read = || {
            let at = count.replace(count.get() + 1);
            std::future::ready(Ok(disks(readings[at])))
        };
        let never = CancellationToken::new();
        let found = settled(read, Duration::ZERO, SETTLE_LIMIT, &never).await.unwrap();
        assert_eq!((found.len(), count.get()), (3, 4));

        let restless = || {
            count.set(count.get() + 1);
            std::future::ready(Ok(disks(&["sda", "sdb"][..1 + count.get() % 2])))
        };
        let error = settled(restless, Duration::ZERO, Duration::ZERO, &never)
            .await
            .unwrap_err();
        assert!(error.cause.contains("come and go"), "{error:?}");

        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let still = || std::future::ready(Ok(disks(&["sda"])));
        let error = settled(still, Duration::from_secs(60), SETTLE_LIMIT, &cancelled)
            .await
            .unwrap_err();
        assert!(error.cause.contains("cancelled"), "{error:?}");
    }

    #[tokio::test]
    async fn a_disk_that_does_not_answer_ends_the_step() {
        let (answer, asked) = std::sync::mpsc::channel::<()>();
        let hangs = move || {
            asked.recv().ok();
            Ok(())
        };
        let trouble = blocking(Duration::from_millis(20), hangs).await.unwrap_err();
        assert!(
            trouble.hung && trouble.cause.contains("not answered"),
            "{trouble:?}"
        );
        drop(answer);
        let trouble = blocking::<()>(STEP_LIMIT, || panic!("a fault"))
            .await
            .unwrap_err();
        assert!(!trouble.hung && trouble.cause.contains("a fault"), "{trouble:?}");
    }

    #[test]
    fn another_disk_under_the_same_name_is_not_touched() {
        assert_eq!(same("block 8:0 disk 3", "block 8:0 disk 3"), Ok(()));
        let trouble = same("block 8:0 disk 3", "block 8:0 disk 9").unwrap_err();
        assert!(trouble.cause.contains("is gone") && !trouble.remedy.is_empty());
        assert!(still_there(Path::new("/dev/no-such-disk"), "block 8:0 disk 3").is_err());
    }

    #[tokio::test]
    async fn a_disk_that_is_not_wanted_keeps_no_secret_and_no_head() {
        const SECRET: &str = "secret-of-the-user-data";
        let folder = tempfile::tempdir().unwrap();
        let Some((device, image)) = loop_disk(folder.path(), 512) else {
            return; // no root, no loop devices
        };
        let disk = Disk {
            kernel_name: device.0.strip_prefix("/dev/").unwrap().to_owned(),
            logical_sector_bytes: 512,
            size_bytes: 96 * MIB,
            ..Disk::default()
        };
        let places = Places {
            mounts: folder.path().join("mnt"),
            guest: folder.path().join("guest"),
            ..Places::below(Path::new("/"), folder.path())
        };
        fs::create_dir_all(&places.guest).unwrap();
        fs::write(places.guest.join("imprint-guest"), "ELF").unwrap();
        let written = WrittenDisk {
            name: disk.kernel_name.clone(),
            sector_bytes: 512,
            size_bytes: 96 * MIB,
        };
        let secret = || format!("#cloud-config\npassword: {SECRET}\n").into_bytes();
        let plan = FinishPlan {
            seed: Some(CloudInitSeed {
                meta_data: secret(),
                user_data: secret(),
                vendor_data: secret(),
                network_config: secret(),
            }),
            guest: Some(GuestPlan {
                report_token: SECRET.into(),
                ..GuestPlan::default()
            }),
            ..FinishPlan::default()
        };
        let layout = finish::find_layout(&places, &written).unwrap();
        // The second time is that of an agent that was killed in between.
        for _ in 0..2 {
            finish::seed(&places, &layout, &plan).unwrap();
            finish::guest(&places, &layout, &plan, &Traces::default()).unwrap();
        }
        let on_disk = || {
            let bytes = fs::read(&image).unwrap();
            bytes
                .windows(SECRET.len())
                .filter(|bytes| *bytes == SECRET.as_bytes())
                .count()
        };
        assert_eq!(on_disk(), 5, "nothing is left of the first time");

        let record = Record {
            identity: target::identity_of(Path::new(&device.0)).unwrap(),
            disk: Some(disk),
            seeded: true,
            ..Record::default()
        };
        // A system that was there before stays, without the secrets of the task that failed.
        let kept = Record {
            kept: true,
            ..record.clone()
        };
        let head = || fs::read(&image).unwrap()[..512].to_vec();
        let before = head();
        let disarmed = disarm(&places, &kept, false).await;
        assert_eq!(
            (disarmed.head_cleared, disarmed.troubles.as_slice()),
            (false, &[][..])
        );
        assert_eq!((disarmed.erased, on_disk(), head()), (5, 0, before));

        finish::seed(&places, &layout, &plan).unwrap();
        finish::guest(&places, &layout, &plan, &Traces::default()).unwrap();
        let disarmed = disarm(&places, &record, false).await;
        assert_eq!(disarmed.troubles, []);
        assert!(disarmed.head_cleared && disarmed.erased == 5, "{disarmed:?}");
        assert_eq!(on_disk(), 0);
        assert!(fs::read(&image).unwrap()[..1 << 20].iter().all(|byte| *byte == 0));

        // Without a table the files can't be found: that is told, and the head is cleared all the same.
        let disarmed = disarm(&places, &record, false).await;
        assert!(disarmed.head_cleared);
        let (mut cause, mut remedy) = ("it failed".to_owned(), "look".to_owned());
        disarmed.tell(&mut cause, &mut remedy);
        assert!(
            cause.starts_with("it failed; and user-data and report token may still"),
            "{cause}"
        );
        assert!(remedy.contains("secrets in the user-data"), "{remedy}");
        let disarmed = disarm(&places, &record, true).await;
        assert_eq!((disarmed.head_cleared, disarmed.troubles.len()), (false, 2));
    }
}
