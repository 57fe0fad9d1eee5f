//! What copies take of a project's quota: reserved before anything is stored, and given back at every end.

use super::{
    across::{manifest, put},
    within::{copy_as, share},
    *,
};
use crate::{
    catalog::CatalogError,
    copy::CopyFault,
    identity::{Caller, PLATFORM, Role},
    testing::{garbage::until_held, project},
};

async fn limit(app: &App, project: &str, images: i64, bytes: Option<i64>) {
    sqlx::query("UPDATE projects SET max_images_per_user = ?, max_stored_bytes = ? WHERE id = ?")
        .bind(images)
        .bind(bytes)
        .bind(project)
        .execute(&app.db)
        .await
        .unwrap();
}

/// Images and bytes of each reservation.
async fn reserved(app: &App) -> Vec<(i64, i64)> {
    sqlx::query_as("SELECT images, bytes FROM quota_reservations")
        .fetch_all(&app.db)
        .await
        .unwrap()
}

async fn count(app: &App, table: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(&app.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn row_46_a_copy_within_the_region_counts() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let app = &server.app;
    let golden = import(&server, "name=golden", noise(1, 3 * MIB)).await;
    let stored = golden["stored_bytes"].as_i64().unwrap();
    let team = project(app, "team").await;
    share(&server, golden["id"].as_str().unwrap(), &team).await;
    let member = Caller::for_test(&team, Role::Member);
    let copy = async |name: &str| copy_as(&server, &member, golden["id"].as_str().unwrap(), name).await;
    let refused = async |name: &str| {
        let images = count(app, "images").await;
        let refused = copy(name).await.unwrap_err();
        assert!(
            matches!(refused, CopyFault::Catalog(CatalogError::Quota(_))),
            "{refused}"
        );
        assert_eq!(
            (count(app, "images").await, reserved(app).await),
            (images, vec![])
        );
    };
    limit(app, &team, 2, Some(stored - 1)).await;
    refused("mine").await;
    limit(app, &team, 2, Some(stored)).await;
    assert_eq!(copy("mine").await.unwrap()["state"], "succeeded");
    assert_eq!(reserved(app).await, []);
    // The content is the project's already, and counts once; an image is one more.
    assert_eq!(copy("again").await.unwrap()["state"], "succeeded");
    refused("third").await;

    // Encrypted, it is stored once more.
    limit(app, PLATFORM, 50, Some(2 * stored - 1)).await;
    let wanted = json!({"name": "secret", "encrypt": "yes"});
    let refused = crate::testing::problem(post(&server, "/v1/images/golden/copy", &wanted).await).await;
    assert_eq!((refused.0, refused.1.as_str()), (413, "quota-exceeded"));
    limit(app, PLATFORM, 50, None).await;
    assert_eq!(copied(&server, "golden", wanted).await["state"], "succeeded");
    assert_eq!(reserved(app).await, []);
}

#[tokio::test]
async fn a_copy_that_is_cancelled_or_fails_gives_back_what_it_has_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let app = &server.app;
    let golden = import(&server, "name=golden", noise(1, 3 * MIB)).await;
    let wanted = json!({"name": "secret", "encrypt": "yes"});
    // Nothing can be stored for now.
    let nobody_writes = app.store.removing().await;
    let job: Value = post(&server, "/v1/images/golden/copy", &wanted)
        .await
        .json()
        .await
        .unwrap();
    until_held(app, true).await;
    let stored = golden["stored_bytes"].as_i64().unwrap();
    assert_eq!(reserved(app).await, [(1, stored)]);
    let path = format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
    post(&server, &path, &json!({})).await;
    drop(nobody_writes);
    let job = ended(&server, job["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "cancelled", "{job}");
    assert_eq!((reserved(app).await, count(app, "images").await), (vec![], 1));

    let packs = dir.path().join("store/packs");
    let pack = std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[MIB / 2] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let job = copied(&server, "golden", wanted).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert_eq!((reserved(app).await, count(app, "images").await), (vec![], 1));
}

#[tokio::test]
async fn row_46_what_comes_from_another_region_counts() {
    let dir = tempfile::tempdir().unwrap();
    let regions = Regions::start(dir.path()).await;
    let (west, app) = (&regions.west, &regions.west.app);
    let golden = import(&regions.east, "name=golden", noise(1, 3 * MIB)).await;
    let stored = golden["stored_bytes"].as_i64().unwrap();
    for (images, bytes) in [(0, None), (50, Some(stored - 1))] {
        limit(app, PLATFORM, images, bytes).await;
        let job = regions.copy("golden", json!({})).await;
        assert_eq!(
            job["problem"]["type"], "urn:imprint:problem:region-refuses",
            "{job}"
        );
        let remedy = job["problem"]["remedy"].as_str().unwrap();
        assert!(remedy.contains("imprint quota"), "{job}");
        for table in ["transfers", "quota_reservations", "pending_objects", "images"] {
            assert_eq!(count(app, table).await, 0, "{table}");
        }
        assert_eq!(packs(west), 0);
    }

    limit(app, PLATFORM, 50, Some(stored)).await;
    let announced = regions.announced(&golden);
    let begun: Value = post(west, "/v1/transfers", &announced)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(reserved(app).await, [(1, 0)]);
    let base = format!("/v1/transfers/{}", begun["id"].as_str().unwrap());
    let sent = put(
        west,
        &format!("{base}/disks/0/manifest"),
        manifest(&regions, &golden),
    )
    .await;
    assert_eq!(sent.status(), 204);
    assert_eq!(reserved(app).await, [(1, stored)]);
    // It goes on after a restart, and others find nothing left meanwhile.
    app.catalog.unreserve_all().await.unwrap();
    assert_eq!(reserved(app).await, [(1, stored)]);
    let other = west.client().post(west.url("/v1/images?name=other"));
    let other = other.body(noise(2, MIB)).send().await.unwrap();
    assert_eq!(crate::testing::problem(other).await.1, "quota-exceeded");
    let gone = west.client().delete(west.url(&base)).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    assert_eq!(reserved(app).await, []);

    let job = regions.copy("golden", json!({})).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(reserved(app).await, []);
}
