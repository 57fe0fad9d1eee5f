//! What is stored once.

use std::collections::HashSet;

use super::*;
use crate::catalog::{ImageKind, Visibility};

/// Bytes of all objects.
async fn stored(app: &App) -> u64 {
    app.upkeep.figures().await.unwrap().bytes
}

#[tokio::test]
async fn content_of_public_images_is_shared_as_long_as_they_are_public() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let project = crate::testing::project(&app, "tenant").await;
    let member = Caller::for_test(&project, Role::Member);
    let base = import(&app, &admin(), "private-base", disk(&[1, 2, 3, 4])).await;
    let packs_of = |manifest: Manifest| {
        manifest
            .packs
            .into_iter()
            .map(|p| p.digest)
            .collect::<HashSet<_>>()
    };
    let base_packs = packs_of(manifest_of(&app, &base).await);

    // Not public: the tenant's packs are its own. Its chunks are in another order, so they make another pack.
    let own = import(&app, &member, "own", disk(&[4, 3])).await;
    assert!(packs_of(manifest_of(&app, &own).await).is_disjoint(&base_packs));

    let spec = ImageSpec {
        // Nothing has to start from it, so that anything may be published.
        kind: Some(ImageKind::DataDisk),
        visibility: Some(Visibility::Public),
        ..ImageSpec::named("base")
    };
    let public = try_import(&app, &admin(), spec, disk(&[1, 2, 3, 4]))
        .await
        .unwrap();
    let derived = import(&app, &member, "derived", disk(&[1, 2, 9])).await;
    let packs = packs_of(manifest_of(&app, &derived).await);
    assert_eq!((packs.len(), packs.intersection(&base_packs).count()), (2, 1));

    // When the public image goes, what was made of it keeps its packs.
    delete(&app, &public).await;
    delete(&app, &base).await;
    let_time_pass(&app);
    collect(&app, false).await;
    let report = verify(&app, None).await;
    assert_eq!((report.manifests, report.damaged_objects), (2, 0));
    // And it is no longer found by others.
    let other = crate::testing::project(&app, "other").await;
    let stranger = import(&app, &Caller::for_test(&other, Role::Member), "x", disk(&[2, 1])).await;
    assert!(packs_of(manifest_of(&app, &stranger).await).is_disjoint(&base_packs));
}

/// Must show 3: what a second version takes is what has changed.
#[tokio::test]
async fn a_second_version_takes_no_more_than_its_changed_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut seeds: Vec<u64> = (0..96).collect();
    let mut content = disk(&seeds);
    let first = import(&app, &admin(), "v1", content.clone()).await;
    let before = stored(&app).await;
    // An update in place: some chunks are new altogether, in others a block has changed.
    for n in [5, 6, 40, 77] {
        seeds[n] += 1_000;
        content[n * MIB..(n + 1) * MIB].copy_from_slice(&disk(&seeds[n..=n]));
    }
    for n in [0, 12, 63, 95] {
        content[n * MIB + 8192..n * MIB + 12_288].fill(7);
    }
    let second = import(&app, &admin(), "v2", content).await;
    let took = stored(&app).await - before;
    let [old, new] = [manifest_of(&app, &first).await, manifest_of(&app, &second).await];
    let known: HashSet<_> = old.chunks.iter().map(|chunk| chunk.plain).collect();
    let changed: Vec<_> = new
        .chunks
        .iter()
        .filter(|chunk| !known.contains(&chunk.plain))
        .collect();
    let frames: u64 = changed.iter().map(|chunk| u64::from(chunk.frame_bytes)).sum();
    eprintln!(
        "first version {before} bytes; second {took} bytes for {} changed chunks of {frames} bytes: {:.4}",
        changed.len(),
        took as f64 / frames as f64
    );
    assert_eq!(changed.len(), 8);
    assert!(took > frames && took * 100 <= frames * 102, "{took} of {frames}");
    assert_eq!(verify(&app, None).await.damaged_objects, 0);
}
