use std::fs;

use super::*;

fn flip(app: &App, object: &StoreObject, at: usize) {
    let path = path_of(app, object);
    let mut content = fs::read(&path).unwrap();
    content[at] ^= 0x40;
    fs::write(&path, content).unwrap();
}

#[tokio::test]
async fn a_flipped_byte_is_found_told_once_and_mended_by_another_import() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let hit = import(&app, &admin(), "hit", disk(&[1, 2, 3])).await;
    // It shares the first chunk, which is whole, with the other one.
    let spared = import(&app, &admin(), "spared", disk(&[1, 4])).await;
    let manifest = manifest_of(&app, &hit).await;
    let good = verify(&app, None).await;
    assert_eq!(
        (good.manifests, good.packs, good.frames, good.damaged_objects),
        (2, 2, 4, 0)
    );
    assert!(good.bytes > 2 * MIB as u64 && good.images.is_empty());

    let pack = StoreObject::Pack(manifest.packs[0].digest);
    flip(
        &app,
        &pack,
        usize::try_from(manifest.chunks[2].offset).unwrap() + 7,
    );
    for _ in 0..2 {
        let report = verify(&app, None).await;
        assert_eq!(report.damaged_objects, 1);
        assert_eq!(report.damaged[0].object, pack.key());
        assert!(
            report.damaged[0].cause.starts_with("1 of its 3 frames"),
            "{:?}",
            report.damaged
        );
        let images: Vec<_> = report.images.iter().map(|image| image.id.as_str()).collect();
        assert_eq!(images, [hit.id.as_str()]);
    }
    assert_eq!(count(&app, "alarm.image-damaged").await, 1);
    // Looking at the image that is spared finds the pack damaged, and does not blame the image.
    assert_eq!(verify(&app, Some(&spared)).await.images.len(), 1);

    // What is damaged is not shared; the same content brings the same pack.
    import(&app, &admin(), "again", disk(&[1, 2, 3])).await;
    let mended = verify(&app, None).await;
    assert_eq!((mended.damaged_objects, mended.images.len()), (0, 0));
    assert!(app.upkeep.figures().await.unwrap().damaged.is_empty());
}

#[tokio::test]
async fn a_missing_pack_and_a_wrong_manifest_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let images = [
        import(&app, &admin(), "a", disk(&[1])).await,
        import(&app, &admin(), "b", disk(&[2])).await,
        import(&app, &admin(), "c", disk(&[3])).await,
        import(&app, &admin(), "d", disk(&[4])).await,
    ];
    let pack = StoreObject::Pack(manifest_of(&app, &images[0]).await.packs[0].digest);
    fs::remove_file(path_of(&app, &pack)).unwrap();
    flip(&app, &key_of(&images[1]), 200);
    // Signed by us, and another one's.
    fs::copy(
        path_of(&app, &key_of(&images[3])),
        path_of(&app, &key_of(&images[2])),
    )
    .unwrap();
    let report = verify(&app, None).await;
    let cause = |object: &StoreObject| {
        let found = report
            .damaged
            .iter()
            .find(|damaged| damaged.object == object.key());
        found.map(|damaged| damaged.cause.clone()).unwrap_or_default()
    };
    assert_eq!(cause(&pack), "it is not in the store");
    assert!(
        cause(&key_of(&images[1])).contains("signature"),
        "{:?}",
        report.damaged
    );
    assert!(cause(&key_of(&images[2])).contains("not the manifest that the catalogue knows"));
    let hit: Vec<_> = report.images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(hit, ["a", "b", "c"]);
    assert_eq!(
        (report.damaged_objects, count(&app, "alarm.image-damaged").await),
        (3, 3)
    );
    let one = verify(&app, Some(&images[3])).await;
    assert_eq!(
        (one.manifests, one.packs, one.damaged_objects, one.images.len()),
        (1, 1, 0, 3)
    );
}

#[tokio::test]
async fn progress_is_told_and_a_cancelled_run_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let image = import(&app, &admin(), "a", disk(&[1, 2])).await;
    let pack = StoreObject::Pack(manifest_of(&app, &image).await.packs[0].digest);
    flip(&app, &pack, 0);
    let cancel = CancellationToken::new();
    let last = std::sync::Mutex::new((0, 0));
    let told = |_: &str, done, total| *last.lock().unwrap() = (done, total);
    app.upkeep.verify(None, &told, &cancel).await.unwrap();
    let (done, total) = *last.lock().unwrap();
    let size = app.store.size(&pack).await.unwrap();
    assert_eq!(total, size);
    assert!(done >= total);
    fs::remove_file(path_of(&app, &pack)).unwrap();
    cancel.cancel();
    let ended = app.upkeep.verify(None, &told, &cancel).await;
    assert!(matches!(ended, Err(UpkeepError::Cancelled)));
    assert!(
        app.catalog.damaged_objects().await.unwrap()[0]
            .1
            .contains("frames")
    );
}
