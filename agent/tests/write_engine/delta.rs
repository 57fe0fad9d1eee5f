//! Disks that hold something of the image already.

use std::{
    fs, io,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use imprint_agent::{
    source::PackSource,
    stream::{Delta, WriteOptions},
    target::{
        AlignedBuf, BlockDevice, DeviceId, FileTarget, Operation, Target, WriteError, Zeroed,
        faulty::{Asked, FaultyTarget},
    },
};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::support::*;

/// Chunks of the image for tests of the choice: enough that a sample is only a part of them.
const CHUNKS: usize = 80;

/// An image of which every chunk has noise of its own, and compresses to about a quarter.
fn image() -> Vec<u8> {
    let mut image = vec![0x11; CHUNKS * MIB];
    for chunk in 0..CHUNKS {
        image[chunk * MIB..][..MIB / 4].copy_from_slice(&noise(&format!("v1 {chunk}"), MIB / 4));
    }
    image
}

/// The image with these chunks changed.
fn changed(image: &[u8], chunks: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut image = image.to_vec();
    for chunk in chunks {
        image[chunk * MIB + 5000] ^= 1;
    }
    image
}

/// A file with this content.
fn disk_with(content: &[u8], len: usize) -> DirtyFile {
    let disk = DirtyFile::new(len);
    let file = fs::OpenOptions::new().write(true).open(&disk.path).unwrap();
    file.write_all_at(content, 0).unwrap();
    disk
}

/// All of the disk is looked at, however busy the machine is.
fn throughout() -> WriteOptions {
    WriteOptions {
        delta: Delta::Always,
        ..options()
    }
}

/// A network far slower than any disk.
fn throttle(server: &Server) {
    *server.behaviour.pause.lock().unwrap() = Duration::from_millis(100);
}

/// A disk of which reads can be slow, or fail, and which counts them.
#[derive(Debug)]
struct Reads<T> {
    inner: T,
    count: AtomicUsize,
    /// How long each one takes, one after the other.
    pause: Duration,
    turn: Mutex<()>,
    bad: Option<u64>,
    has_zeroes: bool,
}

impl<T: Target> Reads<T> {
    fn of(inner: T) -> Self {
        Reads {
            inner,
            count: AtomicUsize::new(0),
            pause: Duration::ZERO,
            turn: Mutex::new(()),
            bad: None,
            has_zeroes: true,
        }
    }
}

impl<T: Target> Target for Reads<T> {
    fn id(&self) -> &DeviceId {
        self.inner.id()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn logical_block(&self) -> NonZeroU32 {
        self.inner.logical_block()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn write_at(&self, buffer: &AlignedBuf, offset: u64) -> Result<(), WriteError> {
        self.inner.write_at(buffer, offset)
    }

    fn read_at(&self, buffer: &mut AlignedBuf, offset: u64) -> Result<(), WriteError> {
        self.count.fetch_add(1, Relaxed);
        if !self.pause.is_zero() {
            let _turn = self.turn.lock().unwrap();
            let (_sender, nobody) = std::sync::mpsc::channel::<()>();
            nobody.recv_timeout(self.pause).ok();
        }
        let len = buffer.len() as u64;
        if self.bad.is_some_and(|bad| (offset..offset + len).contains(&bad)) {
            return Err(WriteError {
                device: self.id().clone(),
                operation: Operation::Read,
                offset,
                len,
                source: io::Error::from_raw_os_error(5),
            });
        }
        self.inner.read_at(buffer, offset)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<Zeroed, WriteError> {
        let how = self.inner.zero(offset, len)?;
        Ok(if self.has_zeroes { how } else { Zeroed::ByWriting })
    }

    fn flush(&self) -> Result<(), WriteError> {
        self.inner.flush()
    }

    fn reread_partitions(&self) -> Result<(), WriteError> {
        self.inner.reread_partitions()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_again_needs_no_byte_of_it() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let server = Server::start(store.dir.path());
    // A disk as long as the image loses the image's own end when it is cleared, and a longer one doesn't.
    for len in [content.len(), 32 * MIB] {
        let disk = disk_with(&content, len);
        let told = write(&store.manifest, server.packs(), &disk.target(512), throughout()).await;
        let figures = told.result.unwrap().figures;
        assert_eq!((server.served(), figures.bytes_fetched), (0, 0));
        let chunks = store.manifest.chunks.len() as u64;
        assert_eq!((figures.chunks_kept, figures.chunks_fetched), (chunks, 0));
        assert_eq!(figures.bytes_saved, store.manifest.fetch_bytes());
        assert_eq!(
            (told.progress.chunks_kept, told.progress.bytes_to_fetch),
            (chunks, 0)
        );
        assert_same(&disk.content(), &expected_disk(&content, len));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_disk_is_read_past_the_page_cache() {
    let content = disk_content();
    for sector in [512, 4096] {
        let store = Store::new(&content, sector);
        let disk = DirtyLoop::new(32 * MIB, sector);
        for kept in [0, store.manifest.chunks.len() as u64] {
            let target: Arc<dyn Target> = Arc::new(BlockDevice::open_exclusive(&disk.path).unwrap());
            let told = write(
                &store.manifest,
                PackSource::dir(store.dir.path()),
                &target,
                WriteOptions {
                    read_back: true,
                    ..throughout()
                },
            )
            .await;
            assert_eq!(told.result.unwrap().figures.chunks_kept, kept);
        }
        assert_same(&disk.file.content(), &expected_disk(&content, 32 * MIB));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_read_before_it_is_cleared_and_written_last() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let target = Arc::new(FaultyTarget::filled(32 << 20, 0xA5));
    let packs = || PackSource::dir(store.dir.path());
    let disk = Arc::clone(&target) as Arc<dyn Target>;
    write(&store.manifest, packs(), &disk, throughout())
        .await
        .result
        .unwrap();
    let before = target.asked().len();
    let again = write(&store.manifest, packs(), &disk, throughout())
        .await
        .result
        .unwrap();
    assert_eq!(again.figures.bytes_fetched, 0);
    let asked = &target.asked()[before..];
    let mib = MIB as u64;
    assert_eq!(asked[0], Asked::Zero(0..mib));
    let writes: Vec<_> = asked
        .iter()
        .filter(|asked| matches!(asked, Asked::Write(_)))
        .collect();
    assert_eq!(writes, [&Asked::Write(0..mib)], "nothing but the head is written");
    let end = [Asked::Flush, Asked::Write(0..mib), Asked::Flush];
    assert_eq!(asked[asked.len() - 3..], end);
    assert_same(&target.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_in_place_fetches_what_has_changed() {
    let old = image();
    let scattered: Vec<usize> = (0..CHUNKS).filter(|chunk| chunk % 3 == 1).collect();
    let new = changed(&old, scattered.iter().copied());
    let store = Store::new(&new, 512);
    let server = Server::start(store.dir.path());
    throttle(&server);
    let disk = disk_with(&old, CHUNKS * MIB);
    let told = write(&store.manifest, server.packs(), &disk.target(512), throughout()).await;
    let figures = told.result.unwrap().figures;
    assert_same(&disk.content(), &new);
    let frames = scattered
        .iter()
        .map(|&chunk| u64::from(store.manifest.chunks[chunk].frame_bytes));
    let needed: u64 = frames.sum();
    assert!(
        server.served() * 100 <= needed * 115,
        "{} of {needed} bytes were sent",
        server.served()
    );
    assert_eq!(figures.chunks_kept + figures.chunks_fetched, CHUNKS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_faster_than_the_disk_brings_all() {
    let old = image();
    let new = changed(&old, (0..CHUNKS).filter(|chunk| chunk % 2 == 1));
    let store = Store::new(&new, 512);
    let server = Server::start(store.dir.path());
    let disk = disk_with(&old, CHUNKS * MIB);
    let file = FileTarget::open(&disk.path, None).unwrap();
    let target: Arc<dyn Target> = Arc::new(Reads {
        pause: Duration::from_millis(40),
        ..Reads::of(file)
    });
    let told = write(&store.manifest, server.packs(), &target, options()).await;
    let figures = told.result.unwrap().figures;
    assert_same(&disk.content(), &new);
    // Half of the chunks are right; reading on would have found all of them.
    assert!(figures.chunks_kept <= 25, "{figures:?}");
    assert_eq!(figures.chunks_kept + figures.chunks_fetched, CHUNKS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_holds_something_else_costs_a_few_reads_and_no_byte_more() {
    let new = image();
    let store = Store::new(&new, 512);
    let server = Server::start(store.dir.path());
    let disk = DirtyFile::new(CHUNKS * MIB);
    let target = Arc::new(Reads::of(FileTarget::open(&disk.path, None).unwrap()));
    let told = write(
        &store.manifest,
        server.packs(),
        &(Arc::clone(&target) as Arc<dyn Target>),
        options(),
    )
    .await;
    let figures = told.result.unwrap().figures;
    assert_eq!(server.served(), store.manifest.fetch_bytes());
    assert_eq!(figures.chunks_kept, 0);
    assert!(
        target.count.load(Relaxed) <= 16 + 2,
        "{} reads",
        target.count.load(Relaxed)
    );
    assert_same(&disk.content(), &new);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_delta_nothing_is_read() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let disk = disk_with(&content, 32 * MIB);
    let target = Arc::new(Reads::of(FileTarget::open(&disk.path, None).unwrap()));
    let off = WriteOptions {
        delta: Delta::Off,
        ..options()
    };
    let told = write(
        &store.manifest,
        PackSource::dir(store.dir.path()),
        &(Arc::clone(&target) as Arc<dyn Target>),
        off,
    )
    .await;
    assert_eq!(
        told.result.unwrap().figures.bytes_fetched,
        store.manifest.fetch_bytes()
    );
    assert_eq!(target.count.load(Relaxed), 0);
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

/// How many chunks are as in the image.
fn right_chunks(disk: &[u8], content: &[u8]) -> usize {
    let right = (0..CHUNKS).filter(|chunk| {
        let place = chunk * MIB..(chunk + 1) * MIB;
        disk[place.clone()] == content[place]
    });
    right.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_machine_in_mid_write_costs_what_was_missing() {
    let content = image();
    let store = Store::new(&content, 512);
    let server = Server::start(store.dir.path());
    let disk = DirtyFile::new((CHUNKS + 1) * MIB);
    let cancel = CancellationToken::new();
    let enough = store.manifest.fetch_bytes() / 2;
    let stop = cancel.clone();
    let behaviour = Arc::clone(&server.behaviour);
    // As a loss of power does: nothing is left but the disk, without its head.
    *behaviour.pause.lock().unwrap() = Duration::from_millis(2);
    let on_disk = disk.path.clone();
    let wanted = content.clone();
    let watcher = tokio::spawn(async move {
        while behaviour.served.load(Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Nothing more comes; what has come reaches the disk as fast as the machine can.
        *behaviour.pause.lock().unwrap() = Duration::from_secs(3600);
        while right_chunks(&fs::read(&on_disk).unwrap(), &wanted) <= 20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
    });
    let target = disk.target(512);
    let told = write_until(&store.manifest, server.packs(), &target, options(), cancel).await;
    assert!(told.result.is_err());
    watcher.await.unwrap();
    let left = disk.content();
    assert!(left[..MIB].iter().all(|&byte| byte == 0));
    let right = right_chunks(&left, &content) as u64;

    throttle(&server);
    let served = server.served();
    let told = write(&store.manifest, server.packs(), &target, throughout()).await;
    let figures = told.result.unwrap().figures;
    assert_same(&disk.content(), &expected_disk(&content, (CHUNKS + 1) * MIB));
    let missing = CHUNKS as u64 - right;
    // What the network takes on, before it is known how slow it is, may be on the disk as well.
    assert!(
        (missing..=missing + CHUNKS as u64 / 10).contains(&figures.chunks_fetched),
        "{missing} chunks were missing: {figures:?}"
    );
    assert_eq!(figures.bytes_fetched, server.served() - served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_was_written_before_the_journal_was_removed_is_not_lost() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let disk = disk_with(&content, 32 * MIB);
    let target = disk.target(512);
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let header = serde_json::json!({
        "version": 1,
        "image_digest": store.manifest.image_digest,
        "target": target.identity(),
        "target_bytes": 32 * MIB,
        "boot_id": boot_id.trim(),
    });
    fs::write(&journal, format!("{header}\nends\ndone 1 24\n")).unwrap();
    // The end of the disk was cleared by the run that died.
    let file = fs::OpenOptions::new().write(true).open(&disk.path).unwrap();
    file.write_all_at(&vec![0; MIB], 31 * MIB as u64).unwrap();
    let told = write(
        &store.manifest,
        PackSource::dir(store.dir.path()),
        &target,
        WriteOptions {
            journal: Some(journal),
            ..throughout()
        },
    )
    .await;
    let figures = told.result.unwrap().figures;
    assert_eq!((figures.chunks_fetched, figures.chunks_kept), (0, 1));
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_fetched() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    for bad in [4096, 10 * MIB as u64 + 512] {
        let disk = disk_with(&content, 32 * MIB);
        let target: Arc<dyn Target> = Arc::new(Reads {
            bad: Some(bad),
            ..Reads::of(FileTarget::open(&disk.path, None).unwrap())
        });
        let packs = PackSource::dir(store.dir.path());
        let figures = write(&store.manifest, packs, &target, throughout())
            .await
            .result
            .unwrap()
            .figures;
        assert_eq!(figures.chunks_fetched, 1);
        assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_command_for_zeroes_those_that_are_there_are_left() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let disk = Arc::new(Reads {
        has_zeroes: false,
        ..Reads::of(FaultyTarget::filled(32 << 20, 0))
    });
    let mut dirt = AlignedBuf::new(4096);
    dirt.fill(7);
    disk.write_at(&dirt, 7 * MIB as u64).unwrap();
    let before = disk.inner.asked().len();
    let told = write(
        &store.manifest,
        PackSource::dir(store.dir.path()),
        &(Arc::clone(&disk) as Arc<dyn Target>),
        throughout(),
    )
    .await;
    told.result.unwrap();
    assert_same(&disk.inner.content()[..content.len()], &content);
    let asked = disk.inner.asked();
    let zeroed = asked[before..].iter().map(|asked| match asked {
        Asked::Zero(range) => range.end - range.start,
        _ => 0,
    });
    // Both ends, the first hole, which shows that there is no command, and the dirt if it lies elsewhere.
    let zeroed: u64 = zeroed.sum();
    assert!(
        zeroed <= 2 * MIB as u64 + 4 * MIB as u64,
        "{zeroed} bytes were zeroed"
    );
}

/// What a chunk of an image is, and what the disk holds in its place.
#[derive(Debug, Clone, Copy)]
enum Part {
    Hole,
    Data(u8),
}

#[derive(Debug, Clone, Copy)]
enum Before {
    Same,
    Zero,
    Dirt,
    Flipped(usize),
    Other(u8),
}

fn parts() -> impl Strategy<Value = (Vec<(Part, Before)>, usize, usize)> {
    let part = prop_oneof![1 => Just(Part::Hole), 2 => (0_u8..4).prop_map(Part::Data)];
    let before = prop_oneof![
        4 => Just(Before::Same),
        1 => Just(Before::Zero),
        1 => Just(Before::Dirt),
        1 => (0..MIB).prop_map(Before::Flipped),
        1 => (0_u8..4).prop_map(Before::Other),
    ];
    // Chunks, blocks of a short last one, blocks of the disk beyond the image.
    (
        proptest::collection::vec((part, before), 1..12),
        0..256_usize,
        0..600_usize,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_disk_becomes_exactly_the_image((parts, short, beyond) in parts()) {
        let bytes = |part: Part| match part {
            Part::Hole => vec![0; MIB],
            Part::Data(seed) => noise(&seed.to_string(), MIB),
        };
        let (mut image, mut disk) = (Vec::new(), Vec::new());
        for (part, before) in &parts {
            let chunk = bytes(*part);
            disk.extend(match *before {
                Before::Same => chunk.clone(),
                Before::Zero => vec![0; MIB],
                Before::Dirt => vec![0xA5; MIB],
                Before::Flipped(at) => {
                    let mut chunk = chunk.clone();
                    chunk[at] ^= 0x10;
                    chunk
                }
                Before::Other(seed) => bytes(Part::Data(seed)),
            });
            image.extend(chunk);
        }
        image.truncate(image.len() - short * 4096);
        let len = image.len() + beyond * 4096;
        disk.resize(len, 0xA5);
        let store = Store::new(&image, 512);
        let target = Arc::new(FaultyTarget::filled(len as u64, 0));
        for (at, piece) in disk.chunks(4096).enumerate() {
            let mut buffer = AlignedBuf::new(4096);
            buffer.copy_from_slice(piece);
            target.write_at(&buffer, at as u64 * 4096).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let told = runtime.block_on(write(
            &store.manifest,
            PackSource::dir(store.dir.path()),
            &(Arc::clone(&target) as Arc<dyn Target>),
            options(),
        ));
        let figures = told.result.unwrap().figures;
        prop_assert_eq!(figures.chunks_kept + figures.chunks_fetched, store.manifest.chunks.len() as u64);
        let mut expected = disk;
        let end = MIB.min(len);
        expected[..end].fill(0);
        expected[len - end..].fill(0);
        expected[..image.len()].copy_from_slice(&image);
        assert_same(&target.content(), &expected);
    }
}
