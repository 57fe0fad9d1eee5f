//! What keeps a large catalogue fast: how SQLite goes about the questions that are asked most, and the texts that a
//! search goes through.

use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite};
use ulid::Ulid;

use super::*;
use crate::{
    app::App,
    catalog::{families, find, list},
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::made,
};

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

/// The steps of a query, as SQLite says them.
async fn plan(app: &App, sql: &QueryBuilder<Sqlite>) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.sql().as_str()));
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&app.db).await.unwrap();
    rows.into_iter().map(|(.., step)| step).collect()
}

fn questions(viewer: &Viewer) -> Vec<(&'static str, QueryBuilder<Sqlite>)> {
    let text = |text: &str| Some(text.to_owned());
    let page = |query: &ImageQuery| list::page(viewer, query, true, None, 101);
    let all = ImageQuery::default;
    let mut questions = vec![
        ("a page", page(&all())),
        (
            "the next page",
            list::page(viewer, &all(), false, Some(Ulid::generate()), 101),
        ),
        (
            "a family",
            page(&ImageQuery {
                family: text("debian"),
                ..all()
            }),
        ),
        (
            "a system",
            page(&ImageQuery {
                kind: Some(ImageKind::SystemDisk),
                os: text("debian"),
                boot: Some(BootMode::Uefi),
                ..all()
            }),
        ),
        (
            "a tag",
            page(&ImageQuery {
                tags: vec!["production".into()],
                ..all()
            }),
        ),
        (
            "the own",
            page(&ImageQuery {
                owner: text("own"),
                ..all()
            }),
        ),
        (
            "rare software",
            page(&ImageQuery {
                software: text("nginx"),
                ..all()
            }),
        ),
        (
            "common software",
            list::page(
                viewer,
                &ImageQuery {
                    software: text("bash"),
                    ..all()
                },
                false,
                None,
                101,
            ),
        ),
        (
            "a text",
            page(&ImageQuery {
                text: text("shop"),
                ..all()
            }),
        ),
        (
            "the next page of a text",
            list::page(
                viewer,
                &ImageQuery {
                    text: text("shop"),
                    ..all()
                },
                false,
                Some(Ulid::generate()),
                101,
            ),
        ),
        ("families", families::page(viewer, None, 101)),
        (
            "the next families",
            families::page(viewer, Some(("debian", PLATFORM)), 101),
        ),
    ];
    for column in ["name", "family"] {
        let hints = find::hints(viewer, column, "Debain");
        questions.extend(hints.into_iter().map(|sql| ("a hint", sql)));
    }
    questions
}

/// Everything is found by an index, or read in the order in which it is answered; only a search reads texts one by one.
#[tokio::test]
async fn no_question_goes_through_whole_images() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    for n in 0..3_u8 {
        let spec = ImageSpec {
            family: Some("debian".into()),
            tags: vec!["production".into()],
            ..ImageSpec::named(format!("i{n}"))
        };
        made(&app, &admin(), &spec, &[n + 1; 4096]).await;
    }
    for analysed in [false, true] {
        if analysed {
            // So few that no index seems worth it, if any ever does not.
            sqlx::query("ANALYZE").execute(&app.db).await.unwrap();
        }
        for viewer in [Viewer::All, Viewer::Project("P".into())] {
            for (name, sql) in questions(&viewer) {
                let steps = plan(&app, &sql).await;
                let told = format!("{name} for {viewer:?}, analysed: {analysed}: {steps:#?}");
                for step in &steps {
                    let through_all = step.starts_with("SCAN ") && !step.contains("USING");
                    // Families of a page that is made already, elements of a JSON array.
                    let small = step == "SCAN f" || step.starts_with("SCAN j ");
                    let texts = step == "SCAN w" && name == "a text";
                    assert!(!through_all || small || texts, "{step}: {told}");
                }
                let first = steps
                    .iter()
                    .find(|step| step.contains("images") || step.contains(" w"));
                assert!(first.is_some(), "{told}");
                if name.contains("page") || name == "a text" || name == "families" {
                    let sorted = |step: &String| step.contains("TEMP B-TREE FOR GROUP BY");
                    assert!(!steps.iter().any(sorted), "{told}");
                }
                if matches!(name, "a page" | "the next page" | "a system" | "a text") {
                    assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{told}");
                }
                if matches!(name, "families" | "the next families" | "a hint") {
                    let covered = |step: &String| step.contains("USING COVERING INDEX images_");
                    assert!(steps.iter().any(covered), "{told}");
                }
            }
        }
    }
}

async fn found(app: &App, text: &str) -> Vec<String> {
    let query = ImageQuery {
        text: Some(text.to_owned()),
        ..ImageQuery::default()
    };
    let page = app.catalog.list(&Viewer::All, &query).await.unwrap();
    page.items.into_iter().map(|image| image.name).collect()
}

/// What a search goes through follows every change of an image.
#[tokio::test]
async fn row_76_a_search_finds_what_an_image_says_now() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let spec = ImageSpec {
        family: Some("Shop".into()),
        description: Some("Größe und ÄPFEL".into()),
        tags: vec!["Blue".into(), "green".into()],
        ..ImageSpec::named("web")
    };
    let web = made(&app, &admin(), &spec, &[1; 4096]).await;
    for text in ["WEB", "sho", "größe", "ÄPFEL", "blue", "GREEN"] {
        assert_eq!(found(&app, text).await, ["web"], "{text}");
    }
    assert!(found(&app, "web\nshopblue").await.is_empty());

    let change = ImageChange {
        name: Some("portal".into()),
        tags: Some(vec!["red".into()]),
        ..ImageChange::default()
    };
    app.catalog.update(&admin(), &web.id, &change).await.unwrap();
    for (text, there) in [
        ("portal", true),
        ("red", true),
        ("shop", true),
        ("web", false),
        ("blue", false),
    ] {
        assert_eq!(!found(&app, text).await.is_empty(), there, "{text}");
    }
    let texts = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM image_texts")
            .fetch_one(&app.db)
            .await
            .unwrap()
    };
    // What is deleted is not searched any more, and what an import gives up leaves nothing.
    app.catalog.delete(&admin(), &web.id).await.unwrap();
    assert!(found(&app, "portal").await.is_empty());
    assert_eq!(texts().await, 0);
    let new = NewImage {
        spec: &spec,
        by: &admin(),
        source: Source::Upload,
        source_reference: "",
        idempotency_key: None,
    };
    let begun = app
        .catalog
        .begin_image(&new, ImageState::Importing)
        .await
        .unwrap();
    assert_eq!(found(&app, "green").await, ["web"]);
    app.catalog.abandon_image(&begun.id).await.unwrap();
    assert_eq!(texts().await, 0);
}

/// The name that was meant is found among very many that are nothing like it.
#[tokio::test]
async fn hints_of_a_large_catalogue_are_the_near_names() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    made(&app, &admin(), &ImageSpec::named("debian-12"), &[1; 4096]).await;
    made(&app, &admin(), &ImageSpec::named("Windows 2025"), &[2; 4096]).await;
    sqlx::query(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 4000)
         INSERT INTO images (id, project_id, created_by, name, kind, visibility, state, region, source, source_format,
             created_at, updated_at)
         SELECT printf('7ZZZZZZZZZZZZZZZZZZZZZ%04d', n), ?, '', (CASE n % 2 WHEN 0 THEN 'a' ELSE 'z' END) || n,
             'system-disk', 'private', 'active', '', 'upload', 'raw', 0, 0 FROM n",
    )
    .bind(PLATFORM)
    .execute(&app.db)
    .await
    .unwrap();
    for (wanted, meant) in [
        ("debain-12", "debian-12"),
        ("Debian-12", "debian-12"),
        ("Windows", "Windows 2025"),
        // Wrong at the beginning, but new.
        ("xa3998", "a3998"),
    ] {
        match app.catalog.find(&Viewer::All, wanted).await {
            Err(CatalogError::NotFound { near, any: true, .. }) => {
                assert!(near.iter().any(|name| name == meant), "{wanted}: {near:?}");
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let mut connection = app.db.acquire().await.unwrap();
    let read = find::hinted(&mut connection, &Viewer::All, "name", "Debain").await;
    assert!(read.unwrap().len() <= 3_000);
}
