//! Lists: filters, search, pages.

use imprint_image::facts::{Distribution, Fact, Package, Packages};

use super::*;
use crate::{
    app::App,
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{made, made_with, manifest_of, project},
};

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

async fn names(app: &App, viewer: &Viewer, query: ImageQuery) -> Vec<String> {
    let page = app.catalog.list(viewer, &query).await.unwrap();
    let mut names: Vec<String> = page.items.into_iter().map(|image| image.name).collect();
    names.sort();
    names
}

/// Findings of a Debian with one package.
fn findings(version: &str, package: &str, package_version: &str) -> Findings {
    let mut facts = super::changes::facts();
    facts.firmware.uefi = Fact::Unknown("not looked at".into());
    facts.distribution = Fact::Known(Distribution {
        id: "debian".into(),
        id_like: Vec::new(),
        version_id: Some(version.into()),
        pretty_name: None,
    });
    facts.packages = Fact::Known(Packages {
        manager: "dpkg".into(),
        packages: vec![Package {
            name: package.into(),
            version: package_version.into(),
            architecture: "amd64".into(),
        }],
    });
    Findings::new(&facts, &[]).unwrap()
}

#[tokio::test]
async fn row_11_15_76_80_lists_are_narrowed_by_what_is_known_of_images() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let web = ImageSpec {
        family: Some("debian".into()),
        tags: vec!["website".into(), "production".into()],
        description: Some("The shop of 100% of our sales".into()),
        boot_modes: vec![BootMode::Uefi, BootMode::Bios],
        ..ImageSpec::named("web")
    };
    let found = findings("12", "nginx", "1.22.1-9");
    let first = made_with(&app, &admin(), &web, &manifest_of(&[1; 4096]), Some(&found))
        .await
        .unwrap();
    assert_eq!(
        (first.os_distribution.as_str(), first.os_version.as_str()),
        ("debian", "12")
    );
    let data = ImageSpec {
        kind: Some(ImageKind::DataDisk),
        visibility: Some(Visibility::Public),
        region: Some("north".into()),
        architecture: Some("aarch64".into()),
        tags: vec!["production".into()],
        ..ImageSpec::named("data")
    };
    made(&app, &admin(), &data, &[2; 4096]).await;
    let found = findings("13", "nginx", "1.26.3-3");
    let manifest = manifest_of(&[3; 4096]);
    let plain = made_with(
        &app,
        &admin(),
        &ImageSpec::named("plain"),
        &manifest,
        Some(&found),
    )
    .await
    .unwrap();
    sqlx::query("UPDATE images SET state = 'obsolete', certified_for = '[\"R650\"]' WHERE id = ?")
        .bind(&plain.id)
        .execute(&app.db)
        .await
        .unwrap();

    let all = || ImageQuery::default();
    let text = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (all(), &["data", "plain", "web"][..]),
        (
            ImageQuery {
                family: text("debian"),
                ..all()
            },
            &["web"],
        ),
        (
            ImageQuery {
                family: text("deb"),
                ..all()
            },
            &[],
        ),
        (
            ImageQuery {
                kind: Some(ImageKind::DataDisk),
                ..all()
            },
            &["data"],
        ),
        (
            ImageQuery {
                visibility: Some(Visibility::Private),
                ..all()
            },
            &["plain", "web"],
        ),
        (
            ImageQuery {
                state: Some(ImageState::Obsolete),
                ..all()
            },
            &["plain"],
        ),
        (
            ImageQuery {
                region: text("north"),
                ..all()
            },
            &["data"],
        ),
        (
            ImageQuery {
                os: text("Debian"),
                ..all()
            },
            &["plain", "web"],
        ),
        (
            ImageQuery {
                os: text("debian"),
                os_version: text("13"),
                ..all()
            },
            &["plain"],
        ),
        (
            ImageQuery {
                architecture: text("aarch64"),
                ..all()
            },
            &["data"],
        ),
        (
            ImageQuery {
                boot: Some(BootMode::Bios),
                ..all()
            },
            &["web"],
        ),
        (
            ImageQuery {
                tags: vec!["production".into()],
                ..all()
            },
            &["data", "web"],
        ),
        (
            ImageQuery {
                tags: vec!["production".into(), "website".into()],
                ..all()
            },
            &["web"],
        ),
        (
            ImageQuery {
                software: text("nginx"),
                ..all()
            },
            &["plain", "web"],
        ),
        (
            ImageQuery {
                software: text("nginx=1.26.3-3"),
                ..all()
            },
            &["plain"],
        ),
        (
            ImageQuery {
                software: text("ngin"),
                ..all()
            },
            &[],
        ),
        (
            ImageQuery {
                text: text("SHOP"),
                ..all()
            },
            &["web"],
        ),
        (
            ImageQuery {
                text: text("websit"),
                ..all()
            },
            &["web"],
        ),
        (
            ImageQuery {
                text: text("100%"),
                ..all()
            },
            &["web"],
        ),
        (
            ImageQuery {
                text: text("%"),
                ..all()
            },
            &["web"],
        ),
        (
            ImageQuery {
                certified_for: text("r650"),
                ..all()
            },
            &["plain"],
        ),
        (
            ImageQuery {
                owner: text("own"),
                ..all()
            },
            &["data", "plain", "web"],
        ),
        (
            ImageQuery {
                owner: text("platform"),
                text: text("da"),
                ..all()
            },
            &["data"],
        ),
        (
            ImageQuery {
                owner: text("nobody"),
                ..all()
            },
            &[],
        ),
        (
            ImageQuery {
                tags: vec!["production".into()],
                os: text("debian"),
                boot: Some(BootMode::Uefi),
                ..all()
            },
            &["web"],
        ),
    ] {
        let shown = format!("{query:?}");
        assert_eq!(names(&app, &Viewer::All, query).await, expected, "{shown}");
    }

    // A tenant's filters do not reach what it may not see.
    let tenant = Viewer::Project(project(&app, "a").await);
    assert_eq!(names(&app, &tenant, all()).await, ["data"]);
    assert!(
        names(
            &app,
            &tenant,
            ImageQuery {
                software: text("nginx"),
                ..all()
            }
        )
        .await
        .is_empty()
    );
    assert!(
        names(
            &app,
            &tenant,
            ImageQuery {
                owner: text("own"),
                ..all()
            }
        )
        .await
        .is_empty()
    );
}

#[tokio::test]
async fn pages_repeat_and_leave_out_nothing_while_images_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut before = Vec::new();
    for n in 0..6_u8 {
        before.push(
            made(&app, &admin(), &ImageSpec::named(format!("i{n}")), &[n + 1; 4096])
                .await
                .id,
        );
    }
    before.sort();
    let (mut seen, mut page_token, mut round) = (Vec::new(), None, 0_u8);
    loop {
        let query = ImageQuery {
            page_size: 2,
            page_token: page_token.take(),
            ..ImageQuery::default()
        };
        let page = app.catalog.list(&Viewer::All, &query).await.unwrap();
        seen.extend(page.items.into_iter().map(|image| image.id));
        // Behind the cursor one goes, at the end one comes.
        round += 1;
        if round <= 2 {
            app.catalog
                .delete(&admin(), &seen[0])
                .await
                .unwrap_or_else(|_| panic!("{round}"));
            seen.remove(0);
            before.remove(0);
            made(
                &app,
                &admin(),
                &ImageSpec::named(format!("n{round}")),
                &[100 + round; 4096],
            )
            .await;
        }
        match page.next_page_token {
            Some(next) => page_token = Some(next),
            None => break,
        }
    }
    let mut unique = seen.clone();
    unique.dedup();
    assert_eq!(unique, seen, "nothing twice");
    assert!(before.iter().all(|id| seen.contains(id)), "nothing left out");
}
