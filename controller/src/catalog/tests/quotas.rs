//! What a project may keep.

use super::*;
use crate::{
    app::App,
    clock::Clock,
    config::Config,
    identity::{Caller, ProjectChange, Role},
    testing::{admin, made, project},
};

async fn limited(dir: &tempfile::TempDir, images: u64, bytes: Option<u64>) -> App {
    let mut config = Config::loopback(dir.path());
    assert_eq!(
        (
            config.quota.images_per_user,
            config.quota.stored_bytes_per_project
        ),
        (50, None)
    );
    config.quota.images_per_user = images;
    config.quota.stored_bytes_per_project = bytes;
    App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await
}

fn wish(holder: &str, by: &Caller, bytes: u64) -> QuotaReservation {
    QuotaReservation {
        holder: holder.to_owned(),
        project_id: by.project_id.clone(),
        created_by: by.name.clone(),
        images: 1,
        bytes,
    }
}

#[tokio::test]
async fn rows_20_and_46_a_user_has_so_many_private_images_and_what_others_see_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let app = limited(&dir, 3, None).await;
    let by = Caller::for_test(&project(&app, "a").await, Role::Member);
    let kept = made(&app, &by, &ImageSpec::named("one"), &[1; 4096]).await;
    made(&app, &by, &ImageSpec::named("two"), &[2; 4096]).await;
    app.catalog.reserve(&wish("third", &by, 0)).await.unwrap();
    match app.catalog.reserve(&wish("fourth", &by, 0)).await {
        Err(CatalogError::Quota(refused)) => {
            assert_eq!(
                (refused.used, refused.reserved, refused.asked, refused.limit),
                (2, 1, 1, 3)
            );
            let problem = crate::api::rest::problem::Problem::from(CatalogError::from(refused));
            assert_eq!((problem.status.as_u16(), problem.kind), (413, "quota-exceeded"));
            assert!(
                problem.detail.contains("has 2; 1 more are reserved")
                    && problem.remedy.contains("--images N")
            );
            assert_eq!(problem.to_status().code(), tonic::Code::ResourceExhausted);
        }
        other => panic!("{other:?}"),
    }
    // The same one again is no further one; another user has his own.
    app.catalog.reserve(&wish("third", &by, 7)).await.unwrap();
    let mut colleague = Caller::for_test(&by.project_id, Role::Member);
    colleague.name = "bob".to_owned();
    app.catalog.reserve(&wish("his", &colleague, 0)).await.unwrap();

    // Row 20: public images count for nobody, and deleted ones neither.
    sqlx::query("UPDATE images SET visibility = 'public' WHERE id = ?")
        .bind(&kept.id)
        .execute(&app.db)
        .await
        .unwrap();
    app.catalog.reserve(&wish("fourth", &by, 0)).await.unwrap();
    assert!(app.catalog.reserve(&wish("fifth", &by, 0)).await.is_err());
    app.catalog.delete(&by, "two").await.unwrap();
    app.catalog.reserve(&wish("fifth", &by, 0)).await.unwrap();
    app.catalog.unreserve("third").await.unwrap();
    app.catalog.reserve(&wish("sixth", &by, 0)).await.unwrap();
    let quota = app.catalog.quota(&by, &by.project_id).await.unwrap();
    let mine = quota.users.iter().find(|user| user.user == by.name).unwrap();
    assert_eq!(
        (mine.images.used, mine.images.reserved, mine.images.limit),
        (0, 3, Some(3))
    );
    app.catalog.unreserve_all().await.unwrap();
    let quota = app.catalog.quota(&by, &by.project_id).await.unwrap();
    assert_eq!((quota.users.len(), quota.users[0].images.reserved), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_at_the_same_time_do_not_share_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let app = limited(&dir, 1000, Some(1000)).await;
    let by = Caller::for_test(&project(&app, "a").await, Role::Member);
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let (catalog, wish) = (app.catalog.clone(), wish(&format!("import-{n}"), &by, 90));
            tokio::spawn(async move { catalog.reserve(&wish).await.is_ok() })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += u64::from(task.await.unwrap());
    }
    assert_eq!(granted, 11, "990 of 1000 bytes");
    let quota = app.catalog.quota(&by, &by.project_id).await.unwrap();
    assert_eq!((quota.stored_bytes.used, quota.stored_bytes.reserved), (0, 990));
}

#[tokio::test]
async fn bytes_are_those_of_private_images_and_a_project_may_have_its_own_limit() {
    let dir = tempfile::tempdir().unwrap();
    let app = limited(&dir, 1000, Some(1 << 20)).await;
    let by = Caller::for_test(&project(&app, "a").await, Role::Member);
    let image = made(&app, &by, &ImageSpec::named("x"), &[1; 4096]).await;
    assert!(image.stored_bytes > 0);
    let used = |quota: Quota| (quota.stored_bytes.used, quota.stored_bytes.limit, quota.bytes_set);
    let quota = app.catalog.quota(&by, &by.project_id).await.unwrap();
    assert_eq!(used(quota), (image.stored_bytes, Some(1 << 20), false));
    assert!(app.catalog.reserve(&wish("y", &by, 1 << 20)).await.is_err());
    let change = ProjectChange {
        max_stored_bytes: Some(1 << 30),
        max_images_per_user: Some(1),
        ..ProjectChange::default()
    };
    app.tenants.update_project(&admin(), "a", &change).await.unwrap();
    match app.catalog.reserve(&wish("y", &by, 1 << 20)).await {
        Err(CatalogError::Quota(refused)) => assert_eq!((refused.used, refused.limit), (1, 1)),
        other => panic!("{other:?}"),
    }
    let bytes_alone = QuotaReservation {
        images: 0,
        ..wish("y", &by, 1 << 20)
    };
    app.catalog.reserve(&bytes_alone).await.unwrap();
    // A disk that several images have is stored once.
    let data = ImageSpec {
        kind: Some(ImageKind::DataDisk),
        ..ImageSpec::named("data")
    };
    let data = made(&app, &by, &data, &[2; 4096]).await;
    let part = |image: &str, role: &str| Part {
        image: image.to_owned(),
        role: role.to_owned(),
    };
    let compose = ComposeRequest {
        spec: ImageSpec::named("machine"),
        disks: vec![part("x", "system"), part("data", "db")],
    };
    assert!(matches!(
        app.catalog.compose(&by, &compose, None).await,
        Err(CatalogError::Quota(_))
    ));
    let change = ProjectChange {
        max_images_per_user: Some(0),
        ..ProjectChange::default()
    };
    app.tenants.update_project(&admin(), "a", &change).await.unwrap();
    app.catalog.compose(&by, &compose, None).await.unwrap();
    let quota = app.catalog.quota(&by, &by.project_id).await.unwrap();
    assert_eq!(quota.users[0].images.used, 3);
    let stored = image.stored_bytes + data.stored_bytes;
    assert_eq!(used(quota), (stored, Some(1 << 30), true));
}

#[tokio::test]
async fn row_46_a_composed_image_counts_the_disks_that_its_project_had_not() {
    let dir = tempfile::tempdir().unwrap();
    let app = limited(&dir, 50, None).await;
    let team = project(&app, "a").await;
    let by = Caller::for_test(&team, Role::Member);
    let mut parts = Vec::new();
    for (name, role, content) in [("os", "system", [1; 4096]), ("data", "data", [2; 4096])] {
        let public = ImageSpec {
            visibility: Some(Visibility::Public),
            ..ImageSpec::named(name)
        };
        let image = made(&app, &admin(), &public, &content).await;
        parts.push((role, image));
    }
    let bytes: u64 = parts.iter().map(|(_, image)| image.stored_bytes).sum();
    let wanted = |name: &str| ComposeRequest {
        spec: ImageSpec::named(name),
        disks: parts
            .iter()
            .map(|(role, image)| Part {
                role: (*role).to_owned(),
                image: image.id.clone(),
            })
            .collect(),
    };
    let limit = async |bytes: u64| {
        sqlx::query("UPDATE projects SET max_stored_bytes = ? WHERE id = ?")
            .bind(i64::try_from(bytes).unwrap())
            .bind(&team)
            .execute(&app.db)
            .await
            .unwrap();
    };
    limit(bytes - 1).await;
    match app.catalog.compose(&by, &wanted("shop"), None).await {
        Err(CatalogError::Quota(exceeded)) => {
            assert_eq!((exceeded.used, exceeded.asked), (0, bytes));
        }
        other => panic!("{other:?}"),
    }
    let images: i64 = sqlx::query_scalar("SELECT count(*) FROM images WHERE project_id = ?")
        .bind(&team)
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert_eq!(images, 0);
    limit(bytes).await;
    app.catalog.compose(&by, &wanted("shop"), None).await.unwrap();
    // The same disks once more are no more bytes.
    app.catalog.compose(&by, &wanted("again"), None).await.unwrap();
}
