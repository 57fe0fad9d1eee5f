use super::*;
use crate::{
    catalog::ImageSpec,
    copy::{CopyFault, CopyRequest, Encrypt},
    export::ExportFault,
    identity::{Caller, Role},
    testing::{problem, project},
};

async fn start(dir: &Path) -> TestServer {
    TestServer::start(dir).await
}

/// Shares an image as its members' API does.
pub(super) async fn share(server: &TestServer, image: &str, with: &str) {
    sqlx::query("UPDATE images SET visibility = 'shared' WHERE id = ?")
        .bind(image)
        .execute(&server.app.db)
        .await
        .unwrap();
    sqlx::query("INSERT INTO image_members (image_id, project_id, state, created_at, updated_at) VALUES (?, ?, 'accepted', 0, 0)")
        .bind(image)
        .bind(with)
        .execute(&server.app.db)
        .await
        .unwrap();
}

pub(super) async fn copy_as(
    server: &TestServer,
    caller: &Caller,
    image: &str,
    name: &str,
) -> Result<Value, CopyFault> {
    let app = &server.app;
    let image = app.catalog.find(&caller.viewer(), image).await?;
    let request = CopyRequest {
        name: Some(name.to_owned()),
        ..CopyRequest::default()
    };
    let job = app
        .copies
        .start(&app.jobs, caller, &image, &request, None)
        .await?;
    Ok(ended(server, &job.id).await)
}

/// Row 63: a shared image becomes one's own, and stays when the sharing ends and the original is gone.
#[tokio::test]
async fn row_63_a_copy_of_a_shared_image_survives_its_recall() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let disk = [noise(1, 2 * MIB), vec![0; MIB], noise(2, 100)].concat();
    let golden = import(
        &server,
        "name=golden&family=debian&tags=a,b&os_distribution=debian",
        disk.clone(),
    )
    .await;
    let golden_id = golden["id"].as_str().unwrap();
    let team = project(&server.app, "team").await;
    let member = Caller::for_test(&team, Role::Member);
    // Before it is shared there is no such image.
    let refused = copy_as(&server, &member, golden_id, "mine").await.unwrap_err();
    assert!(matches!(refused, CopyFault::Catalog(_)), "{refused}");
    share(&server, golden_id, &team).await;
    let before = packs(&server);
    let job = copy_as(&server, &member, golden_id, "mine").await.unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(packs(&server), before, "nothing is stored twice");

    // Recalled, and deleted with its row and all that only it needs.
    for statement in [
        "DELETE FROM image_members WHERE image_id = ?",
        "DELETE FROM images WHERE id = ?",
    ] {
        sqlx::query(statement)
            .bind(golden_id)
            .execute(&server.app.db)
            .await
            .unwrap();
    }
    let mine = server.app.catalog.find(&member.viewer(), "mine").await.unwrap();
    assert_eq!(
        (mine.project_id.as_str(), mine.visibility.as_str()),
        (team.as_str(), "private")
    );
    assert_eq!(
        (mine.source.as_str(), mine.source_reference.as_str()),
        ("copy", golden_id)
    );
    assert_eq!(mine.parent_id.as_deref(), Some(golden_id));
    assert_eq!((mine.family.as_deref(), mine.tags.len()), (Some("debian"), 2));
    assert_eq!(mine.image_digest, golden["image_digest"].as_str().unwrap());
    let mut padded = disk;
    padded.resize(padded.len().next_multiple_of(512), 0);
    assert!(raw(&server, &mine.id).await == padded);
    let pinned: i64 = sqlx::query_scalar("SELECT count(*) FROM pending_objects")
        .fetch_one(&server.app.db)
        .await
        .unwrap();
    assert_eq!(pinned, 0);
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    import(&server, "name=golden", noise(1, MIB)).await;
    for (body, status, kind) in [
        (json!({}), 400, "invalid-request"),
        (json!({"name": "golden"}), 409, "image-name-taken"),
        (json!({"name": "a/b"}), 400, "bad-image-name"),
        (json!({"name": "b", "region": "nowhere"}), 404, "region-not-found"),
    ] {
        let refused = problem(post(&server, "/v1/images/golden/copy", &body).await).await;
        assert_eq!((refused.0, refused.1.as_str()), (status, kind), "{body}");
    }
    let refused = problem(post(&server, "/v1/images/none/copy", &json!({"name": "b"})).await).await;
    assert_eq!(refused.1, "image-not-found");

    // Others do not get what is sold, and only administrators copy into other projects.
    let team = project(&server.app, "team").await;
    let member = Caller::for_test(&team, Role::Member);
    let spec = ImageSpec {
        price: Some(crate::catalog::Price {
            amount: "1".into(),
            currency: "EUR".into(),
            per: crate::catalog::PricePer::Hour,
        }),
        visibility: Some(crate::catalog::Visibility::Public),
        ..ImageSpec::named("sold")
    };
    let admin = Caller::for_test(crate::identity::PLATFORM, Role::Admin);
    crate::testing::made(&server.app, &admin, &spec, &noise(3, 1000)).await;
    let refused = copy_as(&server, &member, "sold", "mine").await.unwrap_err();
    assert!(
        matches!(refused, CopyFault::Content(ExportFault::Paid { .. })),
        "{refused}"
    );
    let golden = server.app.catalog.find(&admin.viewer(), "golden").await.unwrap();
    let into = |project: &str| CopyRequest {
        name: Some("theirs".into()),
        project: Some(project.to_owned()),
        encrypt: Encrypt::Keep,
        ..CopyRequest::default()
    };
    let app = &server.app;
    let refused = app
        .copies
        .start(
            &app.jobs,
            &member,
            &golden,
            &into(crate::identity::PLATFORM),
            None,
        )
        .await;
    assert!(refused.is_err());
    let job = app
        .copies
        .start(&app.jobs, &admin, &golden, &into(&team), None)
        .await
        .unwrap();
    assert_eq!(ended(&server, &job.id).await["state"], "succeeded");
    assert_eq!(
        app.catalog
            .find(&member.viewer(), "theirs")
            .await
            .unwrap()
            .project_id,
        team
    );
}

#[tokio::test]
async fn a_copy_that_fails_leaves_its_name_free() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let golden = import(&server, "name=golden", noise(1, MIB)).await;
    let manifest = golden["disks"][0]["manifest"].as_str().unwrap();
    let path = dir.path().join("store/manifests").join(manifest);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let job = copied(&server, "golden", json!({"name": "copy"})).await;
    assert_eq!(
        job["problem"]["type"], "urn:imprint:problem:image-damaged",
        "{job}"
    );
    std::fs::write(&path, whole).unwrap();
    let job = copied(&server, "golden", json!({"name": "copy", "description": "mine"})).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(get(&server, "/v1/images/copy").await["description"], "mine");
}

#[tokio::test]
async fn a_repeated_request_makes_one_copy() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    import(&server, "name=golden", noise(1, MIB)).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let url = server.url("/v1/images/golden/copy");
        let request = server
            .client()
            .post(url)
            .header("idempotency-key", "k")
            .json(&json!({"name": "copy"}));
        let job: Value = request.send().await.unwrap().json().await.unwrap();
        ended(&server, job["id"].as_str().unwrap()).await;
        ids.push(job["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
}

/// Row 62: a copy within the region is encrypted where its image is not, and the other way round.
#[tokio::test]
async fn row_62_a_copy_within_the_region_changes_the_encryption() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    let disk = [noise(1, 2 * MIB), vec![0; 3 * MIB], noise(2, MIB + 512)].concat();
    let golden = import(&server, "name=golden", disk.clone()).await;
    let stored = packs(&server);
    let copy = async |from: &str, name: &str, encrypt: &str| {
        let job = copied(&server, from, json!({"name": name, "encrypt": encrypt})).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        let image = get(&server, &format!("/v1/images/{name}")).await;
        assert_eq!(image["image_digest"], golden["image_digest"]);
        assert!(raw(&server, name).await == disk, "{name}");
        image
    };
    let manifest = |image: &Value| image["disks"][0]["manifest"].clone();
    let secret = copy("golden", "secret", "yes").await;
    assert_eq!(
        (&secret["encrypted"], &secret["disks"][0]["encrypted"]),
        (&json!(true), &json!(true))
    );
    assert_ne!(manifest(&secret), manifest(&golden));
    assert_eq!(
        packs(&server),
        stored + 1,
        "nothing is shared with what is not encrypted"
    );
    // As it is: the same content under the same key, whether it is asked for or not.
    for (name, encrypt) in [("kept", "keep"), ("again", "yes")] {
        let kept = copy("secret", name, encrypt).await;
        assert_eq!(
            (&kept["encrypted"], manifest(&kept)),
            (&json!(true), manifest(&secret)),
            "{encrypt}"
        );
    }
    // Decrypted, it is what the project has already.
    let open = copy("secret", "open", "no").await;
    assert_eq!(open["encrypted"], false);
    assert_eq!(packs(&server), stored + 1);
    let pinned: i64 = sqlx::query_scalar("SELECT count(*) FROM pending_objects")
        .fetch_one(&server.app.db)
        .await
        .unwrap();
    assert_eq!(pinned, 0);
    // It does not go to another region so.
    let refused = problem(post(&server, "/v1/images/secret/copy", &json!({"region": "west"})).await).await;
    assert_eq!((refused.0, refused.1.as_str()), (409, "image-encrypted"));
}

/// A copy that cannot be packed anew leaves nothing of it.
#[tokio::test]
async fn a_conversion_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path()).await;
    import(&server, "name=golden", noise(1, 40 * MIB)).await;
    let stored = packs(&server);
    let folder = dir.path().join("store/packs");
    let path = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .min_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5 * MIB] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let job = copied(&server, "golden", json!({"name": "secret", "encrypt": "yes"})).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert_eq!(packs(&server), stored);
    let gone = server
        .client()
        .get(server.url("/v1/images/secret"))
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 404);
}
