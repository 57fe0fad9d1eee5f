//! A write that nothing disturbs: every byte of the disk afterwards.

use std::{fs, num::NonZeroU32, sync::Arc};

use imprint_agent::{
    source::{ManifestKeys, PackSource, SourceError},
    stream::{Delta, FailureKind, Phase, WriteOptions, Writer, WriterChoice},
    target::{self, BlockDevice, Target},
};
use imprint_image::SigningKey;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn loop_devices_of_both_sector_sizes_hold_the_image_and_nothing_of_their_past() {
    let content = disk_content();
    let settings =
        [512, 4096].map(|sector| [WriterChoice::Auto, WriterChoice::Threads].map(|writer| (sector, writer)));
    for (sector, writer) in settings.into_iter().flatten() {
        let store = Store::new(&content, sector);
        let server = Server::start(store.dir.path());
        let disk = DirtyLoop::new(32 * MIB, sector);
        let target: Arc<dyn Target> = Arc::new(BlockDevice::open_exclusive(&disk.path).unwrap());
        let told = write(
            &store.manifest,
            server.packs(),
            &target,
            WriteOptions {
                read_back: true,
                writer,
                // What is looked for on the disk can be fetched as well, between others.
                delta: Delta::Off,
                ..options()
            },
        )
        .await;
        let written = told.result.unwrap();
        assert_eq!(written.verified.image_digest(), &store.manifest.image_digest);
        drop(target);
        assert_same(&disk.file.content(), &expected_disk(&content, 32 * MIB));

        let figures = written.figures;
        assert_eq!(figures.bytes_fetched, store.manifest.fetch_bytes());
        assert_eq!(figures.bytes_written, store.manifest.data_bytes());
        assert_eq!(
            figures.bytes_zeroed,
            content.len() as u64 - store.manifest.data_bytes()
        );
        assert_eq!(figures.chunks_fetched, store.manifest.chunks.len() as u64);
        assert_eq!((figures.retries, figures.chunks_resumed), (0, 0));
        assert_eq!(
            matches!(figures.writer, Writer::IoUring { .. }),
            writer == WriterChoice::Auto,
            "{:?}",
            figures.writer
        );
        assert!((1..=8).contains(&figures.connections), "{figures:?}");
        assert!(figures.cpu > std::time::Duration::ZERO && figures.peak_memory_bytes > 1 << 20);
        assert!(figures.limited_by.is_some() && figures.loads.disk.busy_percent > 0);
        assert_eq!(server.served(), store.manifest.fetch_bytes());
        assert_eq!(told.progress.bytes_done, content.len() as u64);
        assert_eq!(told.progress.phase, Phase::ReadingBack);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_becomes_the_image() {
    let content = disk_content();
    let store = Store::new(&content, 4096);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let target = target::open(&path, Some(store.manifest.disk_size_bytes), NonZeroU32::new(4096)).unwrap();
    // Straight from a folder, without a server.
    let told = write(
        &store.manifest,
        PackSource::dir(store.dir.path()),
        &target,
        options(),
    )
    .await;
    told.result.unwrap();
    assert_same(&fs::read(&path).unwrap(), &content);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_nothing_but_holes_is_zeroes() {
    let store = Store::new(&vec![0; 5 * MIB], 512);
    let disk = DirtyFile::new(5 * MIB);
    let told = write(
        &store.manifest,
        PackSource::dir(store.dir.path()),
        &disk.target(512),
        options(),
    )
    .await;
    told.result.unwrap();
    assert_same(&disk.content(), &vec![0; 5 * MIB]);
}

#[tokio::test(flavor = "multi_thread")]
async fn little_memory_is_enough_and_too_little_is_refused() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let disk = DirtyFile::new(32 * MIB);
    let target = disk.target(512);
    let mut few = options();
    few.max_memory_bytes = 2 << 20;
    let failure = write(
        &store.manifest,
        PackSource::dir(store.dir.path()),
        &target,
        few.clone(),
    )
    .await
    .result
    .unwrap_err();
    assert_eq!((failure.kind, failure.touched), (FailureKind::Refused, false));
    assert_same(&disk.content(), &vec![0xA5; 32 * MIB]);
    few.max_memory_bytes = 7 << 20;
    write(&store.manifest, PackSource::dir(store.dir.path()), &target, few)
        .await
        .result
        .unwrap();
    assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_the_first_byte() {
    let store = Store::new(&disk_content(), 4096);
    let small = DirtyFile::new(24 * MIB);
    let other_sectors = DirtyFile::new(32 * MIB);
    let table = [
        (small.target(4096), &small, "the image needs 25178112 bytes"),
        (
            other_sectors.target(512),
            &other_sectors,
            "the image was made for sectors of 4096 bytes",
        ),
    ];
    for (target, disk, cause) in table {
        let before = disk.content();
        let told = write(
            &store.manifest,
            PackSource::dir(store.dir.path()),
            &target,
            options(),
        )
        .await;
        let failure = told.result.unwrap_err();
        assert!(failure.cause.starts_with(cause), "{failure}");
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(!failure.touched && !failure.head_cleared && !failure.retryable);
        assert_same(&disk.content(), &before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_read_from_a_server_and_proven() {
    let store = Store::new(&disk_content(), 512);
    let server = Server::start(store.dir.path());
    let url = server.url(&format!("manifests/{}", store.manifest.image_digest));
    let ours = ManifestKeys::Trusted(vec![store.key.public_key()]);
    assert_eq!(manifest_from(&url, &ours).await.unwrap(), *store.manifest);
    assert_eq!(
        manifest_from(&url, &ManifestKeys::Unverified).await.unwrap(),
        *store.manifest
    );
    let strange = ManifestKeys::Trusted(vec![SigningKey::generate().unwrap().public_key()]);
    assert!(matches!(
        manifest_from(&url, &strange).await,
        Err(SourceError::Manifest { .. })
    ));
    let missing = manifest_from(&server.url("manifests/none"), &ours)
        .await
        .unwrap_err();
    assert!(missing.is_permanent(), "{missing}");
}
