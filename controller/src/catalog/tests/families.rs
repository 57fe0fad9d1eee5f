//! Families and the image that they mean.

use super::*;
use crate::{
    app::App,
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{made, project},
};

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

fn version(family: &str, version: &str, visibility: Visibility) -> ImageSpec {
    ImageSpec {
        family: Some(family.into()),
        version: Some(version.into()),
        visibility: Some(visibility),
        ..ImageSpec::named(format!("{family}-{version}"))
    }
}

/// Images of one millisecond are in no order of their own.
async fn in_order(app: &App, by: &Caller, spec: &ImageSpec, content: u8) -> Image {
    let before = ulid::Ulid::generate().timestamp_ms();
    while ulid::Ulid::generate().timestamp_ms() == before {
        tokio::task::yield_now().await;
    }
    made(app, by, spec, &[content; 4096]).await
}

#[tokio::test]
async fn row_15_a_family_means_its_newest_active_image() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut ids = Vec::new();
    for (name, content) in [("12.1", 1), ("12.2", 2), ("12.3", 3)] {
        let spec = version("debian", name, Visibility::Public);
        ids.push(in_order(&app, &admin(), &spec, content).await.id);
    }
    let newest = async || {
        app.catalog
            .newest_of(&Viewer::All, "debian")
            .await
            .map(|image| image.id)
    };
    assert_eq!(newest().await.unwrap(), ids[2]);
    let exclude = ImageChange {
        exclude_from_latest: Some(true),
        ..ImageChange::default()
    };
    app.catalog.update(&admin(), &ids[2], &exclude).await.unwrap();
    assert_eq!(newest().await.unwrap(), ids[1]);
    for id in &ids[..2] {
        let wish = TransitionRequest {
            to: ImageState::Deprecated,
            at: None,
            replacement: None,
            reason: None,
        };
        app.catalog.transition(&admin(), id, &wish).await.unwrap();
    }
    match newest().await {
        Err(CatalogError::FamilyWithoutActive { newest, .. }) => assert_eq!(newest, "debian-12.3"),
        other => panic!("{other:?}"),
    }
    match app.catalog.newest_of(&Viewer::All, "debain").await {
        Err(CatalogError::FamilyNotFound { near, .. }) => assert_eq!(near, ["debian"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_strangers_image_is_not_taken_for_a_family_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let [a, b, c] = [
        project(&app, "a").await,
        project(&app, "b").await,
        project(&app, "c").await,
    ];
    let member = |id: &str| Caller::for_test(id, Role::Member);
    let open = async |id: &str, visibility: &str| {
        sqlx::query("UPDATE images SET visibility = ? WHERE id = ?")
            .bind(visibility)
            .bind(id)
            .execute(&app.db)
            .await
            .unwrap();
    };
    let theirs = made(
        &app,
        &member(&b),
        &version("debian", "1", Visibility::Private),
        &[1; 4096],
    )
    .await;
    let viewer = Viewer::Project(a.clone());
    let newest = async || {
        app.catalog
            .newest_of(&viewer, "debian")
            .await
            .map(|image| image.id)
    };
    assert!(matches!(newest().await, Err(CatalogError::FamilyNotFound { .. })));
    open(&theirs.id, "community").await;
    assert!(
        matches!(newest().await, Err(CatalogError::FamilyWithoutActive { .. })),
        "nobody vouches for it"
    );
    open(&theirs.id, "marketplace").await;
    assert_eq!(newest().await.unwrap(), theirs.id);
    let other = made(
        &app,
        &member(&c),
        &version("debian", "1", Visibility::Private),
        &[2; 4096],
    )
    .await;
    open(&other.id, "marketplace").await;
    assert!(
        matches!(newest().await, Err(CatalogError::FamilyAmbiguous { projects, .. }) if projects.len() == 2)
    );
    let public = made(
        &app,
        &admin(),
        &version("debian", "2", Visibility::Public),
        &[3; 4096],
    )
    .await;
    assert_eq!(newest().await.unwrap(), public.id);
    let own = made(
        &app,
        &member(&a),
        &version("debian", "3", Visibility::Private),
        &[4; 4096],
    )
    .await;
    assert_eq!(newest().await.unwrap(), own.id);
}

#[tokio::test]
async fn families_are_listed_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    for (family, name, content) in [("b", "1", 1), ("b", "2", 2), ("a", "1", 3), ("c", "1", 4)] {
        let spec = version(family, name, Visibility::Private);
        in_order(&app, &admin(), &spec, content).await;
    }
    made(&app, &admin(), &ImageSpec::named("alone"), &[5; 4096]).await;
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let page = app
            .catalog
            .families(&Viewer::All, 2, token.as_deref())
            .await
            .unwrap();
        let family = |f: Family| (f.family, f.images, f.newest_name.unwrap());
        seen.extend(page.items.into_iter().map(family));
        match page.next_page_token {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    let expected = [("a", 1, "a-1"), ("b", 2, "b-2"), ("c", 1, "c-1")];
    let expected = expected.map(|(family, images, newest)| (family.to_owned(), images, newest.to_owned()));
    assert_eq!(seen, expected);
    let stranger = Viewer::Project("nobody".into());
    assert!(
        app.catalog
            .families(&stranger, 0, None)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}
