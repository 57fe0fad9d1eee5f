//! On real block devices: loop devices of both sector sizes.

use super::{super::loop_device::Loop, *};

#[test]
fn geometry_writes_and_zeroes_on_both_sector_sizes() {
    for sector in [512, 4096] {
        let disk = Loop::new(4 << 20, sector);
        let target = BlockDevice::open_exclusive(Path::new(&disk.path)).unwrap();
        assert_eq!(target.len(), 4 << 20);
        assert_eq!(target.logical_block().get(), sector);
        assert!(target.physical_block().get() >= sector);

        let mut buffer = AlignedBuf::new(1 << 20);
        buffer.fill(7);
        target.write_at(&buffer, 1 << 20).unwrap();
        target.zero(2 << 20, u64::from(sector) * 3).unwrap();
        target.flush().unwrap();
        buffer.fill(0);
        target.read_at(&mut buffer, 1 << 20).unwrap();
        assert!(buffer.iter().all(|&byte| byte == 7));
        target.reread_partitions().unwrap();

        let mut expected = vec![0xA5; 4 << 20];
        expected[1 << 20..2 << 20].fill(7);
        expected[2 << 20..(2 << 20) + sector as usize * 3].fill(0);
        assert!(
            fs::read(disk.file.path()).unwrap() == expected,
            "sectors of {sector}"
        );
    }
}

#[test]
fn writing_past_the_end_is_an_error_with_its_place() {
    let disk = Loop::new(1 << 20, 512);
    let target = BlockDevice::open_exclusive(Path::new(&disk.path)).unwrap();
    let error = target
        .write_at(&AlignedBuf::new(8192), (1 << 20) - 4096)
        .unwrap_err();
    assert_eq!(error.source.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(
        error.to_string(),
        format!("cannot write 8192 bytes at 1044480 of {}", disk.path)
    );
}

#[test]
fn a_disk_has_one_owner_and_says_who() {
    let disk = Loop::new(1 << 20, 512);
    let path = Path::new(&disk.path);
    let first = BlockDevice::open_exclusive(path).unwrap();
    let second = BlockDevice::open_exclusive(path).unwrap_err();
    assert!(matches!(second, OpenError::Busy { .. }), "{second}");
    assert_eq!(
        second.to_string(),
        format!(
            "{} is in use: another program or driver has claimed it",
            disk.path
        )
    );
    drop(first);
    BlockDevice::open_exclusive(path).unwrap();
}

#[test]
fn what_is_no_disk_is_refused() {
    let error = BlockDevice::open_exclusive(Path::new("/dev/null")).unwrap_err();
    assert!(matches!(error, OpenError::NotADisk { .. }));
    let error = BlockDevice::open_exclusive(Path::new("/dev/imprint-no-such-disk")).unwrap_err();
    assert!(matches!(error, OpenError::Open { .. }));
}

#[test]
fn a_read_only_disk_is_refused() {
    let disk = Loop::with(1 << 20, 512, &["--read-only"]);
    let error = BlockDevice::open_exclusive(Path::new(&disk.path)).unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
}
