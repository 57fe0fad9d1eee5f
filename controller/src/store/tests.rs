use std::fs;

use imprint_image::Digest;

use super::*;

pub(super) fn content(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

pub(super) async fn read(store: &Store, object: StoreObject, range: Range<u64>) -> Vec<u8> {
    let parts: Vec<Bytes> = store.stream(object, range).try_collect().await.unwrap();
    parts.concat()
}

/// What every kind of store does alike.
pub(super) async fn objects_come_back_whole_and_in_parts(store: &Store) {
    let content = content(3_000_000);
    let object = StoreObject::Pack(Digest::of(&content));
    let missing = |result: Result<u64, StoreError>| matches!(result, Err(StoreError::Missing { .. }));
    assert!(missing(store.size(&object).await));
    assert!(missing(store.get(&object, 1).await.map(|_| 0)));
    assert!(missing(
        store
            .stream(object, 0..1)
            .try_collect::<Vec<_>>()
            .await
            .map(|_| 0)
    ));
    store.put(&object, content.clone().into()).await.unwrap();
    // Packs are named by their content: the same once more.
    store.put(&object, content.clone().into()).await.unwrap();
    assert_eq!(store.size(&object).await.unwrap(), 3_000_000);
    for range in [0..3_000_000, 5..6, 524_288..1_048_577, 2_999_999..3_000_000, 7..7] {
        let expected = &content[range.start as usize..range.end as usize];
        assert!(read(store, object, range.clone()).await == expected, "{range:?}");
    }
    assert!(store.get(&object, 3_000_000).await.unwrap() == content);
    assert!(matches!(
        store.get(&object, 2_999_999).await,
        Err(StoreError::TooLong { bytes: 3_000_000, .. })
    ));
    let manifest = StoreObject::Manifest(Digest::of(b"manifest"));
    store.put(&manifest, "manifest".into()).await.unwrap();
    let mut listed: Vec<StoredObject> = store.list().try_collect().await.unwrap();
    listed.sort_by_key(|found| found.bytes);
    let named: Vec<_> = listed.iter().map(|found| (found.object, found.bytes)).collect();
    assert_eq!(named, [(manifest, 8), (object, 3_000_000)]);
    let age = jiff::Timestamp::now().as_millisecond() - listed[0].written_at_ms;
    assert!((-5_000..60_000).contains(&age), "{age}");
    for object in [object, object, manifest] {
        store.delete(&object).await.unwrap();
    }
    assert!(missing(store.size(&object).await));
    assert_eq!(store.list().count().await, 0);
}

#[tokio::test]
async fn a_folder_keeps_objects_and_loses_drafts() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open_folder(dir.path()),
        Err(StoreError::Unreachable { .. })
    ));
    Store::create(dir.path()).unwrap();
    let store = Store::open(dir.path(), &StoreConfig::default(), &[])
        .await
        .unwrap();
    objects_come_back_whole_and_in_parts(&store).await;
    let object = StoreObject::Pack(Digest::of(b"whole"));
    store.put(&object, "whole".into()).await.unwrap();
    let draft = dir.path().join("store").join(format!("{}#1", object.key()));
    fs::write(&draft, "half").unwrap();
    fs::write(dir.path().join("store/packs/stranger"), "no digest").unwrap();
    assert_eq!(store.list().count().await, 1);
    drop(Store::open_folder(dir.path()).unwrap());
    assert!(!draft.exists() && store.size(&object).await.is_ok());
    assert!(matches!(
        store.require_space(u64::MAX),
        Err(StoreError::NoSpace { .. })
    ));
    assert!(store.free_bytes().is_some() && store.place().ends_with("/store"));
}
