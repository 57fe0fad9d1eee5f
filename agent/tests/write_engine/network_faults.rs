//! Servers that lie, break, refuse, vanish and come back.

use std::time::{Duration, Instant};

use imprint_agent::{
    source::PackSource,
    stream::{Delta, FailureKind, WriteNote, WriteOptions},
};
use tokio_util::sync::CancellationToken;

use crate::support::*;

fn assert_head_is_clear(disk: &DirtyFile) {
    assert!(
        disk.content()[..MIB].iter().all(|&byte| byte == 0),
        "the head of the disk is not clear"
    );
}

/// The first request begins with chunk 0; noise takes a little more than a MiB in a frame, so three of four fit.
const FIRST_RANGE_CHUNKS: usize = 3;

/// One request after the other in the order of the disk, so that it is known which one meets the fault.
fn one_at_a_time() -> WriteOptions {
    WriteOptions {
        connections: 1,
        delta: Delta::Off,
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_mid_body_costs_the_chunk_that_was_cut() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let server = Server::start(store.dir.path());
    let chunks = &store.manifest.chunks;
    let two: usize = chunks[..2].iter().map(|chunk| chunk.frame_bytes as usize).sum();
    let lost = 100_000;
    server
        .behaviour
        .next
        .lock()
        .unwrap()
        .push_back(Fault::CutAfter(two + lost));
    let disk = DirtyFile::new(32 * MIB);
    let told = write(
        &store.manifest,
        server.packs(),
        &disk.target(512),
        one_at_a_time(),
    )
    .await;
    let figures = told.result.unwrap().figures;
    assert_eq!(figures.retries, 1);
    // What came before the cut isn't asked for again, and no chunk is fetched twice.
    let wasted = server.served() - store.manifest.fetch_bytes();
    assert!(wasted <= lost as u64, "{wasted} bytes were sent for nothing");
    assert_eq!(figures.chunks_fetched, chunks.len() as u64);
    assert!(chunks.len() > FIRST_RANGE_CHUNKS);
    let Some(WriteNote::Retry { what, cause, .. }) = told.notes.first() else {
        panic!("{:?}", told.notes)
    };
    assert_eq!(what, "chunk 2");
    let whole: usize = chunks[..FIRST_RANGE_CHUNKS]
        .iter()
        .map(|chunk| chunk.frame_bytes as usize)
        .sum();
    assert!(cause.ends_with(&format!("expected {whole}")), "{cause}");
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_came_wrong_once_is_fetched_again_alone() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let server = Server::start(store.dir.path());
    let second = &store.manifest.chunks[1];
    let place = usize::try_from(second.offset).unwrap() + 5000;
    server
        .behaviour
        .next
        .lock()
        .unwrap()
        .push_back(Fault::Flip(place));
    let disk = DirtyFile::new(32 * MIB);
    let told = write(
        &store.manifest,
        server.packs(),
        &disk.target(512),
        one_at_a_time(),
    )
    .await;
    told.result.unwrap();
    assert!(
        matches!(told.notes[..], [WriteNote::Corrupt { chunk: 1, .. }]),
        "{:?}",
        told.notes
    );
    assert_eq!(
        server.served(),
        store.manifest.fetch_bytes() + u64::from(second.frame_bytes)
    );
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_always_wrong_stops_the_write_and_nothing_boots() {
    let store = Store::new(&disk_content(), 512);
    let server = Server::start(store.dir.path());
    let last = store.manifest.chunks.last().unwrap();
    // In the head, and at the very end of the disk.
    for (chunk, place) in [(0, 5000), (last.index, usize::try_from(last.offset).unwrap() + 5)] {
        let pack = if chunk == 0 { 0 } else { last.pack };
        assert_eq!(pack, 0, "the test's image fits into one pack");
        *server.behaviour.always.lock().unwrap() = Some(Fault::Flip(place));
        let disk = DirtyFile::new(32 * MIB);
        let told = write(&store.manifest, server.packs(), &disk.target(512), options()).await;
        let failure = told.result.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Corrupt);
        assert!(
            failure
                .cause
                .starts_with(&format!("chunk {chunk} came wrong 2 times: ")),
            "{failure}"
        );
        assert!(failure.touched && failure.head_cleared && !failure.retryable);
        assert_head_is_clear(&disk);
        // A wrong byte never reached the disk: what isn't right there is zero or as it was.
        let (content, image) = (disk.content(), disk_content());
        for at in (0..image.len()).step_by(4096) {
            let page = &content[at..at + 4096];
            let innocent =
                page == &image[at..at + 4096] || page.iter().all(|&byte| byte == 0xA5 || byte == 0);
            assert!(innocent, "page {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_will_not_change_stop_at_once() {
    let store = Store::new(&disk_content(), 512);
    for (fault, kind_of_cause) in [
        (Fault::Status(404), "answered 404"),
        (Fault::Status(401), "answered 401"),
        (Fault::Status(403), "answered 403"),
        (Fault::Whole, "does not serve parts"),
        (Fault::WrongRange, "sent the range"),
    ] {
        let server = Server::start(store.dir.path());
        *server.behaviour.always.lock().unwrap() = Some(fault);
        let disk = DirtyFile::new(32 * MIB);
        let start = Instant::now();
        let told = write(&store.manifest, server.packs(), &disk.target(512), options()).await;
        let failure = told.result.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Source, "{fault:?}");
        assert!(failure.cause.contains(kind_of_cause), "{failure}");
        assert!(failure.head_cleared && !failure.retryable && !failure.remedy.is_empty());
        assert!(start.elapsed() < Duration::from_secs(5), "{fault:?}");
        assert_head_is_clear(&disk);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_for_a_while_is_waited_for() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let server = Server::start(store.dir.path());
    server
        .behaviour
        .next
        .lock()
        .unwrap()
        .extend([Fault::Status(503); 6]);
    let disk = DirtyFile::new(32 * MIB);
    let told = write(&store.manifest, server.packs(), &disk.target(512), options()).await;
    assert_eq!(told.result.unwrap().figures.retries, 6);
    assert_eq!(server.served(), store.manifest.fetch_bytes());
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_comes_back_is_waited_for() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let mut server = Server::start(store.dir.path());
    *server.behaviour.pause.lock().unwrap() = Duration::from_millis(20);
    let disk = DirtyFile::new(32 * MIB);
    let target = disk.target(512);
    let (manifest, packs) = (store.manifest.clone(), server.packs());
    let writing = tokio::spawn(async move { write(&manifest, packs, &target, options()).await });
    while server.served() < 2 << 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.down();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    *server.behaviour.pause.lock().unwrap() = Duration::ZERO;
    server.up();
    let told = writing.await.unwrap();
    assert!(told.result.unwrap().figures.retries >= 2);
    // At most one chunk per connection was lost.
    let lost = server.served() - store.manifest.fetch_bytes();
    assert!(lost <= 4 << 20, "{lost} bytes were sent for nothing");
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_ends_the_write_as_one_that_can_be_tried_again() {
    let store = Store::new(&disk_content(), 512);
    let mut server = Server::start(store.dir.path());
    let packs = server.packs();
    server.down();
    let disk = DirtyFile::new(32 * MIB);
    let mut impatient = options();
    impatient.patience = Duration::from_secs(1);
    let told = write(&store.manifest, packs, &disk.target(512), impatient).await;
    let failure = told.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Source);
    assert!(failure.retryable && failure.head_cleared);
    assert!(
        failure.cause.starts_with("gave up after 1 s without progress"),
        "{failure}"
    );
    assert_head_is_clear(&disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_left_for_another_one() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let silent = Server::start(store.dir.path());
    *silent.behaviour.pause.lock().unwrap() = Duration::from_secs(3600);
    let disk = DirtyFile::new(32 * MIB);
    let mut quick = options();
    quick.read_timeout = Duration::from_millis(300);
    let packs = silent.packs().or(&PackSource::dir(store.dir.path()));
    let told = write(&store.manifest, packs, &disk.target(512), quick).await;
    told.result.unwrap();
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_store_is_left_for_another_one() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let refusing = Server::start(store.dir.path());
    *refusing.behaviour.always.lock().unwrap() = Some(Fault::Status(404));
    let other = Server::start(store.dir.path());
    let disk = DirtyFile::new(32 * MIB);
    let told = write(
        &store.manifest,
        refusing.packs().or(&other.packs()),
        &disk.target(512),
        options(),
    )
    .await;
    told.result.unwrap();
    assert_eq!(other.served(), store.manifest.fetch_bytes());
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_write_leaves_a_clear_head_and_no_thread_on_the_disk() {
    let store = Store::new(&disk_content(), 512);
    let server = Server::start(store.dir.path());
    *server.behaviour.pause.lock().unwrap() = Duration::from_millis(50);
    let disk = DirtyFile::new(32 * MIB);
    let target = disk.target(512);
    let cancel = CancellationToken::new();
    let (manifest, packs, token) = (store.manifest.clone(), server.packs(), cancel.clone());
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let mut noted = options();
    noted.journal = Some(journal.clone());
    let writing = tokio::spawn(async move {
        let told = write_until(&manifest, packs, &target, noted, token).await;
        (told, std::sync::Arc::strong_count(&target))
    });
    while server.served() < 2 << 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(journal.exists());
    cancel.cancel();
    let (told, holders) = writing.await.unwrap();
    let failure = told.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled);
    assert!(failure.head_cleared && failure.retryable);
    assert_eq!(holders, 1);
    assert!(!journal.exists());
    assert_head_is_clear(&disk);
}
