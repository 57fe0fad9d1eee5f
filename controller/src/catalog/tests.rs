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
