//! Disks that are full, failing, lying.

use std::sync::Arc;

use imprint_agent::{
    source::PackSource,
    stream::{FailureKind, WriteOptions},
    target::{
        Target,
        faulty::{Asked, FaultyTarget},
    },
};

use crate::support::*;

async fn write_to(disk: &Arc<FaultyTarget>, store: &Store, options: WriteOptions) -> Told {
    let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(disk);
    write(
        &store.manifest,
        PackSource::dir(store.dir.path()),
        &target,
        options,
    )
    .await
}

fn disk() -> Arc<FaultyTarget> {
    Arc::new(FaultyTarget::filled(32 << 20, 0xA5))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_the_last_thing_that_is_written() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let disk = disk();
    write_to(&disk, &store, options()).await.result.unwrap();
    assert_same(&disk.content(), &expected_disk(&content, 32 << 20));
    let asked = disk.asked();
    let mib = 1 << 20;
    // First both ends are cleared and flushed, ...
    assert_eq!(
        asked[..3],
        [Asked::Zero(0..mib), Asked::Zero(31 * mib..32 * mib), Asked::Flush]
    );
    // ... last comes the head, between flushes, ...
    let end = asked.len();
    assert_eq!(
        asked[end - 3..],
        [Asked::Flush, Asked::Write(0..mib), Asked::Flush]
    );
    // ... and nothing touches it in between.
    let touches =
        |asked: &Asked| matches!(asked, Asked::Write(range) | Asked::Zero(range) if range.start < mib);
    assert!(!asked[3..end - 3].iter().any(touches));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_error_stops_the_write_with_its_place_and_a_remedy() {
    let store = Store::new(&disk_content(), 512);
    // In a chunk of data, in a hole, at the end.
    for (offset, operation) in [(10 << 20, "write"), (15 << 20, "zero"), (24 << 20, "write")] {
        for (errno, remedy) in [
            (28, "make room"),
            (5, "the disk is probably failing"),
            (19, "the disk is gone"),
        ] {
            let disk = disk();
            disk.refuse(offset, errno);
            let failure = write_to(&disk, &store, options()).await.result.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Disk);
            assert!(
                failure.cause.starts_with(&format!("cannot {operation} ")),
                "{failure}"
            );
            assert!(failure.cause.contains("of faulty disk: "), "{failure}");
            assert!(failure.remedy.starts_with(remedy), "{}", failure.remedy);
            assert!(failure.touched && failure.head_cleared && !failure.retryable);
            assert!(disk.content()[..1 << 20].iter().all(|&byte| byte == 0));
            assert!(disk.is_flushed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_cleared_is_not_said_to_be_clear() {
    let store = Store::new(&disk_content(), 512);
    let disk = disk();
    disk.refuse(0, 5);
    let failure = write_to(&disk, &store, options()).await.result.unwrap_err();
    assert!(failure.touched && !failure.head_cleared);
    // Nothing of the image came near it.
    assert!(disk.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_confirmed_flush_there_is_no_success_and_no_head() {
    let store = Store::new(&disk_content(), 512);
    let disk = disk();
    // The first flush, after the ends were cleared, is fine.
    let cancel = tokio_util::sync::CancellationToken::new();
    let (watched, stop) = (Arc::clone(&disk), cancel.clone());
    let breaker = tokio::task::spawn_blocking(move || {
        while !stop.is_cancelled() && watched.asked().len() < 4 {
            std::thread::yield_now();
        }
        watched.refuse_flush(5);
    });
    let failure = write_to(&disk, &store, options()).await.result.unwrap_err();
    cancel.cancel();
    breaker.await.unwrap();
    assert_eq!(
        failure.cause,
        "cannot flush the cache of faulty disk: Input/output error (os error 5)"
    );
    assert!(disk.content()[..1 << 20].iter().all(|&byte| byte == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_loses_data_is_found_by_reading_back() {
    let store = Store::new(&disk_content(), 512);
    for (offset, chunk) in [(500, 0), ((10 << 20) + 7, 10)] {
        let disk = disk();
        disk.corrupt(offset, 0x5A);
        // Nobody notices ...
        write_to(&disk, &store, options()).await.result.unwrap();
        // ... who doesn't look.
        let failure = write_to(
            &disk,
            &store,
            WriteOptions {
                read_back: true,
                ..options()
            },
        )
        .await
        .result
        .unwrap_err();
        assert_eq!(failure.kind, FailureKind::ReadBack);
        assert!(
            failure
                .cause
                .starts_with(&format!("faulty disk holds something else at chunk {chunk} ")),
            "{failure}"
        );
        let head = &disk.content()[..1 << 20];
        assert!(
            head.iter().filter(|&&byte| byte != 0).count() <= 1,
            "the head was not cleared"
        );
    }
}
