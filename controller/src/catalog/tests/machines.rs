//! Kinds of images: data disks, ISO images, full machines.

use jiff::SignedDuration;

use super::*;
use crate::{
    app::App,
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{made, project},
};

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

fn of_kind(name: &str, kind: ImageKind) -> ImageSpec {
    ImageSpec {
        kind: Some(kind),
        ..ImageSpec::named(name)
    }
}

fn machine(name: &str, disks: &[(&str, &str)]) -> ComposeRequest {
    let part = |(role, image): &(&str, &str)| Part {
        role: (*role).to_owned(),
        image: (*image).to_owned(),
    };
    ComposeRequest {
        spec: ImageSpec::named(name),
        disks: disks.iter().map(part).collect(),
    }
}

#[tokio::test]
async fn row_31_a_full_machine_is_composed_of_disks_with_roles() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let system = ImageSpec {
        os_distribution: Some("debian".into()),
        boot_modes: vec![BootMode::Uefi],
        min_memory_bytes: Some(1 << 30),
        ..ImageSpec::named("os")
    };
    let os = made(&app, &admin(), &system, &[1; 8192]).await;
    let data = made(&app, &admin(), &of_kind("data", ImageKind::DataDisk), &[2; 4096]).await;
    let wanted = machine("shop", &[("db", "data"), ("system", &os.id)]);
    let shop = app.catalog.compose(&admin(), &wanted, Some("k")).await.unwrap();
    assert_eq!(
        (shop.kind, shop.state, shop.source),
        (ImageKind::FullMachine, ImageState::Active, Source::Compose)
    );
    let roles: Vec<_> = shop
        .disks
        .iter()
        .map(|disk| (disk.role.as_str(), &disk.manifest))
        .collect();
    assert_eq!(
        roles,
        [("system", &os.disks[0].manifest), ("db", &data.disks[0].manifest)]
    );
    assert_eq!(
        (shop.disk_size_bytes, shop.image_digest, shop.parent_id),
        (8192 + 4096, os.image_digest.clone(), Some(os.id.clone()))
    );
    assert_eq!(
        (
            shop.os_distribution.as_str(),
            shop.boot_modes.as_slice(),
            shop.min_memory_bytes
        ),
        ("debian", [BootMode::Uefi].as_slice(), 1 << 30)
    );
    // The same request again makes no second image; another one under its key is refused.
    assert_eq!(
        app.catalog
            .compose(&admin(), &wanted, Some("k"))
            .await
            .unwrap()
            .id,
        shop.id
    );
    let other = machine("other", &[("system", "os"), ("db", "data")]);
    assert!(matches!(
        app.catalog.compose(&admin(), &other, Some("k")).await,
        Err(CatalogError::KeyReused { .. })
    ));
    // It keeps its content when the images that it was made of go.
    app.catalog.delete(&admin(), "data").await.unwrap();
    assert_eq!(
        app.catalog.find(&Viewer::All, "shop").await.unwrap().disks,
        shop.disks
    );
}

#[tokio::test]
async fn what_makes_no_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    made(&app, &admin(), &ImageSpec::named("os"), &[1; 4096]).await;
    made(&app, &admin(), &of_kind("data", ImageKind::DataDisk), &[2; 4096]).await;
    made(&app, &admin(), &of_kind("installer", ImageKind::Iso), &[3; 4096]).await;
    let far = ImageSpec {
        region: Some("far".into()),
        ..of_kind("far", ImageKind::DataDisk)
    };
    made(&app, &admin(), &far, &[4; 4096]).await;
    let private = Caller::for_test(&project(&app, "a").await, Role::Member);
    made(&app, &private, &ImageSpec::named("secret"), &[5; 4096]).await;
    for (disks, field) in [
        (&[("system", "os")][..], "disks"),
        (&[("a", "os"), ("b", "data")], "disks"),
        (&[("system", "os"), ("system", "data")], "disks"),
        (&[("system", "os"), ("a b", "data")], "disks"),
    ] {
        match app.catalog.compose(&admin(), &machine("m", disks), None).await {
            Err(CatalogError::BadField { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{disks:?}: {other:?}"),
        }
    }
    for disks in [
        [("system", "os"), ("d", "installer")],
        [("system", "os"), ("d", "far")],
    ] {
        let refused = app.catalog.compose(&admin(), &machine("m", &disks), None).await;
        assert!(
            matches!(refused, Err(CatalogError::Compose { .. })),
            "{refused:?}"
        );
    }
    sqlx::query("UPDATE images SET visibility = 'marketplace' WHERE name = 'secret'")
        .execute(&app.db)
        .await
        .unwrap();
    let paid = machine("m", &[("system", "os"), ("d", "secret")]);
    let refused = app.catalog.compose(&admin(), &paid, None).await;
    assert!(
        matches!(refused, Err(CatalogError::Compose { .. })),
        "{refused:?}"
    );
    sqlx::query("UPDATE images SET visibility = 'private' WHERE name = 'secret'")
        .execute(&app.db)
        .await
        .unwrap();
    let stranger = Caller::for_test(&project(&app, "b").await, Role::Member);
    let theirs = machine("m", &[("system", "secret"), ("d", "secret")]);
    assert!(matches!(
        app.catalog.compose(&stranger, &theirs, None).await,
        Err(CatalogError::NotFound { .. })
    ));
}

#[tokio::test]
async fn row_30_an_iso_image_deletes_itself() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let iso = made(&app, &admin(), &of_kind("installer", ImageKind::Iso), &[1; 4096]).await;
    let week = app.clock.now() + SignedDuration::from_hours(7 * 24);
    assert_eq!(iso.expires_at, Some(week));
    let forever: ImageChange = serde_json::from_str(r#"{"expires_at": null}"#).unwrap();
    assert!(matches!(
        app.catalog.update(&admin(), "installer", &forever).await,
        Err(CatalogError::BadField {
            field: "expires_at",
            ..
        })
    ));
    assert!(
        app.catalog
            .cancel_transitions(&admin(), "installer", None)
            .await
            .is_err()
    );
    let later = week + SignedDuration::from_hours(24);
    let change = ImageChange {
        expires_at: Some(Some(later)),
        ..ImageChange::default()
    };
    app.catalog.update(&admin(), "installer", &change).await.unwrap();
    app.clock.advance(SignedDuration::from_hours(7 * 24));
    app.catalog.perform_due().await.unwrap();
    app.catalog.find(&Viewer::All, "installer").await.unwrap();
    app.clock.advance(SignedDuration::from_hours(24));
    app.catalog.perform_due().await.unwrap();
    assert!(app.catalog.find(&Viewer::All, "installer").await.is_err());
}
