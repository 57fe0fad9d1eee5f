//! The states of an image, at once and planned.

use jiff::SignedDuration;

use super::*;
use crate::{
    app::App,
    events::{Event, EventQuery},
    identity::{Caller, PLATFORM, Role, Viewer},
    testing::{made, project},
};

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

fn to(state: ImageState) -> TransitionRequest {
    TransitionRequest {
        to: state,
        at: None,
        replacement: None,
        reason: None,
    }
}

async fn events(app: &App, kind: &str) -> Vec<Event> {
    let query = EventQuery {
        page_size: 1000,
        ..EventQuery::default()
    };
    let mut all = app.events.list(&query).await.unwrap().items;
    all.retain(|event| event.kind == kind);
    all
}

#[tokio::test]
async fn an_image_is_withdrawn_with_a_replacement_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let old = made(&app, &admin(), &ImageSpec::named("old"), &[1; 4096]).await;
    let new = made(&app, &admin(), &ImageSpec::named("new"), &[2; 4096]).await;
    let wish = TransitionRequest {
        replacement: Some("new".into()),
        reason: Some("a hole in sshd".into()),
        ..to(ImageState::Deprecated)
    };
    let deprecated = app.catalog.transition(&admin(), "old", &wish).await.unwrap();
    assert_eq!(
        (
            deprecated.state,
            deprecated.replacement.as_deref(),
            deprecated.state_reason.as_str()
        ),
        (ImageState::Deprecated, Some(new.id.as_str()), "a hole in sshd")
    );
    assert!(deprecated.row_version > old.row_version);
    let told = events(&app, "image.deprecated").await;
    assert_eq!(told[0].details["image_id"], old.id);
    assert_eq!(told[0].details["by"], admin().name);

    // What was said before holds until something else is said.
    let obsolete = app
        .catalog
        .transition(&admin(), "old", &to(ImageState::Obsolete))
        .await
        .unwrap();
    assert_eq!(obsolete.replacement.as_deref(), Some(new.id.as_str()));
    let active = app
        .catalog
        .transition(&admin(), "old", &to(ImageState::Active))
        .await
        .unwrap();
    assert_eq!((active.replacement, active.state_reason.as_str()), (None, ""));

    let itself = TransitionRequest {
        replacement: Some(old.id.clone()),
        ..to(ImageState::Deprecated)
    };
    assert!(matches!(
        app.catalog.transition(&admin(), "old", &itself).await,
        Err(CatalogError::BadField {
            field: "replacement",
            ..
        })
    ));
    for never in [ImageState::Importing, ImageState::Failed] {
        assert!(matches!(
            app.catalog.transition(&admin(), "old", &to(never)).await,
            Err(CatalogError::Transition { .. })
        ));
    }
}

#[tokio::test]
async fn only_the_owner_and_administrators_change_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    let [owner, stranger] = [&a, &b].map(|id| Caller::for_test(id, Role::Member));
    let image = made(&app, &owner, &ImageSpec::named("x"), &[1; 4096]).await;
    let wish = to(ImageState::Deactivated);
    assert!(matches!(
        app.catalog.transition(&stranger, &image.id, &wish).await,
        Err(CatalogError::NotFound { .. })
    ));
    sqlx::query("UPDATE images SET visibility = 'public'")
        .execute(&app.db)
        .await
        .unwrap();
    assert!(matches!(
        app.catalog.transition(&stranger, &image.id, &wish).await,
        Err(CatalogError::NotYours { .. })
    ));
    assert!(matches!(
        app.catalog.delete(&stranger, &image.id).await,
        Err(CatalogError::NotYours { .. })
    ));
    app.catalog.transition(&owner, &image.id, &wish).await.unwrap();
    app.catalog
        .transition(&admin(), &image.id, &to(ImageState::Active))
        .await
        .unwrap();
}

#[tokio::test]
async fn planned_changes_are_made_when_their_time_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let image = made(&app, &admin(), &ImageSpec::named("x"), &[1; 4096]).await;
    let hour = |n| app.clock.now() + SignedDuration::from_hours(n);
    for (state, at) in [
        (ImageState::Deprecated, hour(1)),
        (ImageState::Obsolete, hour(3)),
        (ImageState::Deactivated, hour(9)),
    ] {
        let wish = TransitionRequest {
            at: Some(at),
            ..to(state)
        };
        let planned = app.catalog.transition(&admin(), "x", &wish).await.unwrap();
        assert_eq!(planned.state, ImageState::Active, "nothing happens yet");
    }
    let state = async || app.catalog.find(&Viewer::All, &image.id).await.unwrap();
    let planned: Vec<_> = state()
        .await
        .transitions
        .iter()
        .map(|t| (t.to_state, t.at))
        .collect();
    assert_eq!(
        planned,
        [
            (ImageState::Deprecated, hour(1)),
            (ImageState::Obsolete, hour(3)),
            (ImageState::Deactivated, hour(9))
        ]
    );
    assert_eq!(app.catalog.perform_due().await.unwrap(), 0);

    app.clock.advance(SignedDuration::from_mins(60));
    assert_eq!(app.catalog.perform_due().await.unwrap(), 1);
    assert_eq!(state().await.state, ImageState::Deprecated);

    // Planned anew, taken back.
    let sooner = TransitionRequest {
        at: Some(hour(1)),
        ..to(ImageState::Obsolete)
    };
    app.catalog.transition(&admin(), "x", &sooner).await.unwrap();
    app.catalog
        .cancel_transitions(&admin(), "x", Some(ImageState::Deactivated))
        .await
        .unwrap();
    assert!(matches!(
        app.catalog
            .cancel_transitions(&admin(), "x", Some(ImageState::Deactivated))
            .await,
        Err(CatalogError::NotPlanned { .. })
    ));
    app.clock.advance(SignedDuration::from_hours(1));
    assert_eq!(app.catalog.perform_due().await.unwrap(), 1);
    assert_eq!(
        (state().await.state, state().await.transitions.len()),
        (ImageState::Obsolete, 0)
    );

    // A time that is past is now.
    let past = TransitionRequest {
        at: Some(hour(-1)),
        ..to(ImageState::Active)
    };
    assert_eq!(
        app.catalog.transition(&admin(), "x", &past).await.unwrap().state,
        ImageState::Active
    );
}

#[tokio::test]
async fn an_image_can_be_planned_to_delete_itself_unless_it_is_protected_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    for name in ["goes", "stays"] {
        made(
            &app,
            &admin(),
            &ImageSpec::named(name),
            name.as_bytes().repeat(512).as_slice(),
        )
        .await;
        let at = app.clock.now() + SignedDuration::from_hours(1);
        let change = ImageChange {
            expires_at: Some(Some(at)),
            ..ImageChange::default()
        };
        let image = app.catalog.update(&admin(), name, &change).await.unwrap();
        assert_eq!(image.expires_at, Some(at));
    }
    let protect = ImageChange {
        protected: Some(true),
        ..ImageChange::default()
    };
    app.catalog.update(&admin(), "stays", &protect).await.unwrap();
    app.clock.advance(SignedDuration::from_hours(2));
    assert_eq!(app.catalog.perform_due().await.unwrap(), 2);
    assert!(app.catalog.find(&Viewer::All, "goes").await.is_err());
    let stays = app.catalog.find(&Viewer::All, "stays").await.unwrap();
    assert_eq!((stays.state, stays.expires_at), (ImageState::Active, None));
    let refused = events(&app, "image.transition-refused").await;
    assert!(refused[0].message.contains("protected"), "{}", refused[0].message);
    assert_eq!(events(&app, "image.deleted").await.len(), 1);
}
