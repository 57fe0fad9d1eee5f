//! Two projects on one controller: whose image comes onto whose machine, and who hears of it.

use crate::{
    api::rest::problem::Problem,
    app::App,
    catalog::ImageSpec,
    deploy::{DeployError, DeployRequest, DeploymentState},
    events::EventQuery,
    identity::{Caller, PLATFORM, Role, Viewer},
    inventory::{InventoryError, NodeQuery},
    testing::{admin, made, token_of},
};

/// A member each of the projects `web` and `other`, an operator, and an available node in both projects.
struct Two {
    _dir: tempfile::TempDir,
    app: App,
    web: Caller,
    other: Caller,
    operator: Caller,
}

async fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let caller = async |project: &str, role| {
        app.api_tokens
            .check(&token_of(&app, project, role).await)
            .await
            .unwrap()
    };
    let (web, other) = (
        caller("web", Role::Member).await,
        caller("other", Role::Member).await,
    );
    let operator = caller("platform", Role::Operator).await;
    for (id, name, by) in [("01N1", "web-1", &web), ("01N2", "other-1", &other)] {
        sqlx::query("INSERT INTO nodes (id, name, serial, state, created_at, project_id) VALUES (?, ?, 'S', 'available', 0, ?)")
            .bind(id)
            .bind(name)
            .bind(&by.project_id)
            .execute(&app.db)
            .await
            .unwrap();
    }
    Two {
        _dir: dir,
        app,
        web,
        other,
        operator,
    }
}

fn onto(node: &str, image: &str) -> DeployRequest {
    DeployRequest {
        node: node.to_owned(),
        image: image.to_owned(),
        ..DeployRequest::default()
    }
}

async fn kinds(app: &App, by: &Caller) -> Vec<(String, Option<String>)> {
    let query = EventQuery {
        project_id: by.viewer().project().map(ToOwned::to_owned),
        page_size: 1000,
        ..EventQuery::default()
    };
    let events = app.events.list(&query).await.unwrap().items;
    events
        .into_iter()
        .map(|event| (event.kind, event.actor))
        .collect()
}

/// Image row 56.
#[tokio::test]
async fn an_image_of_others_is_refused_at_the_deployment_not_only_in_lists() {
    let two = two().await;
    let deployments = &two.app.deployments;
    let image = made(&two.app, &two.web, &ImageSpec::named("secret"), &[7; 4096]).await;
    for name in ["secret", image.id.as_str()] {
        let refused = deployments.create(&two.other, &onto("other-1", name), None).await;
        assert_eq!(Problem::from(refused.unwrap_err()).kind, "image-not-found");
        // An operator sees it, which makes it nobody else's either.
        let refused = deployments
            .create(&two.operator, &onto("other-1", &image.id), None)
            .await;
        assert_eq!(Problem::from(refused.unwrap_err()).kind, "image-not-shared");
    }
    let refused = deployments
        .create(&two.web, &onto("other-1", "secret"), None)
        .await;
    assert!(matches!(
        refused,
        Err(DeployError::Node(InventoryError::NotFound { .. }))
    ));

    let made = deployments
        .create(&two.operator, &onto("web-1", &image.id), None)
        .await
        .unwrap();
    assert_eq!(
        (&made.project_id, &made.requested_by),
        (&two.web.project_id, &two.operator.name)
    );
    // What the platform keeps to itself an operator may give to everybody's machines.
    let own = Caller::for_test(PLATFORM, Role::Admin);
    let tool = crate::testing::made(&two.app, &own, &ImageSpec::named("tool"), &[9; 4096]).await;
    assert!(
        deployments
            .create(&own, &onto("other-1", &tool.id), None)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_deployment_is_there_for_its_project_and_for_operators() {
    let two = two().await;
    let deployments = &two.app.deployments;
    made(&two.app, &two.web, &ImageSpec::named("secret"), &[7; 4096]).await;
    let running = deployments
        .create(&two.web, &onto("web-1", "secret"), Some("k"))
        .await
        .unwrap();
    for viewer in [two.web.viewer(), two.operator.viewer()] {
        assert_eq!(
            deployments.get(&viewer, &running.id).await.unwrap().id,
            running.id
        );
        assert_eq!(
            deployments
                .list(&viewer, None, 0, None)
                .await
                .unwrap()
                .items
                .len(),
            1
        );
    }
    let stranger = two.other.viewer();
    assert!(matches!(
        deployments.get(&stranger, &running.id).await,
        Err(DeployError::NotFound(_))
    ));
    assert!(matches!(
        deployments.cancel(&two.other, &running.id).await,
        Err(DeployError::NotFound(_))
    ));
    assert!(
        deployments
            .list(&stranger, None, 0, None)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(deployments.list(&stranger, Some("web-1"), 0, None).await.is_err());
    // The key is the other project's own, and free here.
    made(&two.app, &two.other, &ImageSpec::named("own"), &[8; 4096]).await;
    let theirs = deployments
        .create(&two.other, &onto("other-1", "own"), Some("k"))
        .await
        .unwrap();
    assert_ne!(theirs.id, running.id);
    assert_eq!(
        deployments
            .create(&two.web, &onto("web-1", "secret"), Some("k"))
            .await
            .unwrap()
            .id,
        running.id
    );

    let by_web = ("deployment.created".to_owned(), Some(two.web.name.clone()));
    assert!(kinds(&two.app, &two.web).await.contains(&by_web));
    assert!(kinds(&two.app, &two.operator).await.contains(&by_web));
    assert!(!kinds(&two.app, &two.other).await.contains(&by_web));
}

#[tokio::test]
async fn a_node_that_changes_hands_takes_nothing_along() {
    let two = two().await;
    let (nodes, deployments) = (&two.app.nodes, &two.app.deployments);
    made(&two.app, &two.web, &ImageSpec::named("secret"), &[7; 4096]).await;
    let running = deployments
        .create(&two.web, &onto("web-1", "secret"), None)
        .await
        .unwrap();
    let other = two.app.tenants.project(&Viewer::All, "other").await.unwrap();
    let busy = nodes.assign(&admin(), "web-1", &other).await;
    assert!(matches!(busy, Err(InventoryError::Taken { .. })), "{busy:?}");
    let cancelled = deployments.cancel(&two.web, &running.id).await.unwrap();
    assert_eq!(cancelled.state, DeploymentState::Cancelled);

    // Both have the serial number, and each sees one of the two.
    assert_eq!(
        nodes.find(&two.other.viewer(), "S").await.unwrap().name,
        "other-1"
    );
    assert!(matches!(
        nodes.find(&Viewer::All, "S").await,
        Err(InventoryError::Ambiguous { .. })
    ));
    let near = nodes.find(&two.other.viewer(), "web-2").await.unwrap_err();
    assert!(
        !near.to_string().contains("web-1"),
        "no hint at what others have: {near}"
    );

    let node = nodes.assign(&admin(), "web-1", &other).await.unwrap();
    assert_eq!(node.project_id, other.id);
    assert!(nodes.find(&two.web.viewer(), "web-1").await.is_err());
    assert_eq!(
        nodes
            .list(&two.other.viewer(), &NodeQuery::default())
            .await
            .unwrap()
            .items
            .len(),
        2
    );
    // What was done with it before stays with the project that did it.
    let why = deployments.why(&two.other.viewer(), "web-1").await.unwrap();
    assert!(!why.summary.contains("secret"), "{}", why.summary);
    assert!(deployments.get(&two.other.viewer(), &running.id).await.is_err());
    assert!(deployments.get(&two.web.viewer(), &running.id).await.is_ok());
    let told = |events: Vec<(String, Option<String>)>, kind: &str| events.iter().any(|(has, _)| has == kind);
    assert!(told(kinds(&two.app, &two.web).await, "node.unassigned"));
    assert!(told(kinds(&two.app, &two.other).await, "node.assigned"));
    assert!(!told(kinds(&two.app, &two.other).await, "deployment.created"));
}
