//! Chunks and packs of images: where they lie, and what interrupted imports leave.

use imprint_image::Digest;

use super::{Finished, NewDisk, NewImage};
use crate::{
    app::App,
    catalog::{CatalogError, Image, ImageQuery, ImageSpec, ImageState, Source},
    identity::{Caller, PLATFORM, Role, Viewer},
    store::StoreObject,
    testing::{made, manifest_of},
};

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

async fn insert(app: &App, name: &str, content: &[u8]) -> Image {
    made(app, &admin(), &ImageSpec::named(name), content).await
}

/// An import that ends after its chunks and before its image, since its row is gone.
async fn insert_half(app: &App, manifest: &imprint_image::Manifest) {
    let spec = ImageSpec::named("half");
    let new = NewImage {
        spec: &spec,
        by: &admin(),
        source: Source::Upload,
        source_reference: "",
        idempotency_key: None,
    };
    let begun = app
        .catalog
        .begin_image(&new, ImageState::Importing)
        .await
        .unwrap();
    sqlx::query("CREATE TRIGGER broken BEFORE INSERT ON manifests BEGIN SELECT RAISE(ABORT, 'broken'); END")
        .execute(&app.db)
        .await
        .unwrap();
    let disk = NewDisk {
        role: "system",
        manifest,
        key: "00".into(),
        manifest_digest: "00".into(),
        fresh: true,
        wrapped_key: None,
        findings: None,
    };
    let done = Finished {
        image_id: &begun.id,
        import_id: "import",
        source_format: "raw",
        disks: &[disk],
    };
    let finished = app.catalog.finish_image(&done).await;
    assert!(matches!(finished, Err(CatalogError::Database(_))), "{finished:?}");
    sqlx::query("DROP TRIGGER broken").execute(&app.db).await.unwrap();
    app.catalog.abandon_image(&begun.id).await.unwrap();
}

#[tokio::test]
async fn chunks_and_packs_are_entered_with_their_image() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let content = vec![5; 3 << 20];
    let image = insert(&app, "a", &content).await;
    let manifest = manifest_of(&content);
    let key = &image.disks[0].manifest;
    let pack = StoreObject::Pack(manifest.packs[0].digest);
    assert!(app.catalog.uses(key, &pack).await.unwrap());
    let own = StoreObject::Manifest(key.parse().unwrap());
    assert!(app.catalog.uses(key, &own).await.unwrap());
    let stranger = Digest::of(b"stranger");
    for object in [StoreObject::Pack(stranger), StoreObject::Manifest(stranger)] {
        assert!(!app.catalog.uses(key, &object).await.unwrap());
    }
    let known = app
        .catalog
        .known_chunk(PLATFORM, &manifest.chunks[0].plain)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (known.pack, known.frame),
        (manifest.packs[0].digest, manifest.chunks[0].frame)
    );
    assert!(
        app.catalog
            .known_chunk(PLATFORM, &stranger)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn what_an_interrupted_import_entered_is_not_used_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    insert(&app, "a", &[5; 4096]).await;
    let content = [6; 4096];
    insert_half(&app, &manifest_of(&content)).await;
    let chunk = manifest_of(&content).chunks[0].plain;
    let count = async || -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM chunks")
            .fetch_one(&app.db)
            .await
            .unwrap()
    };
    assert_eq!(count().await, 2);
    assert!(app.catalog.known_chunk(PLATFORM, &chunk).await.unwrap().is_none());
    let all = app
        .catalog
        .list(&Viewer::All, &ImageQuery::default())
        .await
        .unwrap();
    assert_eq!(all.items.len(), 1);

    // A later import of the same content puts it right, and what is in use stays.
    sqlx::query("UPDATE chunks SET pack = 'gone' WHERE plain = ?")
        .bind(chunk.as_bytes().as_slice())
        .execute(&app.db)
        .await
        .unwrap();
    insert(&app, "b", &content).await;
    let known = app.catalog.known_chunk(PLATFORM, &chunk).await.unwrap().unwrap();
    assert_eq!(known.pack, manifest_of(&content).packs[0].digest);
    assert_eq!(app.catalog.forget_chunks_without_pack().await.unwrap(), 0);
    sqlx::query("UPDATE chunks SET pack = 'gone' WHERE plain = ?")
        .bind(chunk.as_bytes().as_slice())
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(app.catalog.forget_chunks_without_pack().await.unwrap(), 1);
    assert_eq!(count().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_can_write_while_a_large_image_is_entered() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut large = manifest_of(&[5; 4096]);
    let chunk = large.chunks[0].clone();
    large.chunks = (0..30_000_u64)
        .map(|index| imprint_image::Chunk {
            index,
            plain: Digest::of(&index.to_le_bytes()),
            ..chunk.clone()
        })
        .collect();
    let entering = tokio::spawn({
        let app = app.clone();
        async move { crate::testing::made_of(&app, &admin(), &ImageSpec::named("large"), &large).await }
    });
    let mut writes_while_entering = 0;
    while !entering.is_finished() {
        sqlx::query("DELETE FROM nodes WHERE id = ''")
            .execute(&app.db)
            .await
            .unwrap();
        let listed = app.catalog.find(&Viewer::All, "large").await;
        let listed = listed.is_ok_and(|image| image.state == ImageState::Active);
        let entered: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM chunks")
            .fetch_one(&app.db)
            .await
            .unwrap();
        assert!(!listed || entered == 30_000, "listed with {entered} chunks");
        writes_while_entering += i32::from(entered > 0 && entered < 30_000);
    }
    entering.await.unwrap();
    assert!(writes_while_entering > 0);
    assert_eq!(
        app.catalog.find(&Viewer::All, "large").await.unwrap().state,
        ImageState::Active
    );
}
