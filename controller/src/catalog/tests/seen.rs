//! Who sees which image, and under which name.

use super::*;
use crate::{
    app::App,
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{made, project},
};

fn viewer(project: &str) -> Viewer {
    Viewer::Project(project.to_owned())
}

async fn set(app: &App, id: &str, visibility: Visibility) {
    sqlx::query("UPDATE images SET visibility = ? WHERE id = ?")
        .bind(visibility.as_str())
        .bind(id)
        .execute(&app.db)
        .await
        .unwrap();
}

async fn share(app: &App, id: &str, project: &str, state: &str) {
    sqlx::query("INSERT OR REPLACE INTO image_members VALUES (?, ?, ?, 0, 0)")
        .bind(id)
        .bind(project)
        .bind(state)
        .execute(&app.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn images_are_found_by_id_and_name_and_listed_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let by = Caller::for_test(PLATFORM, Role::Admin);
    let catalog = &app.catalog;
    let mut ids = Vec::new();
    for n in 0..5_u8 {
        // ULIDs of one millisecond are in no order of their own; the list is in the order of ids.
        let spec = ImageSpec::named(format!("debian-{n}"));
        ids.push(made(&app, &by, &spec, &[n + 1; 4096]).await.id);
    }
    ids.sort();
    let all = Viewer::All;
    let image = catalog.find(&all, "debian-3").await.unwrap();
    assert_eq!(catalog.find(&all, &image.id).await.unwrap(), image);
    assert_eq!(catalog.find(&all, &image.id.to_lowercase()).await.unwrap(), image);
    assert_eq!(
        (image.disk_size_bytes, image.source_format.as_str(), image.state),
        (4096, "raw", ImageState::Active)
    );

    let (mut seen, mut page_token) = (Vec::new(), None);
    loop {
        let query = ImageQuery {
            page_size: 2,
            page_token: page_token.take(),
            ..ImageQuery::default()
        };
        let page = catalog.list(&all, &query).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|i| i.id));
        match page.next_page_token {
            Some(next) => page_token = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let query = ImageQuery {
        page_token: Some("x' OR 1".into()),
        ..ImageQuery::default()
    };
    assert!(matches!(
        catalog.list(&all, &query).await,
        Err(CatalogError::BadPageToken)
    ));
    match catalog.find(&all, "debian_3").await {
        Err(CatalogError::NotFound { near, .. }) => {
            assert!(near.contains(&"debian-3".to_owned()), "{near:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn row_24_private_images_are_not_found_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    let image = made(
        &app,
        &Caller::for_test(&a, Role::Member),
        &ImageSpec::named("secret"),
        &[1; 4096],
    )
    .await;
    assert_eq!(image.visibility, Visibility::Private);
    for name in [image.id.as_str(), "secret"] {
        assert_eq!(app.catalog.find(&viewer(&a), name).await.unwrap().id, image.id);
        assert_eq!(app.catalog.find(&Viewer::All, name).await.unwrap().id, image.id);
        match app.catalog.find(&viewer(&b), name).await {
            Err(CatalogError::NotFound { near, any, .. }) => {
                assert!(near.is_empty() && !any, "not even a hint tells of it");
            }
            other => panic!("{other:?}"),
        }
    }
    let query = ImageQuery::default();
    assert!(
        app.catalog
            .list(&viewer(&b), &query)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn row_48_a_shared_image_is_seen_by_those_who_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    let by = Caller::for_test(&a, Role::Member);
    let id = made(&app, &by, &ImageSpec::named("x"), &[1; 4096]).await.id;
    let sees = async |project: &str| app.catalog.find(&viewer(project), &id).await.is_ok();
    for (visibility, state, seen) in [
        (Visibility::Private, "accepted", false),
        (Visibility::Shared, "pending", false),
        (Visibility::Shared, "rejected", false),
        (Visibility::Shared, "accepted", true),
        (Visibility::Public, "pending", true),
        (Visibility::Community, "pending", true),
        (Visibility::Marketplace, "pending", true),
    ] {
        set(&app, &id, visibility).await;
        share(&app, &id, &b, state).await;
        assert_eq!(sees(&b).await, seen, "{visibility} {state}");
        assert!(sees(&a).await);
    }
}

#[tokio::test]
async fn a_name_means_the_own_image_first_and_else_the_only_one() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut made_by = Vec::new();
    for name in ["a", "b", "c"] {
        let id = project(&app, name).await;
        let by = Caller::for_test(&id, Role::Member);
        let image = made(&app, &by, &ImageSpec::named("debian"), &[1; 4096]).await;
        made_by.push((id, image.id));
    }
    set(&app, &made_by[1].1, Visibility::Public).await;
    let find = async |project: &str| app.catalog.find(&viewer(project), "debian").await;
    assert_eq!(find(&made_by[0].0).await.unwrap().id, made_by[0].1);
    let stranger = project(&app, "d").await;
    assert_eq!(find(&stranger).await.unwrap().id, made_by[1].1);
    set(&app, &made_by[2].1, Visibility::Community).await;
    match find(&stranger).await {
        Err(CatalogError::Ambiguous { ids, .. }) => {
            let mut expected = vec![made_by[1].1.clone(), made_by[2].1.clone()];
            expected.sort();
            assert_eq!(ids, expected);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(find(&made_by[0].0).await.unwrap().id, made_by[0].1);
}

#[tokio::test]
async fn the_row_of_an_import_is_there_at_once_and_its_name_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    let (spec, by) = (ImageSpec::named("x"), Caller::for_test(&a, Role::Member));
    let new = NewImage {
        spec: &spec,
        by: &by,
        source: Source::Upload,
        source_reference: "",
        idempotency_key: Some("key"),
    };
    let begun = app.catalog.begin_image(&new, ImageState::Queued).await.unwrap();
    assert_eq!(
        (begun.state, begun.image_digest.as_str()),
        (ImageState::Queued, "")
    );
    set(&app, &begun.id, Visibility::Public).await;
    assert!(
        app.catalog.find(&viewer(&b), &begun.id).await.is_err(),
        "nothing to use yet for others"
    );
    assert!(matches!(
        app.catalog.begin_image(&new, ImageState::Queued).await,
        Err(CatalogError::Importing { .. })
    ));
    // Another project has names of its own.
    made(&app, &Caller::for_test(&b, Role::Member), &spec, &[1; 4096]).await;
    app.catalog.start_image(&begun.id).await.unwrap();
    let gone = app.catalog.abandon_unfinished().await.unwrap();
    assert_eq!(
        gone,
        [Abandoned {
            id: begun.id,
            name: "x".into(),
            project_id: a
        }]
    );
    app.catalog.begin_image(&new, ImageState::Queued).await.unwrap();
}
