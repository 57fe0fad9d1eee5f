use http::Method;
use imprint_image::Digest;

use super::*;
use crate::testing::s3::S3Server;

async fn open(bucket: crate::config::BucketConfig) -> Result<Store, StoreError> {
    open_as(bucket, "ours").await
}

async fn open_as(bucket: crate::config::BucketConfig, owner: &str) -> Result<Store, StoreError> {
    let config = StoreConfig {
        bucket: Some(bucket),
        ..StoreConfig::default()
    };
    Store::open(Path::new("/nonexistent"), &config, &[owner.to_owned()]).await
}

#[tokio::test]
async fn a_bucket_keeps_objects_below_its_prefix() {
    let server = S3Server::start(&["images"]).await;
    let store = open(server.bucket("s3://images/imprint/eu")).await.unwrap();
    tests::objects_come_back_whole_and_in_parts(&store).await;
    // Nothing of the check is left; the mark of the owner stays.
    assert_eq!(server.keys("images"), ["imprint/eu/owner"]);
    let content = tests::content(100);
    let object = StoreObject::Pack(Digest::of(&content));
    store.put(&object, content.into()).await.unwrap();
    let key = format!("imprint/eu/{}", object.key());
    assert!(server.path_of("images", &key).is_file());
    assert!(store.require_space(u64::MAX).is_ok());
    assert_eq!(
        (store.place().as_str(), store.free_bytes()),
        ("s3://images/imprint/eu", None)
    );
    assert!(!format!("{store:?}").contains(crate::testing::s3::SECRET));
}

#[tokio::test]
async fn a_range_of_a_bucket_is_one_request() {
    let server = S3Server::start(&["images"]).await;
    let store = open(server.bucket("s3://images")).await.unwrap();
    let content = tests::content(3_000_000);
    let object = StoreObject::Pack(Digest::of(&content));
    store.put(&object, content.clone().into()).await.unwrap();
    let before = server.count(&Method::GET, "packs/");
    assert!(tests::read(&store, object, 10..2_900_000).await == content[10..2_900_000]);
    assert_eq!(server.count(&Method::GET, "packs/") - before, 1);
}

#[tokio::test]
async fn tls_is_believed_only_by_its_ca() {
    let server = S3Server::start_tls(&["images"]).await;
    let bucket = server.bucket("s3://images");
    let store = open(bucket.clone()).await.unwrap();
    tests::objects_come_back_whole_and_in_parts(&store).await;
    let stranger = open(crate::config::BucketConfig {
        ca_file: None,
        ..bucket
    })
    .await;
    match stranger.unwrap_err() {
        StoreError::Bucket { fault, .. } => {
            assert_eq!(fault.kind, FaultKind::Unavailable);
            assert!(fault.cause.contains("certificate"), "{fault}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_said_at_the_start() {
    let server = S3Server::start(&["images"]).await;
    let good = server.bucket("s3://images/a");
    let dir = tempfile::tempdir().unwrap();
    let wrong_secret = dir.path().join("wrong.toml");
    std::fs::write(
        &wrong_secret,
        "access_key_id = \"AKIAIMPRINTTEST\"\nsecret_access_key = \"hunter2\"",
    )
    .unwrap();
    let unknown_key = dir.path().join("unknown.toml");
    std::fs::write(
        &unknown_key,
        "access_key_id = \"AKIASTRANGER\"\nsecret_access_key = \"hunter2\"",
    )
    .unwrap();
    for file in [&wrong_secret, &unknown_key] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let with_file = |file: &Path| crate::config::BucketConfig {
        credentials_file: Some(file.to_owned()),
        ..good.clone()
    };
    for (bucket, kind) in [
        (with_file(&wrong_secret), FaultKind::Credentials),
        (with_file(&unknown_key), FaultKind::Credentials),
        (server.bucket("s3://no-such-bucket"), FaultKind::NoBucket),
    ] {
        let error = open(bucket).await.unwrap_err();
        let StoreError::Bucket { what, fault, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!((*what, fault.kind), ("list", kind), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
    assert!(matches!(
        open(with_file(&dir.path().join("none"))).await,
        Err(StoreError::Credentials { .. })
    ));
    server.go_away();
    let error = open(good.clone()).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Bucket { fault, .. } if fault.kind == FaultKind::Unavailable),
        "{error}"
    );
    server.come_back();
    open(good.clone()).await.unwrap();
    // A second controller in the same place would take the first one's images for garbage.
    assert!(matches!(
        open_as(good.clone(), "theirs").await,
        Err(StoreError::Foreign { .. })
    ));
    open_as(good, "ours").await.unwrap();
}

#[tokio::test]
async fn a_short_absence_is_waited_out() {
    let server = S3Server::start(&["images"]).await;
    let bucket = crate::config::BucketConfig {
        retry: std::time::Duration::from_secs(20),
        ..server.bucket("s3://images")
    };
    let store = open(bucket).await.unwrap();
    let object = StoreObject::Pack(Digest::of(b"pack"));
    server.go_away_after(0);
    let (written, ()) = tokio::join!(store.put(&object, "pack".into()), async {
        while !server.is_away() {
            tokio::task::yield_now().await;
        }
        server.come_back();
    });
    written.unwrap();
    assert_eq!(store.size(&object).await.unwrap(), 4);
}
