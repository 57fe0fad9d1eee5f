//! Whole wipes: disks in RAM that keep or break their word, files and loop devices with file systems on them.

use std::{fs, path::Path, process::Command, sync::Arc};

use imprint_proto::agent::v1::{Transport, WipeExpectation};
use nix::libc;

use super::*;
use crate::{
    target::{
        Operation,
        faulty::{DiskFault, FaultyTarget, Rule},
        loop_device::Loop,
    },
    wipe::{
        ata::{Ata, tests as ata},
        control::tests::control,
        nvme::{
            Nvme,
            tests::{Controller, Manner},
        },
    },
};

const LEN: u64 = 24 << 20;
const MARKER: &[u8] = b"imprint: the last tenant's secret";

fn wipe(policy: WipePolicy) -> DiskWipe {
    DiskWipe {
        disk: Disk {
            kernel_name: "disk".to_owned(),
            serial: "S1".to_owned(),
            size_bytes: LEN,
            ..Disk::default()
        },
        policy,
        released: vec!["md127".to_owned()],
        drafts: None,
    }
}

/// A disk full of something that is nowhere the same.
fn full() -> Arc<FaultyTarget> {
    let content: Vec<u8> = (0..LEN / 4)
        .flat_map(|word| {
            u32::try_from(word)
                .unwrap()
                .wrapping_mul(2_654_435_761)
                .to_le_bytes()
        })
        .collect();
    Arc::new(FaultyTarget::holding(content))
}

fn run(wipe: &DiskWipe, disk: &Arc<FaultyTarget>, firmware: Option<Box<dyn Firmware>>) -> WipeCertificate {
    let (control, _seen, _stop) = control(LEN);
    let target = Arc::clone(disk);
    let open = move || {
        Ok(Device {
            target,
            firmware,
            path: None,
        })
    };
    wipe.run(open, &control)
}

fn is_clear(disk: &FaultyTarget) -> bool {
    disk.content().iter().all(|byte| *byte == 0)
}

fn at_the_middle(operation: Operation, fault: DiskFault) -> Rule {
    Rule {
        operation,
        place: LEN / 2,
        skip: 0,
        times: u32::MAX,
        fault,
    }
}

#[test]
fn an_overwrite_is_proven_and_its_certificate_complete() {
    let disk = full();
    let done = run(&wipe(WipePolicy::Overwrite), &disk, None);
    assert!(done.wiped && is_clear(&disk), "{}", done.cause);
    assert_eq!(
        (done.method(), done.policy()),
        (WipeMethod::Overwrite, WipePolicy::Overwrite)
    );
    assert_eq!((done.bytes_overwritten, done.bytes_zeroed), (LEN, 0));
    assert_eq!(
        (done.released.as_slice(), done.cause.as_str()),
        (&["md127".to_owned()][..], "")
    );
    assert!(
        done.statement.contains("Spare and replaced") && done.started_at.is_some() && done.ended_at.is_some()
    );
    let samples = done.samples.unwrap();
    assert_eq!(
        (samples.count, samples.as_expected, samples.expected()),
        (130, 130, WipeExpectation::Zeroes)
    );
    let plan = SamplePlan::new(samples.seed.as_slice().try_into().unwrap(), LEN, 512);
    assert_eq!(
        (plan.digest().to_vec(), plan.bytes()),
        (samples.places_digest, samples.bytes)
    );
}

#[test]
fn discard_is_by_command_or_written_and_says_which() {
    let done = run(&wipe(WipePolicy::Discard), &full(), None);
    assert!(done.wiped, "{}", done.cause);
    assert_eq!((done.method(), done.bytes_zeroed), (WipeMethod::ZeroCommand, LEN));
    let plain = Arc::new(FaultyTarget::filled(LEN, 0xA5).without_zero_command());
    let done = run(&wipe(WipePolicy::Discard), &plain, None);
    assert!(done.wiped && is_clear(&plain), "{}", done.cause);
    assert_eq!(
        (done.method(), done.bytes_overwritten),
        (WipeMethod::Overwrite, LEN)
    );
    assert!(done.passed_over[0].reason.contains("no command for zeroes"));
}

#[test]
fn a_disk_that_does_not_keep_zeroes_is_caught_where_it_is_sampled() {
    // It keeps one byte of each 4 KiB whatever it is told.
    for policy in [WipePolicy::Overwrite, WipePolicy::Discard] {
        let disk = full();
        for place in (3 << 20..LEN).step_by(4096) {
            disk.corrupt(place, 0xEE);
        }
        let done = run(&wipe(policy), &disk, None);
        assert!(
            !done.wiped && done.cause.contains("still holds something at"),
            "{}",
            done.cause
        );
        let samples = done.samples.unwrap();
        assert!(samples.as_expected < samples.count && samples.wrong_at_bytes.unwrap() >= 3 << 20);
        assert!(done.statement.contains("not wiped") && !done.remedy.is_empty());
    }
}

#[test]
fn a_write_error_is_a_failure_with_its_place() {
    let disk = full();
    disk.inject(at_the_middle(Operation::Write, DiskFault::Errno(libc::EIO)));
    let done = run(&wipe(WipePolicy::Overwrite), &disk, None);
    assert!(
        !done.wiped
            && done.cause.contains(&format!(
                "65536 bytes could not be overwritten, the first ones at {}",
                LEN / 2
            )),
        "{}",
        done.cause
    );
    let dead = full();
    dead.inject(at_the_middle(Operation::Zero, DiskFault::Errno(libc::EIO)));
    let done = run(&wipe(WipePolicy::Discard), &dead, None);
    assert!(
        !done.wiped && done.cause.contains("cannot zero"),
        "{}",
        done.cause
    );
    let flush = full();
    flush.refuse_flush(libc::EIO);
    assert!(!run(&wipe(WipePolicy::Overwrite), &flush, None).wiped);
}

#[test]
fn auto_takes_what_proves_most() {
    let disk = full();
    let controller = Controller::over(Arc::clone(&disk));
    let done = run(
        &wipe(WipePolicy::Auto),
        &disk,
        Some(Box::new(Nvme(controller.clone()))),
    );
    assert!(done.wiped, "{}", done.cause);
    assert_eq!(
        (done.method(), done.bytes_zeroed),
        (WipeMethod::NvmeSanitizeBlock, 2 << 20)
    );
    let samples = done.samples.unwrap();
    assert_eq!(
        (samples.expected(), samples.as_expected),
        (WipeExpectation::Changed, samples.count)
    );
    assert_eq!((samples.planted, done.commands.len()), (64, 2));
    assert!(disk.content()[1 << 20..23 << 20].iter().all(|byte| *byte == 0xFF));
    assert!(
        disk.content()[..1 << 20].iter().all(|byte| *byte == 0),
        "both ends are clear"
    );

    let disk = full();
    let controller = Controller::over(Arc::clone(&disk));
    let done = run(
        &wipe(WipePolicy::Auto),
        &disk,
        Some(Box::new(Nvme(controller.without_sanitize().clone()))),
    );
    assert_eq!(
        (done.wiped, done.method(), done.passed_over.len()),
        (true, WipeMethod::NvmeFormat, 2)
    );

    let disk = full();
    let port = ata::Disk::over(Arc::clone(&disk));
    let done = run(&wipe(WipePolicy::Auto), &disk, Some(Box::new(Ata(port))));
    assert_eq!(
        (done.wiped, done.method()),
        (true, WipeMethod::AtaEnhancedSecureErase)
    );
}

#[test]
fn auto_falls_back_and_says_why() {
    let disk = full();
    let controller = Controller::over(Arc::clone(&disk));
    let fails = Manner {
        fails: true,
        ..Manner::default()
    };
    let done = run(
        &wipe(WipePolicy::Auto),
        &disk,
        Some(Box::new(Nvme(controller.behave(fails).clone()))),
    );
    assert!(done.wiped, "{}", done.cause);
    assert_eq!(done.method(), WipeMethod::NvmeFormat);
    assert_eq!(done.passed_over.len(), 2);
    assert!(
        done.passed_over[0].reason.contains("failed"),
        "{:?}",
        done.passed_over
    );

    let disk = full();
    let frozen = ata::Disk::over(Arc::clone(&disk));
    let done = run(
        &wipe(WipePolicy::Auto),
        &disk,
        Some(Box::new(Ata(frozen.freeze().clone()))),
    );
    assert_eq!((done.wiped, done.method()), (true, WipeMethod::Overwrite));
    assert!(done.passed_over[0].reason.contains("frozen") && is_clear(&disk));
}

#[test]
fn a_disk_that_only_says_that_it_erases_is_caught_even_when_it_was_blank() {
    for disk in [full(), Arc::new(FaultyTarget::filled(LEN, 0))] {
        for sanitizes in [true, false] {
            let controller = Controller::over(Arc::clone(&disk));
            controller.behave(Manner {
                lies: true,
                ..Manner::default()
            });
            if !sanitizes {
                controller.without_sanitize();
            }
            let done = run(&wipe(WipePolicy::Auto), &disk, Some(Box::new(Nvme(controller))));
            assert!(
                !done.wiped && done.cause.contains("still holds something"),
                "{}",
                done.cause
            );
            assert!(done.remedy.contains("do not trust"));
        }
    }
}

#[test]
fn an_agent_that_is_started_again_goes_on_and_does_nothing_twice() {
    let state = tempfile::tempdir().unwrap();
    let disk = full();
    let controller = Controller::over(Arc::clone(&disk));
    let with_drafts = DiskWipe {
        drafts: Some(Drafts::of(state.path(), "T1")),
        ..wipe(WipePolicy::Auto)
    };
    // The first agent is killed while the disk sanitizes itself.
    let before = {
        let plan = SamplePlan::new([5; 32], LEN, 512);
        let before = samples::prepare(&*disk, &plan, || true).unwrap().unwrap();
        let mut draft = Draft {
            method: WipeMethod::NvmeSanitizeBlock.into(),
            ..Draft::default()
        };
        draft.set_before(plan.seed(), &before);
        Drafts::of(state.path(), "T1").save(&disk.identity(), draft);
        controller.begin(2);
        before
    };
    let done = run(&with_drafts, &disk, Some(Box::new(Nvme(controller.clone()))));
    assert!(done.wiped, "{}", done.cause);
    assert!(controller.told(0x84).is_empty(), "no second sanitize");
    let samples = done.samples.clone().unwrap();
    assert_eq!((samples.seed, samples.planted), (vec![5; 32], before.planted));

    // The third one finds that all is done.
    let asked = disk.asked().len();
    let again = run(&with_drafts, &disk, Some(Box::new(Nvme(controller.clone()))));
    assert_eq!(
        (again.wiped, again.samples, disk.asked().len()),
        (true, done.samples, asked)
    );

    // Another task does it anew.
    let other = DiskWipe {
        drafts: Some(Drafts::of(state.path(), "T2")),
        ..wipe(WipePolicy::Auto)
    };
    assert!(run(&other, &disk, Some(Box::new(Nvme(controller.clone())))).wiped);
    assert_eq!(controller.told(0x84).len(), 1);
}

#[test]
fn a_sanitize_of_nobody_is_waited_for_and_proves_nothing() {
    let disk = full();
    let controller = Controller::over(Arc::clone(&disk));
    controller.begin(2);
    let done = run(
        &wipe(WipePolicy::Overwrite),
        &disk,
        Some(Box::new(Nvme(controller))),
    );
    assert!(done.wiped && is_clear(&disk), "{}", done.cause);
    assert_eq!((done.method(), done.commands.len()), (WipeMethod::Overwrite, 1));
}

/// An ext4 with a marker file, after a partition table, LVM's label and an array's superblock: what a disk may hold.
fn image(folder: &Path) -> Option<std::path::PathBuf> {
    let (whole, part, file) = (
        folder.join("disk.img"),
        folder.join("part.img"),
        folder.join("marker"),
    );
    fs::write(&file, MARKER.repeat(4096)).unwrap();
    fs::write(&part, vec![0; 16 << 20]).unwrap();
    let made = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let path = part.to_str().unwrap();
    if !made("mkfs.ext4", &["-q", "-F", path]) {
        return None; // no tools for it
    }
    let write = format!("write {} marker", file.display());
    assert!(made("debugfs", &["-w", "-R", &write, path]));
    let mut bytes = vec![0; usize::try_from(LEN).unwrap()];
    bytes[1 << 20..17 << 20].copy_from_slice(&fs::read(&part).unwrap());
    // An MBR with one partition.
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes[450] = 0x83;
    bytes[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[458..462].copy_from_slice(&(16_u32 << 11).to_le_bytes());
    fs::write(&whole, &bytes).unwrap();
    Some(whole)
}

fn count(file: &Path) -> usize {
    let bytes = fs::read(file).unwrap();
    bytes
        .windows(MARKER.len())
        .filter(|window| *window == MARKER)
        .count()
}

fn wipe_path(policy: WipePolicy, path: &Path) -> WipeCertificate {
    let (control, _seen, _stop) = control(LEN);
    wipe(policy).run(|| Device::open(path, Transport::Unspecified), &control)
}

#[test]
fn no_byte_of_a_marker_file_is_left_in_the_raw_disk() {
    let folder = tempfile::tempdir().unwrap();
    for policy in [WipePolicy::Auto, WipePolicy::Overwrite, WipePolicy::Discard] {
        let Some(disk) = image(folder.path()) else { return };
        assert!(count(&disk) > 4000, "the marker is there");
        let done = wipe_path(policy, &disk);
        assert!(done.wiped, "{policy:?}: {}", done.cause);
        assert_eq!((count(&disk), fs::metadata(&disk).unwrap().len()), (0, LEN));
        assert!(fs::read(&disk).unwrap().iter().all(|byte| *byte == 0));
        let again = wipe_path(policy, &disk);
        assert!(again.wiped, "asked twice: {}", again.cause);
    }
}

#[test]
fn quick_takes_the_signatures_and_says_that_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = image(folder.path()) else { return };
    let device = Device::open(&disk, Transport::Unspecified).unwrap();
    let kinds = |device: &Device| {
        let found = device.signatures().unwrap();
        found.into_iter().map(|content| content.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&device), ["mbr", "ext4"]);
    drop(device);
    let done = wipe_path(WipePolicy::Quick, &disk);
    assert!(done.wiped, "{}", done.cause);
    assert_eq!(done.method(), WipeMethod::Quick);
    assert!(done.statement.contains("All other content is still there"));
    assert_eq!(
        done.samples.unwrap().bytes,
        done.bytes_zeroed + done.bytes_overwritten
    );
    assert_eq!(
        kinds(&Device::open(&disk, Transport::Unspecified).unwrap()),
        Vec::<String>::new()
    );
    // Not even when somebody makes the same partition again.
    let mut bytes = fs::read(&disk).unwrap();
    let tail = bytes.split_off(1 << 20);
    fs::write(folder.path().join("part.img"), &tail[..16 << 20]).unwrap();
    let again = Device::open(&folder.path().join("part.img"), Transport::Unspecified).unwrap();
    assert_eq!(kinds(&again), Vec::<String>::new());
}

#[test]
fn disks_of_both_sector_sizes_are_wiped_past_the_page_cache() {
    for sector in [512, 4096] {
        let disk = Loop::new(usize::try_from(LEN).unwrap(), sector);
        let path = Path::new(&disk.path);
        // Somebody has read it: the kernel's cache must not be what is checked.
        assert!(fs::read(path).unwrap().iter().all(|byte| *byte == 0xA5));
        let done = wipe_path(WipePolicy::Overwrite, path);
        assert!(done.wiped, "{}", done.cause);
        assert!(fs::read(disk.file.path()).unwrap().iter().all(|byte| *byte == 0));
        assert!(fs::read(path).unwrap().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_disk_in_use_or_read_only_is_not_touched() {
    let disk = Loop::new(usize::try_from(LEN).unwrap(), 512);
    let path = Path::new(&disk.path);
    let held = Device::open(path, Transport::Unspecified).unwrap();
    let done = wipe_path(WipePolicy::Auto, path);
    assert!(!done.wiped && done.cause.contains("in use"), "{}", done.cause);
    assert_eq!(done.method(), WipeMethod::Unspecified);
    drop(held);
    let mut other = wipe(WipePolicy::Overwrite);
    other.disk.size_bytes = LEN + 512;
    let (control, _seen, _stop) = control(LEN);
    let done = other.run(|| Device::open(path, Transport::Unspecified), &control);
    assert!(
        !done.wiped && done.cause.contains("the disk is gone"),
        "{}",
        done.cause
    );
    let protected = Loop::with(usize::try_from(LEN).unwrap(), 512, &["--read-only"]);
    let done = wipe_path(WipePolicy::Auto, Path::new(&protected.path));
    assert!(!done.wiped && done.cause.contains("read-only"), "{}", done.cause);
    assert!(
        fs::read(protected.file.path())
            .unwrap()
            .iter()
            .all(|byte| *byte == 0xA5)
    );
}
