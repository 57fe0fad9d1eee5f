//! Images whose root nobody can write: the seed's partition, and a deployment that ends without a report.

use imprint_proto::agent::v1 as wire;
use serde_json::{Value, json};

use super::{requests::post, rig::*};
use crate::{deploy::*, inventory::NodeState, testing::problem};

/// The image's facts say that its root is a LUKS.
async fn sealed(rig: &Rig) {
    let volumes = json!([
        { "partition": 1, "kind": "fat32", "label": "", "uuid": "", "mounted_at": null, "size_bytes": 1, "used_bytes": { "known": 1 } },
        { "partition": 3, "kind": "luks", "label": "", "uuid": "", "mounted_at": null, "size_bytes": 1,
          "used_bytes": { "unknown": "it is encrypted" } },
    ]);
    sqlx::query("UPDATE manifests SET facts = json_object('volumes', json(?))")
        .bind(volumes.to_string())
        .execute(&rig.app().db)
        .await
        .unwrap();
}

fn unreported(deployment: &Deployment) -> wire::outcome::Result {
    let wire::outcome::Result::Success(success) = success(deployment) else {
        unreachable!("it is one");
    };
    wire::outcome::Result::Success(wire::Success {
        no_first_boot_report: true,
        ..success
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_root_is_told_when_asked_for_and_the_deployment_ends_without_a_report() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    sealed(&rig).await;
    let base = json!({ "node": machine.node_id, "image": "debian" });
    let with = |key: &str, value: Value| {
        let mut body = base.clone();
        body[key] = value;
        body
    };
    for (key, value, word) in [
        ("seed_partition", json!(false), "no-finish"),
        ("image_users", json!("remove-keys"), "user-data"),
    ] {
        let (status, kind, remedy) = problem(post(&rig, "/v1/deployments", &with(key, value)).await).await;
        assert_eq!((status, kind.as_str()), (422, "root-not-writable"));
        assert!(remedy.contains(word), "{remedy}");
    }
    let plan: Value = post(&rig, "/v1/deployments", &with("dry_run", json!(true)))
        .await
        .json()
        .await
        .unwrap();
    let begun: Value = post(&rig, "/v1/deployments", &base).await.json().await.unwrap();
    for answer in [&plan, &begun] {
        let said = answer["warnings"].to_string();
        assert!(
            said.contains("partition 3 is LUKS") && said.contains("without a report"),
            "{said}"
        );
    }
    let task = agent.task().await;
    assert!(deploy_task(&task).finish.clone().unwrap().seed_partition);
    let deployment = rig.deployment(begun["id"].as_str().unwrap()).await;
    agent.outcome(&task.task_id, unreported(&deployment)).await;

    let ended = rig.deployment(&deployment.id).await;
    assert_eq!(ended.state, DeploymentState::Succeeded);
    assert!(ended.first_boot.is_none());
    let node = rig.app().nodes.get(&machine.node_id).await.unwrap();
    assert_eq!(node.state, NodeState::Active);
    assert!(!rig.boots_ramdisk().await, "it starts its disk");
    let events = rig.events().await;
    let told = events
        .iter()
        .find(|event| event.kind == "deployment.succeeded")
        .unwrap();
    assert!(
        told.message
            .contains("written and verified; its first boot is not reported"),
        "{told:?}"
    );
    let view = rig.app().deployments.view(ended).await.unwrap();
    assert!(view.explanation.contains("not reported"), "{}", view.explanation);
    // A system that nobody has seen start proves nothing of its hardware.
    let seen: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM deployments WHERE state = 'succeeded' AND first_boot IS NOT NULL",
    )
    .fetch_one(&rig.app().db)
    .await
    .unwrap();
    assert_eq!(seen, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_allow_it_where_nothing_is_known() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let body = json!({ "node": machine.node_id, "image": "debian", "seed_partition": true });
    let begun: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    assert!(
        begun["warnings"].to_string().contains("If no root file system"),
        "{begun}"
    );
    let task = agent.task().await;
    assert!(deploy_task(&task).finish.clone().unwrap().seed_partition);
    // It has a root after all: it is waited for as ever.
    let deployment = rig.deployment(begun["id"].as_str().unwrap()).await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Running
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_says_where_its_cloud_init_looks() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let property = async |value: &str| {
        sqlx::query("UPDATE images SET properties = json_object('data_source', ?)")
            .bind(value)
            .execute(&rig.app().db)
            .await
            .unwrap();
    };
    let base = json!({ "node": machine.node_id, "image": "debian" });
    property("of-the-future").await;
    let (status, kind, remedy) = problem(post(&rig, "/v1/deployments", &base).await).await;
    assert_eq!((status, kind.as_str()), (422, "bad-data-source"));
    assert!(remedy.contains("property data_source"), "{remedy}");
    property("config-drive").await;
    for (asked, layout) in [
        (None, wire::SeedLayout::ConfigDrive),
        (Some("nocloud"), wire::SeedLayout::NoCloud),
    ] {
        let mut body = base.clone();
        if let Some(asked) = asked {
            body["data_source"] = asked.into();
        }
        assert_eq!(post(&rig, "/v1/deployments", &body).await.status(), 201);
        let task = agent.task().await;
        let plan = deploy_task(&task).finish.clone().unwrap();
        assert_eq!(plan.seed_layout(), layout);
        let meta_data = plan.seed.unwrap().meta_data;
        assert_eq!(
            meta_data.starts_with(b"{"),
            layout == wire::SeedLayout::ConfigDrive
        );
        agent
            .outcome(&task.task_id, failure(wire::Step::Write, true))
            .await;
    }
}
