//! Both writers, on files and on loop devices, and on targets that are neither.

use std::{
    path::Path,
    sync::{
        Condvar, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use super::*;
use crate::target::{
    AlignedBuf, BlockDevice, DeviceId, FileTarget, Operation,
    faulty::{Asked, FaultyTarget},
    loop_device::Loop,
};

const MIB: u64 = 1 << 20;

fn options(writer: WriterChoice) -> StageOptions {
    StageOptions {
        buffers: 4,
        buffer_bytes: 1 << 20,
        depth: 3,
        writer,
    }
}

/// A stage, and what it tells.
fn stage(target: &Arc<dyn Target>, writer: WriterChoice) -> (Stage, Receiver<Report>, Arc<Meter>) {
    let meter = Arc::new(Meter::new());
    let (told, reports) = channel();
    let tell: Tell = Arc::new(move |report| {
        told.send(report).ok();
    });
    let stage = Stage::start(Arc::clone(target), &options(writer), Arc::clone(&meter), &tell).unwrap();
    (stage, reports, meter)
}

fn fill(stage: &Stage, byte: u8, len: usize) -> PoolBuf {
    let mut buffer = stage.buffer().unwrap();
    buffer.set_len(len);
    buffer.fill(byte);
    buffer
}

/// Writes 3 to 9 at MiB 3 to 9, from the last to the first, half a MiB of them at the end, and zeroes the rest but the
/// first MiB.
fn write_all(target: &Arc<dyn Target>, writer: WriterChoice, odd: usize) {
    let (stage, reports, meter) = stage(target, writer);
    stage.open();
    for byte in (3..10).rev() {
        let len = if byte == 9 { odd } else { 1 << 20 };
        stage.submit(fill(&stage, byte, len), u64::from(byte) * MIB, u64::from(byte));
    }
    stage.zero(MIB..3 * MIB, 77);
    stage.finish();
    drop(stage);
    let mut tags = Vec::new();
    // The channel ends when all threads have left.
    for report in reports {
        match report {
            Report::Written { tag, len } => {
                assert_eq!(len, if tag == 9 { odd as u64 } else { MIB });
                tags.push(tag);
            }
            Report::Zeroed { tag, len, .. } => {
                assert_eq!(len, 2 * MIB);
                tags.push(tag);
            }
            other => panic!("{other:?}"),
        }
    }
    tags.sort_unstable();
    assert_eq!(tags, [3, 4, 5, 6, 7, 8, 9, 77]);
    assert_eq!(meter.longest_in_disk(), std::time::Duration::ZERO);
    target.flush().unwrap();
}

fn expected(odd: usize) -> Vec<u8> {
    let mut disk = vec![0xA5; 10 << 20];
    disk[1 << 20..3 << 20].fill(0);
    for byte in 3..10_u8 {
        let at = usize::from(byte) << 20;
        let len = if byte == 9 { odd } else { 1 << 20 };
        disk[at..at + len].fill(byte);
    }
    disk
}

#[test]
fn every_byte_lands_where_it_belongs_whatever_writes() {
    for writer in [WriterChoice::Auto, WriterChoice::Threads] {
        // An end that direct I/O can't write, as well.
        for odd in [512 << 10, (512 << 10) + 700] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), vec![0xA5; 10 << 20]).unwrap();
            let target: Arc<dyn Target> = Arc::new(FileTarget::open(file.path(), None).unwrap());
            write_all(&target, writer, odd);
            assert!(
                std::fs::read(file.path()).unwrap() == expected(odd),
                "{writer:?}, {odd}"
            );
        }
        for sector in [512, 4096] {
            let disk = Loop::new(10 << 20, sector);
            let odd = (512 << 10) + sector as usize;
            let target: Arc<dyn Target> =
                Arc::new(BlockDevice::open_exclusive(Path::new(&disk.path)).unwrap());
            write_all(&target, writer, odd);
            drop(target);
            // Nobody holds the disk any more.
            BlockDevice::open_exclusive(Path::new(&disk.path)).unwrap();
            let content = std::fs::read(disk.file.path()).unwrap();
            assert!(content == expected(odd), "{writer:?}, sectors of {sector}");
        }
        let faulty = Arc::new(FaultyTarget::filled(10 * MIB, 0xA5));
        let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(&faulty);
        write_all(&target, writer, 512);
        assert!(faulty.content() == expected(512), "{writer:?}");
    }
}

#[test]
fn a_disk_is_written_by_the_ring_and_what_is_no_file_by_threads() {
    let disk = Loop::new(1 << 20, 512);
    let target: Arc<dyn Target> = Arc::new(BlockDevice::open_exclusive(Path::new(&disk.path)).unwrap());
    let (ring, _reports, _) = stage(&target, WriterChoice::Auto);
    assert_eq!(ring.writer(), Writer::IoUring { registered: true });
    let (threads, _reports, _) = stage(&target, WriterChoice::Threads);
    assert_eq!(threads.writer(), Writer::Threads);
    let faulty: Arc<dyn Target> = Arc::new(FaultyTarget::filled(MIB, 0));
    let (threads, _reports, _) = stage(&faulty, WriterChoice::Auto);
    assert_eq!(threads.writer(), Writer::Threads);
}

#[test]
fn a_write_that_comes_back_short_is_completed_or_fails_with_its_place() {
    for writer in [WriterChoice::Auto, WriterChoice::Threads] {
        // The disk ends half a MiB into the second buffer: the kernel writes that half, and then says that it is full.
        let disk = Loop::new((2 << 20) + (512 << 10), 512);
        let target: Arc<dyn Target> = Arc::new(BlockDevice::open_exclusive(Path::new(&disk.path)).unwrap());
        let (stage, reports, _) = stage(&target, writer);
        stage.open();
        stage.submit(fill(&stage, 2, 1 << 20), 2 * MIB, 2);
        let Ok(Report::Failed(error)) = reports.recv() else {
            panic!("{writer:?}")
        };
        assert_eq!((error.operation, error.offset), (Operation::Write, 2 * MIB));
        assert_eq!(error.source.raw_os_error(), Some(nix::libc::ENOSPC));
        // The stage goes on for as long as nobody stops it.
        stage.submit(fill(&stage, 1, 1 << 20), MIB, 1);
        assert!(matches!(reports.recv(), Ok(Report::Written { tag: 1, .. })));
    }
}

#[test]
fn nothing_is_touched_before_the_stage_is_opened() {
    let faulty = Arc::new(FaultyTarget::filled(4 * MIB, 0xA5));
    let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(&faulty);
    let (stage, reports, _) = stage(&target, WriterChoice::Auto);
    stage.submit(fill(&stage, 2, 1 << 20), MIB, 2);
    stage.zero(2 * MIB..3 * MIB, 0);
    assert!(faulty.asked().is_empty());
    stage.open();
    stage.finish();
    drop(stage);
    assert_eq!(reports.iter().count(), 2);
    assert_eq!(faulty.asked().len(), 2);
}

/// A disk that answers when it is told to.
#[derive(Debug)]
struct Gate {
    inner: FaultyTarget,
    open: Mutex<bool>,
    opened: Condvar,
    asked: Mutex<Sender<u64>>,
}

impl Gate {
    fn pass(&self, offset: u64) {
        self.asked.lock().unwrap().send(offset).unwrap();
        let closed = self.open.lock().unwrap();
        drop(self.opened.wait_while(closed, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Target for Gate {
    fn id(&self) -> &DeviceId {
        self.inner.id()
    }
    fn identity(&self) -> String {
        self.inner.identity()
    }
    fn logical_block(&self) -> std::num::NonZeroU32 {
        self.inner.logical_block()
    }
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn write_at(&self, buffer: &AlignedBuf, offset: u64) -> Result<(), WriteError> {
        self.pass(offset);
        self.inner.write_at(buffer, offset)
    }
    fn read_at(&self, buffer: &mut AlignedBuf, offset: u64) -> Result<(), WriteError> {
        self.inner.read_at(buffer, offset)
    }
    fn zero(&self, offset: u64, len: u64) -> Result<Zeroed, WriteError> {
        self.pass(offset);
        self.inner.zero(offset, len)
    }
    fn flush(&self) -> Result<(), WriteError> {
        self.inner.flush()
    }
    fn reread_partitions(&self) -> Result<(), WriteError> {
        self.inner.reread_partitions()
    }
}

#[test]
fn a_stop_lets_go_of_all_that_has_not_begun_and_waits_for_what_has() {
    let (asked, begun) = channel();
    let gate = Arc::new(Gate {
        inner: FaultyTarget::filled(64 * MIB, 0xA5),
        open: Mutex::new(false),
        opened: Condvar::new(),
        asked: Mutex::new(asked),
    });
    let target: Arc<dyn Target> = Arc::<Gate>::clone(&gate);
    let (stage, reports, meter) = stage(&target, WriterChoice::Auto);
    for place in 0..4 {
        stage.submit(fill(&stage, 1, 1 << 20), place * MIB, place);
    }
    stage.zero(32 * MIB..64 * MIB, 9);
    stage.open();
    let mut first: Vec<u64> = begun.iter().take(4).collect();
    first.sort_unstable();
    assert_eq!(first, [0, MIB, 2 * MIB, 32 * MIB]);
    assert!(meter.longest_in_disk() > std::time::Duration::ZERO);
    stage.stop();
    assert!(stage.buffer().is_none());
    gate.open();
    drop(stage);
    // All threads have left when the channel ends, and the target has no other owner.
    let told = reports.iter().count();
    assert_eq!(
        told, 3,
        "three writes were under way, and the zeroes were not all made"
    );
    drop(target);
    assert_eq!(Arc::strong_count(&gate), 1);
    let asked = gate.inner.asked();
    assert_eq!(asked.len(), 4);
    // Zeroes are made in pieces.
    assert!(asked.contains(&Asked::Zero(32 * MIB..40 * MIB)), "{asked:?}");
}

#[test]
fn a_thread_that_dies_is_told() {
    let (asked, begun) = channel();
    // Whoever asks this disk finds nobody to tell, and panics.
    drop(begun);
    let gate: Arc<dyn Target> = Arc::new(Gate {
        inner: FaultyTarget::filled(MIB, 0),
        open: Mutex::new(true),
        opened: Condvar::new(),
        asked: Mutex::new(asked),
    });
    let (stage, reports, _) = stage(&gate, WriterChoice::Auto);
    stage.open();
    stage.zero(0..4096, 0);
    assert!(matches!(reports.recv(), Ok(Report::Died { thread: "zero" })));
}
