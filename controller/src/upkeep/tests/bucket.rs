//! The whole way with the images in a bucket of a real S3 server.

use http::{Method, StatusCode};

use super::*;
use crate::{
    clock::Clock,
    config::Config,
    testing::{TestServer, s3::S3Server},
};

async fn app_on(dir: &std::path::Path, server: &S3Server) -> App {
    let mut config = Config::loopback(dir);
    config.store.bucket = Some(server.bucket("s3://images/imprint"));
    App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await
}

#[tokio::test]
async fn an_image_goes_into_the_bucket_is_served_in_ranges_verified_and_collected() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3Server::start(&["images"]).await;
    let app = app_on(dir.path(), &s3).await;
    let image = import(&app, &admin(), "a", disk(&[1, 2, 3])).await;
    let manifest = manifest_of(&app, &image).await;
    let pack = StoreObject::Pack(manifest.packs[0].digest);
    let stored = std::fs::read(s3.path_of("images", &format!("imprint/{}", pack.key()))).unwrap();
    let server = TestServer::serve(app.clone()).await;
    let chunk = &manifest.chunks[1];
    let end = chunk.offset + u64::from(chunk.frame_bytes);
    let request = server
        .client()
        .get(server.url(&format!("/v1/store/{}", pack.key())));
    let range = format!("bytes={}-{}", chunk.offset, end - 1);
    let answer = request.header("range", range).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    let frame = answer.bytes().await.unwrap();
    assert_eq!(imprint_image::Digest::of(&frame), chunk.frame);
    assert!(frame[..] == stored[usize::try_from(chunk.offset).unwrap()..usize::try_from(end).unwrap()]);

    let report = verify(&app, None).await;
    assert_eq!(
        (
            report.manifests,
            report.packs,
            report.frames,
            report.damaged_objects
        ),
        (1, 1, 3, 0)
    );
    let mut bad = stored.clone();
    bad[100] ^= 1;
    std::fs::write(s3.path_of("images", &format!("imprint/{}", pack.key())), bad).unwrap();
    assert_eq!(verify(&app, None).await.images[0].id, image.id);
    delete(&app, &image).await;
    let_time_pass(&app);
    let removed = collect(&app, false).await;
    assert_eq!((removed.packs, removed.manifests), (1, 1));
    assert_eq!(s3.keys("images"), ["imprint/owner"]);
}

#[tokio::test]
async fn a_bucket_that_goes_away_in_the_middle_fails_the_import_and_nothing_of_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3Server::start(&["images"]).await;
    let app = app_on(dir.path(), &s3).await;
    // Three packs; the server goes away while it gets the second one.
    let content = disk(&(0..140).collect::<Vec<_>>());
    s3.go_away_after(1);
    let problem = try_import(&app, &admin(), ImageSpec::named("a"), content)
        .await
        .unwrap_err();
    assert_eq!(
        (problem.status, problem.kind),
        (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable")
    );
    assert!(!problem.detail.contains(crate::testing::s3::SECRET));
    assert_eq!(count(&app, "image.import-failed").await, 1);
    // Its clean-up could not reach the bucket either: what it wrote is found as garbage.
    s3.come_back();
    let_time_pass(&app);
    collect(&app, false).await;
    assert_eq!(s3.keys("images"), ["imprint/owner"]);
    let left: i64 =
        sqlx::query_scalar("SELECT (SELECT COUNT(*) FROM images) + (SELECT COUNT(*) FROM chunks)")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!(left, 0);
    import(&app, &admin(), "a", disk(&[1])).await;
    assert_eq!(verify(&app, None).await.damaged_objects, 0);
}

#[tokio::test]
async fn a_bucket_that_is_away_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3Server::start(&["images"]).await;
    let app = app_on(dir.path(), &s3).await;
    import(&app, &admin(), "a", disk(&[1])).await;
    s3.go_away();
    let cancel = CancellationToken::new();
    let verified = app.upkeep.verify(None, &|_, _, _| {}, &cancel).await;
    assert!(matches!(verified, Err(UpkeepError::Store(_))), "{verified:?}");
    let request = GcRequest {
        dry_run: false,
        grace: Some(Duration::ZERO),
    };
    assert!(app.upkeep.collect(request, &|_, _, _| {}, &cancel).await.is_err());
    assert!(app.catalog.damaged_objects().await.unwrap().is_empty());
    s3.come_back();
    assert_eq!(verify(&app, None).await.packs, 1);
}

#[tokio::test]
async fn who_imports_cannot_tell_whether_another_project_has_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3Server::start(&["images"]).await;
    let app = app_on(dir.path(), &s3).await;
    let mut members = Vec::new();
    for name in ["first", "second", "third"] {
        let project = crate::testing::project(&app, name).await;
        members.push(Caller::for_test(&project, Role::Member));
    }
    let mut puts = s3.count(&Method::PUT, "/");
    let mut seen = Vec::new();
    // The second brings what the first has, the third what nobody has.
    for (member, seeds) in members.iter().zip([[1, 2, 3], [1, 2, 3], [7, 8, 9]]) {
        let image = import(&app, member, "secret", disk(&seeds)).await;
        let now = s3.count(&Method::PUT, "/");
        seen.push((image.data_bytes, image.disks.len(), now - puts));
        puts = now;
        let manifest = manifest_of(&app, &image).await;
        assert_eq!(image.stored_bytes, manifest.fetch_bytes());
        assert_eq!(
            (manifest.packs.len(), manifest.fetch_bytes() / MIB as u64),
            (1, 1)
        );
    }
    assert!(seen.iter().all(|s| *s == seen[0]), "{seen:?}");
    // What one has itself is found again: only the manifest is written.
    let before = s3.count(&Method::PUT, "/packs/");
    import(&app, &members[0], "again", disk(&[3, 2, 1])).await;
    assert_eq!(s3.count(&Method::PUT, "/packs/"), before);
}
