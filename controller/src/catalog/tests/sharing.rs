//! Images that are shared: who invites, who accepts, who may not.

use super::*;
use crate::{
    app::App,
    config::Config,
    events::EventQuery,
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{admin, made, project},
};

fn member(project: &str) -> Caller {
    Caller::for_test(project, Role::Member)
}

/// A controller with an image of project `a`, and a project `b`.
async fn two(dir: &tempfile::TempDir) -> (App, String, String, Image) {
    let app = App::for_test(dir.path()).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    let image = made(&app, &member(&a), &ImageSpec::named("x"), &[1; 4096]).await;
    (app, a, b, image)
}

async fn kinds(app: &App, project: &str) -> Vec<String> {
    let query = EventQuery {
        project_id: Some(project.to_owned()),
        page_size: 1000,
        ..EventQuery::default()
    };
    let events = app.events.list(&query).await.unwrap().items;
    events
        .into_iter()
        .filter(|event| event.kind.starts_with("image.member-"))
        .inspect(|event| assert!(event.actor.is_some()))
        .map(|event| event.kind)
        .collect()
}

async fn sees(app: &App, project: &str, image: &Image) -> bool {
    let viewer = Viewer::Project(project.to_owned());
    app.catalog.find(&viewer, &image.id).await.is_ok()
}

#[tokio::test]
async fn row_48_56_an_image_is_offered_accepted_used_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (app, a, b, image) = two(&dir).await;
    let (catalog, owner, other) = (&app.catalog, member(&a), member(&b));
    let members = catalog
        .invite(&owner, "x", std::slice::from_ref(&b))
        .await
        .unwrap();
    assert_eq!(
        (members.len(), members[0].project.as_str(), members[0].state),
        (1, "b", MemberState::Pending)
    );
    let now = catalog.find(&Viewer::All, &image.id).await.unwrap();
    assert_eq!(now.visibility, Visibility::Shared);
    // Nobody sees it who has not accepted, but in the list of invitations.
    assert!(!sees(&app, &b, &image).await);
    let open = catalog
        .invitations(&other, Some(MemberState::Pending), 0, None)
        .await
        .unwrap();
    assert_eq!(
        (open.items[0].image_id.as_str(), open.items[0].owner.as_str()),
        (image.id.as_str(), "a")
    );
    assert!(
        catalog
            .invitations(&owner, None, 0, None)
            .await
            .unwrap()
            .items
            .is_empty()
    );

    // The owner does not accept for the other one.
    assert!(matches!(
        catalog
            .answer_invitation(&owner, "x", &b, MemberState::Accepted)
            .await,
        Err(TermsError::NoProject { .. } | TermsError::NotInvited { .. })
    ));
    let accepted = catalog
        .answer_invitation(&other, "x", "own", MemberState::Accepted)
        .await
        .unwrap();
    assert_eq!(accepted.state, MemberState::Accepted);
    assert!(sees(&app, &b, &image).await);
    assert_eq!(
        catalog.members(&other, &image.id).await.unwrap(),
        std::slice::from_ref(&accepted)
    );
    // A second invitation changes nothing.
    let again = catalog
        .invite(&owner, "x", std::slice::from_ref(&b))
        .await
        .unwrap();
    assert_eq!(again[0].state, MemberState::Accepted);
    // It is used like an own one, and not changed like one.
    assert!(matches!(
        catalog.invite(&other, "x", &[PLATFORM.to_owned()]).await,
        Err(TermsError::Catalog(CatalogError::NotYours { .. }))
    ));
    assert!(catalog.remove_member(&other, "x", "own").await.is_err());

    catalog
        .answer_invitation(&other, "x", "own", MemberState::Rejected)
        .await
        .unwrap();
    assert!(!sees(&app, &b, &image).await);
    catalog
        .answer_invitation(&other, &image.id, "own", MemberState::Accepted)
        .await
        .unwrap();
    catalog.remove_member(&owner, "x", &b).await.unwrap();
    assert!(!sees(&app, &b, &image).await);
    assert!(
        catalog
            .invitations(&other, None, 0, None)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(matches!(
        catalog
            .answer_invitation(&other, &image.id, "own", MemberState::Accepted)
            .await,
        Err(TermsError::Catalog(CatalogError::NotFound { .. }))
    ));
    let now = catalog.find(&Viewer::All, &image.id).await.unwrap();
    assert_eq!(now.visibility, Visibility::Private);
    // Row 52: the recipient is not told, the log is.
    assert_eq!(
        kinds(&app, &b).await,
        [
            "image.member-accepted",
            "image.member-rejected",
            "image.member-accepted"
        ]
    );
    assert_eq!(
        kinds(&app, &a).await,
        [
            "image.member-invited",
            "image.member-accepted",
            "image.member-rejected",
            "image.member-accepted",
            "image.member-removed"
        ]
    );
}

#[tokio::test]
async fn other_projects_are_named_by_id_and_not_found_by_guessing() {
    let dir = tempfile::tempdir().unwrap();
    let (app, a, b, _) = two(&dir).await;
    for (wanted, found) in [
        ("b", false),
        ("nobody", false),
        (b.as_str(), true),
        (&b.to_lowercase(), true),
    ] {
        let asked = app.catalog.invite(&member(&a), "x", &[wanted.to_owned()]).await;
        assert_eq!(asked.is_ok(), found, "{wanted}");
        if !found {
            assert!(matches!(asked, Err(TermsError::NoProject { .. })), "{wanted}");
        }
    }
    app.catalog
        .invite(&admin(), "x", &["b".to_owned()])
        .await
        .unwrap();
    assert!(matches!(
        app.catalog.invite(&member(&a), "x", &["own".to_owned()]).await,
        Err(TermsError::Owner { .. })
    ));
    // All or nobody.
    let c = project(&app, "c").await;
    assert!(
        app.catalog
            .invite(&member(&a), "x", &[c, "nobody".to_owned()])
            .await
            .is_err()
    );
    assert_eq!(app.catalog.members(&member(&a), "x").await.unwrap().len(), 1);
}

#[tokio::test]
async fn row_51_an_image_has_so_many_members_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::loopback(dir.path());
    assert_eq!(config.images.max_members, 128);
    config.images.max_members = 3;
    let app = App::for_test_with(config, crate::clock::Clock::fake(jiff::Timestamp::now())).await;
    let a = project(&app, "a").await;
    let mut others = Vec::new();
    for n in 0..4 {
        others.push(project(&app, &format!("p{n}")).await);
    }
    made(&app, &member(&a), &ImageSpec::named("x"), &[1; 4096]).await;
    let catalog = &app.catalog;
    catalog.invite(&member(&a), "x", &others[..2]).await.unwrap();
    match catalog.invite(&member(&a), "x", &others).await {
        Err(TermsError::TooManyMembers {
            have, asked, limit, ..
        }) => assert_eq!((have, asked, limit), (2, 2, 3)),
        other => panic!("{other:?}"),
    }
    assert_eq!(catalog.members(&member(&a), "x").await.unwrap().len(), 2);
    catalog.invite(&member(&a), "x", &others[1..3]).await.unwrap();
    assert!(catalog.invite(&member(&a), "x", &others[3..]).await.is_err());
    catalog.remove_member(&member(&a), "x", &others[0]).await.unwrap();
    catalog.invite(&member(&a), "x", &others[3..]).await.unwrap();
}

#[tokio::test]
async fn rows_20_34_49_50_54_55_what_is_not_shared_says_why_and_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let (app, a, b, image) = two(&dir).await;
    let rows: [(&str, u16, &str, &str); 7] = [
        (
            "visibility = 'public'",
            409,
            "image-is-public",
            "Nothing has to be done",
        ),
        (
            "visibility = 'marketplace'",
            409,
            "image-is-published",
            "imprint image unpublish x",
        ),
        (
            "visibility = 'community'",
            409,
            "image-is-published",
            "imprint image unpublish x",
        ),
        (
            "visibility = 'private', region = 'north'",
            422,
            "image-in-other-region",
            "imprint image copy x --region default",
        ),
        (
            "region = 'default', encrypted = 1",
            409,
            "image-is-encrypted",
            "imprint image copy x --name NAME --decrypt",
        ),
        (
            "encrypted = 0, kind = 'full-machine'",
            409,
            "full-machine-not-from-backup",
            "backup-vault",
        ),
        ("state = 'importing'", 409, "image-not-ready", "imprint job list"),
    ];
    for (change, status, kind, remedy) in rows {
        let mut sql = sqlx::QueryBuilder::<sqlx::Sqlite>::new("UPDATE images SET ");
        sql.push(change).push(" WHERE id = ").push_bind(image.id.clone());
        sql.build().execute(&app.db).await.unwrap();
        let refused = app
            .catalog
            .invite(&member(&a), "x", std::slice::from_ref(&b))
            .await
            .unwrap_err();
        let problem = crate::api::rest::problem::Problem::from(refused);
        assert_eq!(
            (problem.status.as_u16(), problem.kind),
            (status, kind),
            "{change}"
        );
        assert!(problem.remedy.contains(remedy), "{change}: {}", problem.remedy);
    }
    // Of a backup it may be a whole machine.
    sqlx::query("UPDATE images SET state = 'active', source = 'backup-vault'")
        .execute(&app.db)
        .await
        .unwrap();
    app.catalog
        .invite(&member(&a), "x", std::slice::from_ref(&b))
        .await
        .unwrap();
}

#[tokio::test]
async fn row_53_a_shared_image_is_deleted_without_asking() {
    let dir = tempfile::tempdir().unwrap();
    let (app, a, b, image) = two(&dir).await;
    app.catalog
        .invite(&member(&a), "x", std::slice::from_ref(&b))
        .await
        .unwrap();
    app.catalog
        .answer_invitation(&member(&b), "x", "own", MemberState::Accepted)
        .await
        .unwrap();
    app.catalog.delete(&member(&a), "x").await.unwrap();
    assert!(!sees(&app, &b, &image).await);
    assert!(
        app.catalog
            .invitations(&member(&b), None, 0, None)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}
