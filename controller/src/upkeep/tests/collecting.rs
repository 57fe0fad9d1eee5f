use super::*;

#[tokio::test]
async fn what_no_image_needs_goes_once_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let kept = import(&app, &admin(), "kept", disk(&[1, 2, 3])).await;
    let gone = import(&app, &admin(), "gone", disk(&[1, 2, 4])).await;
    delete(&app, &gone).await;
    let young = collect(&app, false).await;
    assert_eq!((young.packs, young.manifests, young.young), (0, 0, 1));
    let_time_pass(&app);
    let all = app.upkeep.figures().await.unwrap();
    // The pack of the fourth chunk and the manifest; the other chunks are those of the image that stays.
    assert_eq!((all.objects, all.unused_objects, all.images), (4, 2, 1));
    let proposed = collect(&app, true).await;
    assert_eq!((proposed.packs, proposed.manifests, proposed.orphans), (1, 1, 0));
    assert_eq!(app.upkeep.figures().await.unwrap().objects, 4);
    let removed = collect(&app, false).await;
    assert_eq!(
        (removed.objects, removed.bytes),
        (proposed.objects, proposed.bytes)
    );
    assert_eq!(removed.bytes, all.unused_bytes);
    let after = app.upkeep.figures().await.unwrap();
    assert_eq!((after.objects, after.unused_objects), (2, 0));
    assert!(app.store.size(&key_of(&gone)).await.is_err());
    assert_eq!(verify(&app, Some(&kept)).await.damaged_objects, 0);
    assert_eq!(count(&app, "store.collected").await, 1);
    assert_eq!(collect(&app, false).await, GcReport::default());

    // The chunks that went are stored again when somebody brings them again.
    let again = import(&app, &admin(), "again", disk(&[1, 2, 4])).await;
    assert_eq!(verify(&app, Some(&again)).await.damaged_objects, 0);
}

#[tokio::test]
async fn a_running_deployment_keeps_a_deleted_image() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let image = import(&app, &admin(), "a", disk(&[1])).await;
    let deployment = deploy(&app, &image).await;
    delete(&app, &image).await;
    let_time_pass(&app);
    assert_eq!(collect(&app, false).await.bytes, 0);
    assert_eq!(verify(&app, None).await.packs, 1);
    end_deployment(&app, &deployment).await;
    let removed = collect(&app, false).await;
    assert_eq!((removed.packs, removed.manifests), (1, 1));
}

#[tokio::test]
async fn work_that_reads_an_image_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let image = import(&app, &admin(), "a", disk(&[1])).await;
    assert!(app.catalog.hold("export", &image.id).await.unwrap());
    delete(&app, &image).await;
    assert!(!app.catalog.hold("late", &image.id).await.unwrap());
    let_time_pass(&app);
    assert_eq!(collect(&app, false).await.bytes, 0);
    app.catalog.forget_pending("export").await.unwrap();
    let removed = collect(&app, false).await;
    assert_eq!((removed.packs, removed.manifests), (1, 1));
}

#[tokio::test]
async fn what_a_crash_left_goes_and_what_is_noted_stays() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let object = |name: &[u8]| StoreObject::Pack(imprint_image::Digest::of(name));
    for name in [&b"left"[..], b"noted"] {
        app.store.put(&object(name), "content".into()).await.unwrap();
    }
    app.catalog
        .note_pending("import", &object(b"noted"))
        .await
        .unwrap();
    assert_eq!(collect(&app, false).await.young, 1);
    let_time_pass(&app);
    let removed = collect(&app, false).await;
    assert_eq!((removed.packs, removed.orphans), (1, 1));
    assert_eq!(removed.objects, [object(b"left").key()]);
    assert!(app.store.size(&object(b"noted")).await.is_ok());
}

#[tokio::test]
async fn a_lost_pack_is_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let image = import(&app, &admin(), "a", disk(&[1])).await;
    let pack = manifest_of(&app, &image).await.packs[0].digest;
    std::fs::remove_file(path_of(&app, &StoreObject::Pack(pack))).unwrap();
    assert_eq!(collect(&app, true).await.missing, 1);
    assert_eq!(count(&app, "alarm.image-damaged").await, 0);
    for _ in 0..2 {
        assert_eq!(collect(&app, false).await.missing, 1);
    }
    assert_eq!(count(&app, "alarm.image-damaged").await, 1);
    let figures = app.upkeep.figures().await.unwrap();
    assert_eq!(figures.damaged_images[0].id, image.id);
    assert_eq!(figures.damaged[0].object, format!("packs/{pack}"));
}

#[tokio::test]
async fn a_cancelled_run_stops_between_two_objects() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    for name in [&b"a"[..], b"b", b"c"] {
        let object = StoreObject::Pack(imprint_image::Digest::of(name));
        app.store.put(&object, "content".into()).await.unwrap();
    }
    let_time_pass(&app);
    let cancel = CancellationToken::new();
    let after_one = |step: &str, done, _| {
        if step == "remove" && done == 0 {
            cancel.cancel();
        }
    };
    let request = GcRequest {
        dry_run: false,
        grace: None,
    };
    let report = app.upkeep.collect(request, &after_one, &cancel).await.unwrap();
    assert_eq!(report.packs, 1);
    assert_eq!(app.upkeep.figures().await.unwrap().objects, 2);
}

#[tokio::test]
async fn garbage_is_looked_for_by_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::config::Config::loopback(dir.path());
    config.store.gc_interval = Duration::from_millis(10);
    let app = App::for_test_with(config, crate::clock::Clock::fake(jiff::Timestamp::now())).await;
    let object = StoreObject::Pack(imprint_image::Digest::of(b"left"));
    app.store.put(&object, "content".into()).await.unwrap();
    let task = tokio::spawn(run(app.upkeep.clone(), app.shutdown.clone()));
    let_time_pass(&app);
    while count(&app, "store.collected").await == 0 {
        tokio::task::yield_now().await;
    }
    assert!(app.store.size(&object).await.is_err());
    app.shutdown.cancel();
    task.await.unwrap();
}
