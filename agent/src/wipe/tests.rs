//! Several disks side by side.

use super::{
    nvme::{
        Nvme,
        tests::{Controller, Manner},
    },
    *,
};
use crate::target::faulty::FaultyTarget;
use imprint_proto::agent::v1::WipeMethod;

const LEN: u64 = 4 << 20;

fn job(
    name: &str,
    policy: WipePolicy,
    open: impl FnOnce() -> Result<Device, WipeFault> + Send + 'static,
) -> Job {
    Job {
        disk: Disk {
            kernel_name: name.to_owned(),
            size_bytes: LEN,
            ..Disk::default()
        },
        policy,
        released: vec![format!("md of {name}")],
        drafts: None,
        open: Box::new(open),
    }
}

fn plain(disk: &Arc<FaultyTarget>) -> impl FnOnce() -> Result<Device, WipeFault> + Send + 'static {
    let target = Arc::clone(disk);
    move || {
        Ok(Device {
            target,
            firmware: None,
            path: None,
        })
    }
}

fn disk() -> Arc<FaultyTarget> {
    Arc::new(FaultyTarget::filled(LEN, 0xA5))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_does_not_keep_the_others_from_being_wiped() {
    let (good, bad, last) = (disk(), disk(), disk());
    bad.refuse(LEN / 2, nix::libc::EIO);
    let jobs = vec![
        job("sda", WipePolicy::Overwrite, plain(&good)),
        job("sdb", WipePolicy::Overwrite, plain(&bad)),
        job("sdc", WipePolicy::Overwrite, || panic!("a fault of the agent")),
        job("sdd", WipePolicy::Discard, plain(&last)),
    ];
    let (progress, seen) = watch::channel(Vec::new());
    let done = wipe_all(jobs, Duration::ZERO, progress, &CancellationToken::new()).await;
    let wiped: Vec<_> = done.iter().map(|certificate| certificate.wiped).collect();
    assert_eq!(wiped, [true, false, false, true]);
    assert!(
        done[1].cause.contains("could not be overwritten"),
        "{}",
        done[1].cause
    );
    assert!(
        done[2].cause.contains("the agent has failed"),
        "{}",
        done[2].cause
    );
    assert!(
        done.iter()
            .all(|certificate| certificate.released[0].starts_with("md of sd"))
    );
    assert_eq!((seen.borrow().len(), seen.borrow()[0].total), (4, LEN));
    assert!(good.content().iter().all(|byte| *byte == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_heard_at_once_and_tells_of_the_disk_that_goes_on_by_itself() {
    let erasing = disk();
    let controller = Controller::over(Arc::clone(&erasing));
    controller.behave(Manner {
        hangs: true,
        ..Manner::default()
    });
    let (target, port) = (Arc::clone(&erasing), controller.clone());
    let cancel = CancellationToken::new();
    let jobs = vec![job("nvme0n1", WipePolicy::Auto, move || {
        Ok(Device {
            target,
            firmware: Some(Box::new(Nvme(port))),
            path: None,
        })
    })];
    let (progress, mut seen) = watch::channel(Vec::<DiskProgress>::new());
    let asked = cancel.clone();
    let canceller = tokio::spawn(async move {
        seen.wait_for(|disks: &Vec<DiskProgress>| disks.first().is_some_and(|disk| disk.by_itself))
            .await
            .ok();
        asked.cancel();
    });
    let done = wipe_all(jobs, Duration::from_secs(3600), progress, &cancel).await;
    canceller.await.unwrap();
    assert!(done[0].cause.contains("goes on"), "{}", done[0].cause);
    assert_eq!(
        (done[0].wiped, done[0].method()),
        (false, WipeMethod::NvmeSanitizeBlock)
    );
    assert_eq!(controller.told(0x84).len(), 1);
}
