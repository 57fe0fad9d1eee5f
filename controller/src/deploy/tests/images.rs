//! What an image allows: which of them are deployed, and what is said to those who ask for others.

use serde_json::{Value, json};

use super::rig::*;
use crate::{
    api::rest::problem::Problem,
    catalog::{
        ComposeRequest, Image, ImageKind, ImageSpec, ImageState, Part, Target, TransitionRequest, Visibility,
    },
    deploy::DeployRequest,
    identity::{Caller, Role},
    store::StoreObject,
    testing::{made, problem, project},
};

async fn post(rig: &Rig, body: &Value) -> reqwest::Response {
    rig.server
        .client()
        .post(rig.server.url("/v1/deployments"))
        .json(body)
        .send()
        .await
        .unwrap()
}

/// Status, type, detail and remedy of a refused deployment.
async fn refused(rig: &Rig, body: &Value) -> (u16, String, String, String) {
    let response = post(rig, body).await;
    let status = response.status().as_u16();
    let document: Value = response.json().await.unwrap();
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let kind = text("type").trim_start_matches("urn:imprint:problem:").to_owned();
    (status, kind, text("detail"), text("remedy"))
}

async fn image(rig: &Rig, spec: &ImageSpec, content: u8) -> Image {
    made(rig.app(), &admin(), spec, &[content; 4096]).await
}

async fn state(rig: &Rig, name: &str, to: ImageState, replacement: Option<&str>, reason: &str) {
    let wish = TransitionRequest {
        to,
        at: None,
        replacement: replacement.map(str::to_owned),
        reason: Some(reason.to_owned()),
    };
    rig.app().catalog.transition(&admin(), name, &wish).await.unwrap();
}

fn of_kind(name: &str, kind: ImageKind) -> ImageSpec {
    ImageSpec {
        kind: Some(kind),
        ..ImageSpec::named(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_60_only_an_image_that_may_be_used_is_deployed() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    image(&rig, &ImageSpec::named("new"), 1).await;
    let body = json!({ "node": machine.node_id, "image": "debian" });
    for (to, kind, says) in [
        (
            ImageState::Deactivated,
            "image-withdrawn",
            "is deactivated: a hole in sshd.",
        ),
        (
            ImageState::Obsolete,
            "image-withdrawn",
            "is obsolete: a hole in sshd.",
        ),
    ] {
        state(&rig, "debian", to, Some("new"), "a hole in sshd").await;
        let (status, got, detail, remedy) = refused(&rig, &body).await;
        assert_eq!((status, got.as_str()), (409, kind));
        assert!(detail.contains(says), "{detail}");
        assert!(remedy.contains("Use new instead"), "{remedy}");
    }
    sqlx::query("UPDATE images SET state = 'importing' WHERE name = 'debian'")
        .execute(&rig.app().db)
        .await
        .unwrap();
    let (status, kind, ..) = refused(&rig, &body).await;
    assert_eq!((status, kind.as_str()), (409, "image-not-ready"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deprecated_image_works_with_a_warning_that_names_another() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    image(&rig, &ImageSpec::named("new"), 1).await;
    state(
        &rig,
        "debian",
        ImageState::Deprecated,
        Some("new"),
        "an old kernel",
    )
    .await;
    let response = post(&rig, &json!({ "node": machine.node_id, "image": "debian" })).await;
    assert_eq!(response.status(), 201);
    let made: Value = response.json().await.unwrap();
    let warning = made["warnings"][0].as_str().unwrap();
    assert_eq!(
        warning,
        "Image debian is deprecated: an old kernel. Use new instead."
    );
    // Whoever looks later sees it too.
    let kept = rig.deployment(made["id"].as_str().unwrap()).await;
    assert_eq!(kept.warnings, [warning]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_28_and_2_a_data_disk_is_written_and_nothing_else() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let data = image(&rig, &of_kind("data", ImageKind::DataDisk), 1).await;
    let body = json!({ "node": machine.node_id, "image": "data" });
    let (status, kind, _, remedy) = refused(&rig, &body).await;
    assert_eq!((status, kind.as_str()), (422, "image-holds-data"));
    assert!(remedy.contains("--no-finish"), "{remedy}");
    let body = json!({ "node": machine.node_id, "image": "data", "finish": false });
    assert_eq!(post(&rig, &body).await.status(), 201);
    let task = agent.task().await;
    let plan = deploy_task(&task);
    assert!(plan.finish.is_none());
    assert_eq!(
        plan.image.as_ref().unwrap().manifest_url,
        format!("/v1/store/manifests/{}", data.disks[0].manifest)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_30_4_71_72_iso_virtual_and_far_images_are_refused_with_the_way_out() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    image(&rig, &of_kind("installer", ImageKind::Iso), 1).await;
    let vm = ImageSpec {
        target: Some(Target::Vm),
        ..ImageSpec::named("vm")
    };
    image(&rig, &vm, 2).await;
    let far = ImageSpec {
        region: Some("north".into()),
        ..ImageSpec::named("far")
    };
    image(&rig, &far, 3).await;
    for (name, kind, remedy) in [
        ("installer", "image-is-iso", "capture"),
        ("vm", "image-for-virtual-machines", "--target any"),
        (
            "far",
            "image-in-other-region",
            "imprint image copy far --region default",
        ),
    ] {
        let body = json!({ "node": machine.node_id, "image": name });
        let (status, got, detail, said) = refused(&rig, &body).await;
        assert_eq!((status, got.as_str()), (422, kind), "{detail}");
        assert!(said.contains(remedy), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_32_a_full_machine_is_deployed_disk_by_disk() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let data = image(&rig, &of_kind("data", ImageKind::DataDisk), 1).await;
    let part = |role: &str, image: &str| Part {
        role: role.to_owned(),
        image: image.to_owned(),
    };
    let wanted = ComposeRequest {
        spec: ImageSpec::named("shop"),
        disks: vec![part("system", "debian"), part("db", "data")],
    };
    rig.app().catalog.compose(&admin(), &wanted, None).await.unwrap();
    let body = json!({ "node": machine.node_id, "image": "shop" });
    let (status, kind, detail, remedy) = refused(&rig, &body).await;
    assert_eq!((status, kind.as_str()), (422, "image-has-several-disks"));
    assert!(
        detail.contains("system (4194304 bytes)") && detail.contains("db (4096 bytes)"),
        "{detail}"
    );
    assert!(remedy.contains("--role db --disk RULE --no-finish"), "{remedy}");
    let body = json!({ "node": machine.node_id, "image": "shop", "role": "swap" });
    assert_eq!(refused(&rig, &body).await.1, "no-such-image-disk");
    let body = json!({ "node": machine.node_id, "image": "shop", "role": "db" });
    assert_eq!(refused(&rig, &body).await.1, "image-holds-data");
    let body = json!({ "node": machine.node_id, "image": "shop", "role": "db", "finish": false });
    assert_eq!(post(&rig, &body).await.status(), 201);
    let task = agent.task().await;
    let written = deploy_task(&task).image.clone().unwrap();
    assert_eq!(hex::encode(written.image_digest), data.image_digest);
    assert_eq!(written.disk_size_bytes, 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_70_one_image_or_one_family_has_to_be_named() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let node = &machine.node_id;
    for body in [
        json!({ "node": node }),
        json!({ "node": node, "image": "", "family": "" }),
        json!({ "node": node, "image": "debian", "family": "web" }),
    ] {
        let (status, kind, ..) = refused(&rig, &body).await;
        assert_eq!((status, kind.as_str()), (422, "image-or-family"), "{body}");
    }
    let (status, kind, ..) = refused(&rig, &json!({ "node": node, "family": "web" })).await;
    assert_eq!((status, kind.as_str()), (404, "family-not-found"));
    let spec = ImageSpec {
        family: Some("web".into()),
        ..ImageSpec::named("web-1")
    };
    let web = image(&rig, &spec, 1).await;
    let answer: Value = post(&rig, &json!({ "node": node, "family": "web" }))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(answer["image_id"], web.id);
    let task = agent.task().await;
    assert_eq!(deploy_task(&task).image.as_ref().unwrap().name, "web-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_56_and_6_an_image_is_deployed_by_those_who_may_use_it() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    let app = rig.app();
    let owner = Caller::for_test(&project(app, "a").await, Role::Member);
    let stranger = Caller::for_test(&project(app, "b").await, Role::Member);
    let image = made(app, &owner, &ImageSpec::named("theirs"), &[1; 4096]).await;
    // The machine is the stranger's, so that only the image stands in the way.
    sqlx::query("UPDATE nodes SET project_id = ?")
        .bind(&stranger.project_id)
        .execute(&app.db)
        .await
        .unwrap();
    let request = DeployRequest {
        node: machine.node_id.clone(),
        image: image.id.clone(),
        ..DeployRequest::default()
    };
    let refused = app.deployments.create(&stranger, &request, None).await;
    assert_eq!(Problem::from(refused.unwrap_err()).kind, "image-not-found");
    sqlx::query("UPDATE images SET visibility = 'shared' WHERE id = ?")
        .bind(&image.id)
        .execute(&app.db)
        .await
        .unwrap();
    let member = "INSERT OR REPLACE INTO image_members VALUES (?, ?, ?, 0, 0)";
    for (state, may) in [("pending", false), ("accepted", true)] {
        sqlx::query(member)
            .bind(&image.id)
            .bind(&stranger.project_id)
            .bind(state)
            .execute(&app.db)
            .await
            .unwrap();
        let deployed = app.deployments.create(&stranger, &request, None).await;
        assert_eq!(deployed.is_ok(), may, "{state}: {deployed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_39_and_40_an_image_of_another_model_needs_somebodys_word() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    let ours: String = sqlx::query_scalar("SELECT hardware FROM nodes")
        .fetch_one(&rig.app().db)
        .await
        .unwrap();
    assert!(!ours.is_empty());
    sqlx::query("UPDATE images SET source_model = 'Dell Inc. PowerEdge R650'")
        .execute(&rig.app().db)
        .await
        .unwrap();
    let body = json!({ "node": machine.node_id, "image": "debian" });
    let refused = problem(post(&rig, &body).await).await;
    assert_eq!(refused.1, "image-unverified-on-model", "{refused:?}");
    let body = json!({ "node": machine.node_id, "image": "debian", "allow_unverified": true });
    let answer: Value = post(&rig, &body).await.json().await.unwrap();
    let warning = answer["warnings"][0].as_str().unwrap().to_owned();
    assert!(
        warning.contains("PowerEdge R650") && warning.contains(&ours),
        "{warning}"
    );
    let told: String = sqlx::query_scalar(
        "SELECT details FROM events WHERE kind = 'deployment.created' ORDER BY id DESC LIMIT 1",
    )
    .fetch_one(&rig.app().db)
    .await
    .unwrap();
    assert!(told.contains("not verified"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_53_a_deployment_that_runs_outlives_its_image() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    rig.app().catalog.delete(&admin(), "debian").await.unwrap();
    let manifest = StoreObject::Manifest(deployment.manifest.parse().unwrap());
    assert!(
        rig.app()
            .deployments
            .store_access(&machine.node_id, &manifest)
            .await
    );
    agent.outcome(&task.task_id, success(&deployment)).await;
    // A reinstallation from it is refused: it is gone.
    let body = json!({ "node": machine.node_id, "image": deployment.image_id, "reinstall": true });
    let (_, kind, detail, _) = refused(&rig, &body).await;
    assert_eq!(
        kind, "deployment-refused",
        "and the node waits for its first report"
    );
    assert!(detail.contains("There is no image"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_needs_is_compared_with_the_machine() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let mut inventory = inventory();
    inventory.memory = Some(imprint_proto::agent::v1::Memory {
        total_bytes: 1 << 30,
        ..Default::default()
    });
    agent
        .send(imprint_proto::agent::v1::agent_message::Message::Inventory(
            Box::new(inventory),
        ))
        .await;
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.nodes.inventory(&id).await.unwrap().unwrap().memory_bytes == 1 << 30 }
    })
    .await;
    let spec = ImageSpec {
        min_memory_bytes: Some(2 << 30),
        min_disk_bytes: Some(100 << 30),
        visibility: Some(Visibility::Public),
        ..ImageSpec::named("large")
    };
    image(&rig, &spec, 1).await;
    let body = json!({ "node": machine.node_id, "image": "large" });
    let (_, kind, detail, _) = refused(&rig, &body).await;
    assert_eq!(kind, "deployment-refused");
    assert!(
        detail.contains("2147483648 bytes of memory") && detail.contains("107374182400"),
        "{detail}"
    );
    sqlx::query("UPDATE images SET min_memory_bytes = 0 WHERE name = 'large'")
        .execute(&rig.app().db)
        .await
        .unwrap();
    assert_eq!(refused(&rig, &body).await.1, "image-larger-than-disk");
}
