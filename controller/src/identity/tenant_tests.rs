//! Projects, users and tokens together: who can do what, and for how long.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::timeout;

use super::*;
use crate::{
    app::App,
    events::EventQuery,
    testing::{admin, token_of},
};

async fn app() -> (tempfile::TempDir, App) {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    (dir, app)
}

/// The caller with the first token, which is really there.
async fn first(app: &App) -> Caller {
    let secret = std::fs::read_to_string(app.config.data_dir.join(crate::setup::ADMIN_TOKEN)).unwrap();
    app.api_tokens.check(secret.trim()).await.unwrap()
}

fn ask(name: &str) -> TokenRequest {
    TokenRequest {
        name: name.to_owned(),
        ..TokenRequest::default()
    }
}

#[tokio::test]
async fn a_token_never_does_more_than_its_user_may_now() {
    let (_dir, app) = app().await;
    let tenants = &app.tenants;
    let secret = token_of(&app, "web", Role::Member).await;
    let check = || app.api_tokens.check(&secret);
    let caller = check().await.unwrap();
    let user = caller.user_id.clone().unwrap();
    assert_eq!(
        (caller.role, caller.viewer()),
        (Role::Member, Viewer::Project(caller.project_id.clone()))
    );

    tenants.grant(&admin(), "web", &user, Role::Reader).await.unwrap();
    assert_eq!(check().await.unwrap().role, Role::Reader, "at once");
    tenants.withdraw(&admin(), "web", &user).await.unwrap();
    assert!(matches!(check().await, Err(TokenError::Left(_))));
    tenants.grant(&admin(), "web", &user, Role::Member).await.unwrap();
    tenants.disable_user(&admin(), &user).await.unwrap();
    assert!(matches!(check().await, Err(TokenError::Disabled(_))));
    tenants.enable_user(&admin(), &user).await.unwrap();
    assert_eq!(check().await.unwrap(), caller);
    // More than the token was made for is not given by a greater role either.
    tenants
        .grant(&admin(), "platform", &user, Role::Admin)
        .await
        .unwrap();
    assert_eq!(check().await.unwrap().role, Role::Member);

    app.clock.advance(SignedDuration::from_hours(24 * 90));
    assert!(matches!(check().await, Err(TokenError::Expired { .. })));
    assert!(
        tenants
            .revoke_token(&caller, &caller.token_id)
            .await
            .unwrap()
            .revoked_at
            .is_some()
    );
    assert!(matches!(check().await, Err(TokenError::Revoked { .. })));
}

#[tokio::test]
async fn nobody_reaches_beyond_his_project_by_making_tokens() {
    let (_dir, app) = app().await;
    let member = app
        .api_tokens
        .check(&token_of(&app, "web", Role::Member).await)
        .await
        .unwrap();
    let other = app
        .api_tokens
        .check(&token_of(&app, "shop", Role::Member).await)
        .await
        .unwrap();
    let make = async |by: &Caller, request: TokenRequest| app.tenants.create_token(by, &request).await;
    let with = |change: fn(&mut TokenRequest)| {
        let mut request = ask("t");
        change(&mut request);
        request
    };
    for (what, request) in [
        ("a greater role", with(|r| r.role = Some(Role::Admin))),
        ("a role for machines", with(|r| r.role = Some(Role::Operator))),
        ("another project", with(|r| r.project = Some("shop".to_owned()))),
        (
            "the operators' project",
            with(|r| r.project = Some("platform".to_owned())),
        ),
        ("another user", with(|r| r.user = Some("nobody".to_owned()))),
        ("no user", with(|r| r.service = true)),
        (
            "more scopes",
            with(|r| r.scopes = Some(vec![Permission::ManageTenants.into()])),
        ),
        ("a longer life", with(|r| r.expires_in_days = Some(366))),
    ] {
        assert!(make(&member, request).await.is_err(), "{what}");
    }
    // A project that he may not see is not told from one that is not there.
    let seen = make(&member, with(|r| r.project = Some("shop".to_owned())))
        .await
        .unwrap_err();
    let missing = make(&member, with(|r| r.project = Some("none".to_owned())))
        .await
        .unwrap_err();
    assert_eq!(seen.to_string(), missing.to_string().replace("none", "shop"));

    let (token, made) = make(
        &member,
        with(|r| r.scopes = Some(vec![Permission::WriteTokens.into()])),
    )
    .await
    .unwrap();
    assert_eq!((token.role, &token.project), (Role::Member, &"web".to_owned()));
    let narrow = app.api_tokens.check(&made.secret).await.unwrap();
    assert!(narrow.require(Permission::ReadImages).is_err());
    assert!(
        make(
            &narrow,
            with(|r| r.scopes = Some(vec![Permission::ReadImages.into()]))
        )
        .await
        .is_err()
    );
    let (narrower, _) = make(&narrow, ask("child")).await.unwrap();
    assert_eq!(
        narrower.scopes,
        Some(vec![Permission::WriteTokens.into()]),
        "it is inherited"
    );

    // Lists and revocations end at the own user and project.
    let list = app.tenants.tokens(&member, &TokenQuery::default()).await.unwrap();
    assert!(list.items.iter().all(|token| token.user_id == member.user_id));
    assert_eq!(list.items.len(), 3);
    for id in [&member.token_id, &token.id] {
        let refused = app.tenants.revoke_token(&other, id).await;
        assert!(matches!(refused, Err(TenantError::NotFound { .. })));
        assert!(app.tenants.token(&other, id).await.is_err());
    }
    app.tenants.revoke_token(&member, &token.id).await.unwrap();
    assert!(app.api_tokens.check(&made.secret).await.is_err());
}

#[tokio::test]
async fn tokens_of_nobody_are_the_admins_and_make_no_tokens() {
    let (_dir, app) = app().await;
    let service = TokenRequest {
        service: true,
        role: Some(Role::Operator),
        ..ask("robot")
    };
    let (token, made) = app.tenants.create_token(&admin(), &service).await.unwrap();
    assert_eq!((token.user_id, token.role), (None, Role::Operator));
    let robot = app.api_tokens.check(&made.secret).await.unwrap();
    assert_eq!(
        (robot.name.as_str(), robot.author().actor.as_deref()),
        ("robot", Some("token robot"))
    );
    let refused = app.tenants.create_token(&robot, &ask("child")).await;
    assert!(matches!(refused, Err(TenantError::NobodysToken(_))));
    let own = app.tenants.tokens(&robot, &TokenQuery::default()).await.unwrap();
    assert_eq!(own.items.len(), 1, "it sees itself");
    assert!(app.tenants.revoke_token(&robot, &robot.token_id).await.is_ok());
}

#[tokio::test]
async fn the_last_admin_cannot_be_locked_out() {
    let (_dir, app) = app().await;
    let tenants = &app.tenants;
    let root = first(&app).await;
    let last = |result: Result<(), TenantError>| {
        assert!(matches!(result, Err(TenantError::LastAdmin)), "{result:?}");
    };
    last(tenants.revoke_token(&root, &root.token_id).await.map(drop));

    // With another admin it can; then that one is the last.
    let secret = token_of(&app, "platform", Role::Admin).await;
    let bob = app.api_tokens.check(&secret).await.unwrap();
    let user = bob.user_id.clone().unwrap();
    tenants.revoke_token(&root, &root.token_id).await.unwrap();
    last(tenants.revoke_token(&bob, &bob.token_id).await.map(drop));
    last(tenants.disable_user(&bob, &user).await.map(drop));
    last(tenants.withdraw(&bob, "platform", &user).await.map(drop));
    last(
        tenants
            .grant(&bob, "platform", &user, Role::Operator)
            .await
            .map(drop),
    );
    // A narrowed one cannot take its place.
    let narrow = TokenRequest {
        scopes: Some(vec![Permission::ReadImages.into()]),
        ..ask("narrow")
    };
    tenants.create_token(&bob, &narrow).await.unwrap();
    last(tenants.revoke_token(&bob, &bob.token_id).await.map(drop));
    assert_eq!(
        app.api_tokens.check(&secret).await.unwrap(),
        bob,
        "nothing of it was kept"
    );

    // Time locks out; whoever has the data folder gets in again.
    app.clock.advance(SignedDuration::from_hours(24 * 91));
    assert!(app.api_tokens.check(&secret).await.is_err());
    crate::setup::init(&app.config.data_dir, &[], &app.clock)
        .await
        .unwrap();
    assert_eq!(first(&app).await.role, Role::Admin);
}

#[tokio::test]
async fn a_project_with_something_in_it_stays() {
    let (_dir, app) = app().await;
    let tenants = &app.tenants;
    let secret = token_of(&app, "web", Role::Member).await;
    let project = tenants.project(&Viewer::All, "WEB").await.unwrap();
    for (table, columns) in [
        (
            "nodes",
            "(id, name, state, created_at, project_id) VALUES ('n', 'web-07', 'available', 0, ?)",
        ),
        (
            "images",
            "(id, name, state, created_at, updated_at, project_id, created_by, kind, visibility, region, source, source_format) \
             VALUES ('i', 'debian-12', 'active', 0, 0, ?, 'a', 'system-disk', 'private', 'r', 'upload', 'raw')",
        ),
        (
            "jobs",
            "(id, kind, project_id, state, request, requested_by, created_at) VALUES ('j', 'import', ?, 'running', '{}', 'a', 0)",
        ),
    ] {
        let insert = sqlx::AssertSqlSafe(format!("INSERT INTO {table} {columns}"));
        sqlx::query(insert)
            .bind(&project.id)
            .execute(&app.db)
            .await
            .unwrap();
    }
    let refused = tenants.delete_project(&admin(), "web").await.unwrap_err();
    let said = refused.to_string();
    for named in [
        "images: 1 (debian-12)",
        "nodes: 1 (web-07)",
        "running jobs: 1 (import j)",
    ] {
        assert!(said.contains(named), "{said}");
    }
    assert!(matches!(
        tenants.delete_project(&admin(), "platform").await,
        Err(TenantError::Platform)
    ));

    for over in [
        "UPDATE images SET state = 'deleted'",
        "UPDATE jobs SET state = 'failed'",
        "DELETE FROM nodes",
    ] {
        sqlx::query(over).execute(&app.db).await.unwrap();
    }
    tenants.delete_project(&admin(), "web").await.unwrap();
    assert!(matches!(
        app.api_tokens.check(&secret).await,
        Err(TokenError::Unknown)
    ));
    assert!(tenants.project(&Viewer::All, "web").await.is_err());
}

#[tokio::test]
async fn names_are_unique_and_pages_complete() {
    let (_dir, app) = app().await;
    let tenants = &app.tenants;
    for name in ["a", "b", "c"] {
        tenants
            .create_project(&admin(), name, &ProjectChange::default())
            .await
            .unwrap();
        tenants.create_user(&admin(), name).await.unwrap();
    }
    assert!(matches!(
        tenants
            .create_project(&admin(), "a", &ProjectChange::default())
            .await,
        Err(TenantError::Taken { .. })
    ));
    assert!(matches!(
        tenants.create_user(&admin(), "A").await,
        Err(TenantError::Taken { .. })
    ));
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let page = tenants.projects(&Viewer::All, 2, token.as_deref()).await.unwrap();
        names.extend(page.items.into_iter().map(|project| project.name));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["platform", "a", "b", "c"]);
    assert_eq!(tenants.users(2, None).await.unwrap().items.len(), 2);

    let limits = ProjectChange {
        max_stored_bytes: Some(7),
        description: Some("x".to_owned()),
        ..ProjectChange::default()
    };
    let changed = tenants.update_project(&admin(), "a", &limits).await.unwrap();
    assert_eq!(
        (changed.max_stored_bytes, changed.description.as_str()),
        (Some(7), "x")
    );
    let back = ProjectChange {
        max_stored_bytes: Some(0),
        ..ProjectChange::default()
    };
    let changed = tenants.update_project(&admin(), "a", &back).await.unwrap();
    assert_eq!(
        (changed.max_stored_bytes, changed.description.as_str()),
        (None, "x")
    );
}

#[tokio::test]
async fn an_open_stream_ends_with_its_token() {
    let (_dir, app) = app().await;
    for end in ["revoke", "disable", "role"] {
        let secret = token_of(&app, "web", Role::Member).await;
        let caller = app.api_tokens.check(&secret).await.unwrap();
        let user = caller.user_id.clone().unwrap();
        let waiting = tokio::spawn({
            let (tokens, caller) = (app.api_tokens.clone(), caller.clone());
            async move { tokens.lapse(caller).await }
        });
        // What happens to others does not end it.
        token_of(&app, "web", Role::Member).await;
        assert!(!waiting.is_finished());
        match end {
            "revoke" => drop(app.tenants.revoke_token(&caller, &caller.token_id).await.unwrap()),
            "disable" => drop(app.tenants.disable_user(&admin(), &user).await.unwrap()),
            _ => drop(
                app.tenants
                    .grant(&admin(), "web", &user, Role::Reader)
                    .await
                    .unwrap(),
            ),
        }
        timeout(Duration::from_secs(10), waiting)
            .await
            .expect(end)
            .unwrap();
    }
}

#[tokio::test]
async fn every_change_is_told_with_its_author_and_without_secrets() {
    let (_dir, app) = app().await;
    let before = app.events.newest().await.unwrap();
    let secret = token_of(&app, "web", Role::Member).await;
    let caller = app.api_tokens.check(&secret).await.unwrap();
    app.tenants.revoke_token(&caller, &caller.token_id).await.unwrap();
    let query = EventQuery {
        after: before,
        ..EventQuery::default()
    };
    let events = app.events.list(&query).await.unwrap().items;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "project.created",
            "user.created",
            "project.role-granted",
            "token.created",
            "token.revoked"
        ]
    );
    assert!(events.iter().all(|event| event.actor.is_some()), "{events:?}");
    assert_eq!(events[4].actor.as_deref(), Some(caller.name.as_str()));
    let text = format!("{events:?}");
    assert!(!text.contains(&secret) && !text.contains(&secret[4..]), "{text}");
    // The project's members see what is about their project.
    let own = EventQuery {
        project_id: Some(caller.project_id.clone()),
        ..query
    };
    let own: Vec<String> = app
        .events
        .list(&own)
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(
        own,
        [
            "project.created",
            "project.role-granted",
            "token.created",
            "token.revoked"
        ]
    );
}
