//! Images that everybody sees, and those that cost something.

use imprint_image::{
    Manifest,
    facts::{Bios, CloudInit, Fact, Facts, Finding, Initramfs, Kernel, Severity},
};

use super::{changes::facts, *};
use crate::{
    api::rest::problem::Problem,
    app::App,
    events::EventQuery,
    identity::{Caller, Role, Viewer},
    store::StoreObject,
    testing::{admin, made_with, manifest_of, project},
};

/// What a good image for bare metal has.
fn good_facts() -> Facts {
    let mut facts = facts();
    facts.cloud_init = Fact::Known(Some(CloudInit {
        version: Fact::Known("24.1".to_owned()),
        disabled_by: Vec::new(),
    }));
    facts.guest_plugin = Fact::Known(true);
    facts.firmware.bios = Fact::Known(Bios {
        boot_code: true,
        grub: true,
        boot_partition: None,
        boot_partition_filled: false,
    });
    facts.kernels = Fact::Known(vec![Kernel {
        version: "6.1.0".to_owned(),
        image: Some("/boot/vmlinuz-6.1.0".to_owned()),
        modules: Fact::Known(true),
        builtin: Fact::Known(Vec::new()),
        initramfs: Fact::Known(Some(Initramfs {
            modules: vec!["virtio_blk".to_owned()],
            ..Initramfs::default()
        })),
    }]);
    facts
}

fn finding(code: &str, severity: Severity) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        what: String::new(),
        remedy: String::new(),
    }
}

async fn image(
    app: &App,
    by: &Caller,
    name: &str,
    content: u8,
    findings: Option<&Findings>,
    stored: bool,
) -> Image {
    let manifest = manifest_of(&[content; 4096]);
    if stored {
        store(app, &manifest).await;
    }
    made_with(app, by, &ImageSpec::named(name), &manifest, findings)
        .await
        .unwrap()
}

async fn store(app: &App, manifest: &Manifest) {
    let signed = app.authority.sign_manifest(manifest);
    let object = StoreObject::Manifest(signed.manifest_digest());
    app.store.put(&object, signed.encode().into()).await.unwrap();
}

async fn publish(app: &App, by: &Caller, name: &str, wanted: &PublishRequest) -> Result<Image, TermsError> {
    let keys = app.authority.manifest_public_keys();
    let proofs = Proofs {
        store: &app.store,
        keys: &keys,
    };
    app.catalog.publish(by, name, wanted, proofs).await
}

fn to(visibility: Visibility) -> PublishRequest {
    PublishRequest {
        to: visibility,
        publisher: None,
        certified_for: None,
        price: None,
        free: false,
        license: None,
    }
}

fn reasons(refused: Result<Image, TermsError>) -> Vec<String> {
    match refused {
        Err(TermsError::NotFit {
            reasons, remedies, ..
        }) => {
            assert_eq!(reasons.len(), remedies.len());
            assert!(remedies.iter().all(|remedy| !remedy.is_empty()));
            reasons
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_13_78_94_a_public_image_lacks_nothing_and_hears_of_everything_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let lint = [
        finding("no_gpt", Severity::Error),
        finding("unsigned", Severity::Warning),
    ];
    let mut bare = good_facts();
    bare.cloud_init = Fact::Known(None);
    bare.guest_plugin = Fact::Known(false);
    bare.kernels = Fact::Unknown("the root cannot be read".to_owned());
    let findings = Findings::new(&bare, &lint).unwrap();
    image(&app, &admin(), "bare", 1, Some(&findings), false).await;
    let said = reasons(publish(&app, &admin(), "bare", &to(Visibility::Public)).await);
    for (n, part) in [
        "does not prove itself",
        "has errors: no_gpt",
        "certified for no model",
        "`cloud-init` is missing: it is not installed",
        "`password reset` is missing",
        "`network configuration` is missing",
        "`volume driver` is missing: it could not be looked for",
    ]
    .iter()
    .enumerate()
    {
        assert!(said[n].contains(part), "{said:#?}");
    }
    assert_eq!(said.len(), 7, "{said:#?}");
    image(&app, &admin(), "unseen", 2, None, true).await;
    let said = reasons(publish(&app, &admin(), "unseen", &to(Visibility::Public)).await);
    assert!(said[0].contains("was not looked at"), "{said:#?}");

    let findings = Findings::new(&good_facts(), &lint[1..]).unwrap();
    image(&app, &admin(), "good", 3, Some(&findings), true).await;
    let wanted = PublishRequest {
        certified_for: Some(vec!["PowerEdge R650".to_owned()]),
        ..to(Visibility::Public)
    };
    let public = publish(&app, &admin(), "good", &wanted).await.unwrap();
    assert_eq!(
        (public.visibility, public.certified_for.as_slice()),
        (Visibility::Public, ["PowerEdge R650".to_owned()].as_slice())
    );
    let events = app
        .events
        .list(&EventQuery {
            page_size: 1000,
            ..EventQuery::default()
        })
        .await
        .unwrap();
    let told = events
        .items
        .iter()
        .find(|event| event.kind == "image.published")
        .unwrap();
    assert!(told.actor.is_some() && told.project_id.as_deref() == Some(&public.project_id));
}

#[tokio::test]
async fn row_10_only_administrators_make_images_public() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let by = Caller::for_test(&project(&app, "a").await, Role::Member);
    let findings = Findings::new(&good_facts(), &[]).unwrap();
    image(&app, &by, "x", 1, Some(&findings), true).await;
    let refused = publish(&app, &by, "x", &to(Visibility::Public))
        .await
        .unwrap_err();
    assert_eq!(Problem::from(refused).status.as_u16(), 403);
    // What a project owns is not the platform's.
    let said = reasons(publish(&app, &admin(), "x", &to(Visibility::Public)).await);
    assert!(said[0].contains("public images are the platform's"), "{said:#?}");

    let stranger = Viewer::Project(project(&app, "b").await);
    assert!(app.catalog.find(&stranger, "x").await.is_err());
    publish(&app, &by, "x", &to(Visibility::Community)).await.unwrap();
    assert!(app.catalog.find(&stranger, "x").await.is_ok());
    let said = reasons(publish(&app, &by, "x", &to(Visibility::Marketplace)).await);
    assert!(said[0].contains("published as community already"), "{said:#?}");
    let private = app.catalog.unpublish(&by, "x").await.unwrap();
    assert_eq!(private.visibility, Visibility::Private);
    assert!(app.catalog.find(&stranger, "x").await.is_err());
    assert!(matches!(
        app.catalog.unpublish(&by, "x").await,
        Err(TermsError::NotPublished { .. })
    ));
}

#[tokio::test]
async fn rows_49_77_83_the_marketplace_needs_terms_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    let by = Caller::for_test(&a, Role::Member);
    let findings = Findings::new(&good_facts(), &[]).unwrap();
    image(&app, &by, "shop", 1, Some(&findings), true).await;
    app.catalog
        .invite(&by, "shop", std::slice::from_ref(&b))
        .await
        .unwrap();
    let said = reasons(publish(&app, &by, "shop", &to(Visibility::Marketplace)).await);
    for part in ["is shared", "as its publisher", "no licence", "no price"] {
        assert!(
            said.iter().any(|reason| reason.contains(part)),
            "{part}: {said:#?}"
        );
    }
    app.catalog.remove_member(&by, "shop", &b).await.unwrap();
    let mut wanted = PublishRequest {
        publisher: Some("Shops Ltd".to_owned()),
        license: Some(License {
            name: "EULA".to_owned(),
            included: true,
            required: false,
            reference: String::new(),
        }),
        free: true,
        ..to(Visibility::Marketplace)
    };
    let sold = publish(&app, &by, "shop", &wanted).await.unwrap();
    assert_eq!(
        (sold.publisher.as_str(), sold.price.unwrap().is_free()),
        ("Shops Ltd", true)
    );
    // The terms change, the image stays where it is.
    wanted.free = false;
    wanted.price = Some(Price {
        amount: "0.05".to_owned(),
        currency: "EUR".to_owned(),
        per: PricePer::Hour,
    });
    let sold = publish(&app, &by, "shop", &wanted).await.unwrap();
    assert_eq!(sold.price.unwrap().text(), "0.05 EUR per hour");
    assert!(matches!(
        app.catalog.delete(&by, "shop").await,
        Err(CatalogError::Published { .. })
    ));
    assert!(matches!(
        app.catalog.invite(&by, "shop", std::slice::from_ref(&b)).await,
        Err(TermsError::Published { .. })
    ));
    app.catalog.unpublish(&by, "shop").await.unwrap();
    app.catalog.delete(&by, "shop").await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_somebody_else_signed_is_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let by = Caller::for_test(&project(&app, "a").await, Role::Member);
    let image = image(&app, &by, "x", 1, None, false).await;
    let signed = imprint_image::SignedManifest::sign(
        &manifest_of(&[1; 4096]),
        &imprint_image::SigningKey::generate().unwrap(),
    );
    let object = StoreObject::from_key(&format!("manifests/{}", image.disks[0].manifest)).unwrap();
    app.store.put(&object, signed.encode().into()).await.unwrap();
    let said = reasons(publish(&app, &by, "x", &to(Visibility::Community)).await);
    assert!(
        said.len() == 1 && said[0].contains("does not prove itself"),
        "{said:#?}"
    );
}
