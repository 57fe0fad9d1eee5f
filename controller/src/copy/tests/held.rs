//! What is copied stays in the store until it is copied, and not longer; what is known of it comes along.

use super::{
    across::{manifest, put},
    *,
};
use crate::{
    store::StoreObject,
    testing::{
        admin, debian,
        garbage::{collected, deleted_and_collected, held},
        problem,
    },
};

#[tokio::test]
async fn an_image_that_is_deleted_while_it_is_encrypted_anew_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let app = &server.app;
    let disk = noise(1, 3 * MIB);
    let golden = import(&server, "name=golden", disk.clone()).await;
    let id = golden["id"].as_str().unwrap();
    // Nothing can be stored for now: the copy waits with its first pack.
    let nobody_writes = app.store.removing().await;
    let wanted = json!({"name": "secret", "encrypt": "yes"});
    let job: Value = post(&server, "/v1/images/golden/copy", &wanted)
        .await
        .json()
        .await
        .unwrap();
    until_step(&server, &job, "packing anew").await;
    app.catalog.delete(&admin(), id).await.unwrap();
    let key = golden["disks"][0]["manifest"].as_str().unwrap().parse().unwrap();
    let pack = std::fs::read_dir(dir.path().join("store/packs")).unwrap().next();
    let pack = pack.unwrap().unwrap().file_name().into_string().unwrap();
    for object in [
        StoreObject::Manifest(key),
        StoreObject::Pack(pack.parse().unwrap()),
    ] {
        assert!(!app.catalog.release(&object, None).await.unwrap(), "{object:?}");
    }
    drop(nobody_writes);
    let job = ended(&server, job["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(held(app).await, 0);
    let freed = collected(app).await;
    // The sweep of the copy has taken the manifest with it.
    assert_eq!(freed.packs, 1);
    assert!(app.store.size(&StoreObject::Manifest(key)).await.is_err());
    assert!(raw(&server, "secret").await == disk);
}

#[tokio::test]
async fn an_image_that_is_deleted_while_it_is_sent_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    let (east, west) = (&regions.east.app, &regions.west.app);
    let disk = noise(1, 3 * MIB);
    let golden = import(&regions.east, "name=golden", disk.clone()).await;
    // The other side can store nothing for now: the first pack is on its way.
    let nobody_writes = west.store.removing().await;
    let job: Value = post(
        &regions.east,
        "/v1/images/golden/copy",
        &json!({"region": "west"}),
    )
    .await
    .json()
    .await
    .unwrap();
    until_step(&regions.east, &job, "sending").await;
    let kept = deleted_and_collected(east, golden["id"].as_str().unwrap()).await;
    assert_eq!((kept.packs, kept.manifests), (0, 0));
    drop(nobody_writes);
    let job = ended(&regions.east, job["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert!(raw(&regions.west, "golden").await == disk);
    assert_eq!(held(east).await, 0);
    assert_eq!(collected(east).await.packs, 1);
    assert!(
        std::fs::read_dir(dir.path().join("east/store/manifests"))
            .unwrap()
            .next()
            .is_none()
    );
}

/// Facts, lint report and software of the same content are the same, wherever it is and whether it is encrypted.
#[tokio::test]
async fn what_the_content_tells_comes_along() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    let (east, west) = (&regions.east, &regions.west);
    let golden = import(east, "name=golden", debian()).await;
    let job = regions.copy("golden", json!({})).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let secret = copied(east, "golden", json!({"name": "secret", "encrypt": "yes"})).await;
    assert_eq!(secret["state"], "succeeded", "{secret}");
    let expected = get(east, "/v1/images/golden/facts").await["disks"][0]["facts"].clone();
    assert!(expected.to_string().contains("Debian 12"), "{expected}");
    let lint = get(east, "/v1/images/golden/lint").await["disks"].clone();
    for (server, image) in [(west, "golden"), (east, "secret")] {
        let facts = get(server, &format!("/v1/images/{image}/facts")).await;
        assert_eq!(facts["disks"][0]["facts"], expected, "{image}");
        let found = get(server, &format!("/v1/images/{image}/lint")).await;
        assert_eq!(found["disks"], lint, "{image}");
        let found = get(
            server,
            "/v1/images?software=cloud-init=22.4.2-1&os=debian&os_version=12",
        )
        .await;
        let mut names = found["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["name"]);
        assert!(names.any(|name| name == image), "{found}");
    }

    // The sender's word is not taken for it.
    let mut announced = regions.announced(&golden);
    announced["image"] = json!({"name": "rocky", "os_distribution": "rocky"});
    let begun: Value = post(west, "/v1/transfers", &announced)
        .await
        .json()
        .await
        .unwrap();
    let base = format!("/v1/transfers/{}", begun["id"].as_str().unwrap());
    let sent = put(
        west,
        &format!("{base}/disks/0/manifest"),
        manifest(&regions, &golden),
    )
    .await;
    assert_eq!(sent.status(), 204);
    let refused = problem(post(west, &format!("{base}/complete"), &json!({})).await).await;
    assert_eq!((refused.0, refused.1.as_str()), (422, "image-contradicts"));
    let none = west
        .client()
        .get(west.url("/v1/images/rocky"))
        .send()
        .await
        .unwrap();
    assert_eq!(none.status(), 404);
}
