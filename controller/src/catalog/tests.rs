use imprint_image::{Digest, write::PackSink};

use super::*;
use crate::app::App;

struct Forget;

impl PackSink for Forget {
    fn put_pack(&mut self, _digest: Digest, _bytes: Vec<u8>) -> std::io::Result<()> {
        Ok(())
    }
}

fn manifest(content: &[u8]) -> imprint_image::Manifest {
    let mut writer =
        imprint_image::write::ArtifactWriter::new(Forget, imprint_image::write::WriteOptions::default());
    writer.import_stream(&mut &content[..]).unwrap()
}

async fn insert(catalog: &Catalog, name: &str, content: &[u8], fresh: bool) -> Result<Image, CatalogError> {
    let new = NewImage {
        name,
        manifest: &manifest(content),
        manifest_digest: "00".into(),
        fresh,
        source_format: "raw",
        created_at_ms: 1_000,
        idempotency_key: None,
        import_id: "import",
    };
    catalog.insert(&new).await
}

#[tokio::test]
async fn images_are_found_by_id_and_name_and_listed_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let catalog = &app.catalog;
    let mut ids = Vec::new();
    for n in 0..5_u8 {
        // ULIDs of one millisecond are in no order of their own; the list is in the order of ids.
        ids.push(
            insert(catalog, &format!("debian-{n}"), &[n + 1; 4096], true)
                .await
                .unwrap()
                .id,
        );
    }
    ids.sort();
    let image = catalog.find("debian-3").await.unwrap();
    assert_eq!(catalog.find(&image.id).await.unwrap(), image);
    assert_eq!(
        (image.disk_size_bytes, image.source_format.as_str()),
        (4096, "raw")
    );

    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let page = catalog.list(2, token.as_deref()).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|i| i.id));
        match page.next_page_token {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    assert!(matches!(
        catalog.list(0, Some("x' OR 1")).await,
        Err(CatalogError::BadPageToken)
    ));
    assert!(matches!(
        insert(catalog, "debian-3", &[9; 512], true).await,
        Err(CatalogError::NameTaken { .. })
    ));
    match catalog.find("debian_3").await {
        Err(CatalogError::NotFound { near, .. }) => {
            assert!(near.contains(&"debian-3".to_owned()), "{near:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn chunks_and_packs_are_entered_with_their_image() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let content = vec![5; 3 << 20];
    let image = insert(&app.catalog, "a", &content, true).await.unwrap();
    let manifest = manifest(&content);
    let pack = StoreObject::Pack(manifest.packs[0].digest);
    assert!(app.catalog.uses(&image.image_digest, &pack).await.unwrap());
    assert!(
        app.catalog
            .uses(&image.image_digest, &StoreObject::Manifest(manifest.image_digest))
            .await
            .unwrap()
    );
    let stranger = Digest::of(b"stranger");
    for object in [StoreObject::Pack(stranger), StoreObject::Manifest(stranger)] {
        assert!(!app.catalog.uses(&image.image_digest, &object).await.unwrap());
    }
    let known = app
        .catalog
        .known_chunk(&manifest.chunks[0].plain)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (known.pack, known.frame),
        (manifest.packs[0].digest, manifest.chunks[0].frame)
    );
    assert!(app.catalog.known_chunk(&stranger).await.unwrap().is_none());
}

#[tokio::test]
async fn what_an_interrupted_import_entered_is_not_used_and_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    // The name is taken, so that it ends after its chunks and before its image.
    insert(&app.catalog, "a", &[5; 4096], true).await.unwrap();
    let content = [6; 4096];
    let taken = insert(&app.catalog, "a", &content, true).await;
    assert!(matches!(taken, Err(CatalogError::NameTaken { .. })));
    let chunk = manifest(&content).chunks[0].plain;
    let count = async || -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM chunks")
            .fetch_one(&app.db)
            .await
            .unwrap()
    };
    assert_eq!(count().await, 2);
    assert!(app.catalog.known_chunk(&chunk).await.unwrap().is_none());
    assert_eq!(app.catalog.list(0, None).await.unwrap().items.len(), 1);

    // A later import of the same content puts it right, and what is in use stays.
    sqlx::query("UPDATE chunks SET pack = 'gone' WHERE plain = ?")
        .bind(chunk.as_bytes().as_slice())
        .execute(&app.db)
        .await
        .unwrap();
    insert(&app.catalog, "b", &content, true).await.unwrap();
    let known = app.catalog.known_chunk(&chunk).await.unwrap().unwrap();
    assert_eq!(known.pack, manifest(&content).packs[0].digest);
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
    let mut large = manifest(&[5; 4096]);
    let chunk = large.chunks[0].clone();
    large.chunks = (0..30_000_u64)
        .map(|index| imprint_image::Chunk {
            index,
            plain: Digest::of(&index.to_le_bytes()),
            ..chunk.clone()
        })
        .collect();
    let catalog = app.catalog.clone();
    let entering = tokio::spawn(async move {
        let new = NewImage {
            name: "large",
            manifest: &large,
            manifest_digest: "00".into(),
            fresh: true,
            source_format: "raw",
            created_at_ms: 1_000,
            idempotency_key: None,
            import_id: "import",
        };
        catalog.insert(&new).await.unwrap();
    });
    let mut writes_while_entering = 0;
    while !entering.is_finished() {
        sqlx::query("DELETE FROM nodes WHERE id = ''")
            .execute(&app.db)
            .await
            .unwrap();
        let listed = app.catalog.find("large").await.is_ok();
        let entered: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM chunks")
            .fetch_one(&app.db)
            .await
            .unwrap();
        assert!(!listed || entered == 30_000, "listed with {entered} chunks");
        writes_while_entering += i32::from(entered > 0 && entered < 30_000);
    }
    entering.await.unwrap();
    assert!(writes_while_entering > 0);
    assert!(app.catalog.find("large").await.is_ok());
}
