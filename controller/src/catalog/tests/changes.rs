//! What is said of an image, and its end.

use std::collections::BTreeMap;

use imprint_image::facts::{Fact, Facts, FileDisk};

use super::*;
use crate::{
    app::App,
    events::EventQuery,
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{made, made_with, manifest_of, project},
};

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

/// Facts of an empty disk, on which a test puts what it needs.
pub(super) fn facts() -> Facts {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    imprint_image::facts::read(&FileDisk::new(file).unwrap(), None).unwrap()
}

#[tokio::test]
async fn row_65_what_is_said_of_an_image_changes_and_is_audited() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let before = made(&app, &admin(), &ImageSpec::named("x"), &[1; 4096]).await;
    made(&app, &admin(), &ImageSpec::named("taken"), &[2; 4096]).await;
    let change = ImageChange {
        name: Some("y".into()),
        description: Some("for the web".into()),
        family: Some(Some("web".into())),
        min_memory_bytes: Some(1 << 30),
        min_disk_bytes: Some(10 << 30),
        boot_modes: Some(vec![BootMode::Uefi]),
        tags: Some(vec!["b".into(), "a".into(), "b".into()]),
        properties: Some(BTreeMap::from([("team".to_owned(), "web".to_owned())])),
        license: Some(Some(License {
            name: "GPL-2.0".into(),
            included: true,
            required: false,
            reference: String::new(),
        })),
        price: Some(Some(Price {
            amount: "0.05".into(),
            currency: "EUR".into(),
            per: PricePer::Hour,
        })),
        ..ImageChange::default()
    };
    let after = app.catalog.update(&admin(), "x", &change).await.unwrap();
    assert_eq!(
        (
            after.name.as_str(),
            after.description.as_str(),
            after.family.as_deref()
        ),
        ("y", "for the web", Some("web"))
    );
    assert_eq!(
        (
            after.min_memory_bytes,
            after.min_disk_bytes,
            after.tags.as_slice()
        ),
        (1 << 30, 10 << 30, ["a".to_owned(), "b".to_owned()].as_slice())
    );
    assert_eq!(
        (after.license.unwrap().name, after.price.unwrap().amount),
        ("GPL-2.0".into(), "0.05".into())
    );
    assert_eq!(
        (&after.disks, &after.image_digest),
        (&before.disks, &before.image_digest)
    );
    let query = EventQuery {
        page_size: 1000,
        ..EventQuery::default()
    };
    let told = app.events.list(&query).await.unwrap().items;
    let told = told.iter().find(|event| event.kind == "image.updated").unwrap();
    assert_eq!(told.details["changed"]["name"], serde_json::json!(["x", "y"]));
    assert_eq!(told.details["by"], admin().name);
    assert!(told.details["changed"].get("protected").is_none());

    // Null takes away, what is left out stays.
    let change: ImageChange = serde_json::from_str(r#"{"family": null, "price": null}"#).unwrap();
    let after = app.catalog.update(&admin(), "y", &change).await.unwrap();
    assert_eq!(
        (after.family, after.price, after.name.as_str()),
        (None, None, "y")
    );

    let taken = ImageChange {
        name: Some("taken".into()),
        ..ImageChange::default()
    };
    assert!(matches!(
        app.catalog.update(&admin(), "y", &taken).await,
        Err(CatalogError::NameTaken { .. })
    ));
    let stale = ImageChange {
        description: Some(String::new()),
        row_version: Some(before.row_version),
        ..ImageChange::default()
    };
    assert!(matches!(
        app.catalog.update(&admin(), "y", &stale).await,
        Err(CatalogError::Changed { .. })
    ));
}

#[tokio::test]
async fn row_65_boot_modes_are_checked_against_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut facts = facts();
    facts.firmware.uefi = Fact::Known(None);
    facts.firmware.bios = Fact::Known(imprint_image::facts::Bios {
        boot_code: true,
        grub: true,
        boot_partition: None,
        boot_partition_filled: false,
    });
    facts.architecture = Fact::Known("x86_64".to_owned());
    let findings = Findings::new(&facts, &[]).unwrap();
    let manifest = manifest_of(&[1; 4096]);
    let spec = ImageSpec {
        architecture: Some("aarch64".into()),
        ..ImageSpec::named("x")
    };
    match made_with(&app, &admin(), &spec, &manifest, Some(&findings)).await {
        Err(CatalogError::Contradiction {
            field,
            declared,
            detected,
        }) => {
            assert_eq!(
                (field, declared.as_str(), detected.as_str()),
                ("architecture", "aarch64", "x86_64")
            );
        }
        other => panic!("{other:?}"),
    }
    let image = made_with(&app, &admin(), &ImageSpec::named("y"), &manifest, Some(&findings))
        .await
        .unwrap();
    assert_eq!(
        (image.boot_modes.as_slice(), image.architecture.as_str()),
        ([BootMode::Bios].as_slice(), "x86_64")
    );

    let wish = |modes: &[BootMode]| ImageChange {
        boot_modes: Some(modes.to_vec()),
        ..ImageChange::default()
    };
    match app.catalog.update(&admin(), "y", &wish(&[BootMode::Uefi])).await {
        Err(CatalogError::Contradiction {
            declared, detected, ..
        }) => {
            assert_eq!((declared.as_str(), detected.as_str()), ("uefi", "bios"));
        }
        other => panic!("{other:?}"),
    }
    app.catalog.update(&admin(), "y", &wish(&[])).await.unwrap();
    app.catalog
        .update(&admin(), "y", &wish(&[BootMode::Bios]))
        .await
        .unwrap();
}

#[tokio::test]
async fn row_41_and_66_members_make_and_delete_images_without_an_administrator() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let member = Caller::for_test(&project(&app, "a").await, Role::Member);
    let spec = ImageSpec {
        protected: Some(true),
        ..ImageSpec::named("x")
    };
    let image = made(&app, &member, &spec, &[1; 4096]).await;
    assert!(matches!(
        app.catalog.delete(&member, "x").await,
        Err(CatalogError::Protected { .. })
    ));
    let unprotect = ImageChange {
        protected: Some(false),
        ..ImageChange::default()
    };
    app.catalog.update(&member, "x", &unprotect).await.unwrap();
    assert_eq!(app.catalog.delete(&member, "x").await.unwrap().id, image.id);
    assert!(app.catalog.find(&Viewer::All, &image.id).await.is_err());
    let all = app
        .catalog
        .list(&Viewer::All, &ImageQuery::default())
        .await
        .unwrap();
    assert!(all.items.is_empty());
    // The name is free again, the row stays for the records.
    made(&app, &member, &ImageSpec::named("x"), &[2; 4096]).await;
    let kept: String = sqlx::query_scalar("SELECT state FROM images WHERE id = ?")
        .bind(&image.id)
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert_eq!(kept, "deleted");
}

#[tokio::test]
async fn row_83_a_published_image_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    made(&app, &admin(), &ImageSpec::named("x"), &[1; 4096]).await;
    sqlx::query("UPDATE images SET visibility = 'marketplace'")
        .execute(&app.db)
        .await
        .unwrap();
    assert!(matches!(
        app.catalog.delete(&admin(), "x").await,
        Err(CatalogError::Published { .. })
    ));
    sqlx::query("UPDATE images SET visibility = 'private'")
        .execute(&app.db)
        .await
        .unwrap();
    app.catalog.delete(&admin(), "x").await.unwrap();
}

#[tokio::test]
async fn row_22_an_image_knows_what_it_was_made_from() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let public = ImageSpec {
        visibility: Some(Visibility::Public),
        ..ImageSpec::named("debian-12")
    };
    let parent = made(&app, &admin(), &public, &[1; 4096]).await;
    let member = Caller::for_test(&project(&app, "a").await, Role::Member);
    let spec = ImageSpec {
        parent: Some("debian-12".into()),
        ..ImageSpec::named("web")
    };
    let child = made(&app, &member, &spec, &[2; 4096]).await;
    assert_eq!(child.parent_id, Some(parent.id));
    let spec = ImageSpec {
        parent: Some("nothing".into()),
        ..ImageSpec::named("other")
    };
    assert!(matches!(
        made_with(&app, &member, &spec, &manifest_of(&[3; 4096]), None).await,
        Err(CatalogError::NotFound { .. })
    ));
}

#[tokio::test]
async fn row_10_only_administrators_make_public_images() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let a = project(&app, "a").await;
    let public = ImageSpec {
        visibility: Some(Visibility::Public),
        ..ImageSpec::named("debian-12")
    };
    let member = Caller::for_test(&a, Role::Member);
    assert!(matches!(
        made_with(&app, &member, &public, &manifest_of(&[1; 4096]), None).await,
        Err(CatalogError::BadField {
            field: "visibility",
            ..
        })
    ));
    let image = made(&app, &admin(), &public, &[1; 4096]).await;
    assert_eq!(image.project_id, PLATFORM);
    let seen = app.catalog.find(&Viewer::Project(a), "debian-12").await.unwrap();
    assert_eq!(seen, image);
}
