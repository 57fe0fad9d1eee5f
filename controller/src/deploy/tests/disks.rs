//! Which disk, over REST and gRPC: plans, wipes, hints, and what goes to the agent.

use imprint_proto::{
    agent::v1 as wire,
    v1::{CreateDeploymentRequest, deployments_client::DeploymentsClient},
};
use serde_json::{Value, json};

use super::{removals::with_token, requests::post, rig::*};
use crate::testing::problem;

fn member(kind: &str, group: &str) -> wire::DiskContent {
    wire::DiskContent {
        partition: Some(2),
        kind: kind.to_owned(),
        role: "member".to_owned(),
        group: group.to_owned(),
        ..wire::DiskContent::default()
    }
}

/// A node with the disk D1, one with an LVM group, and one with a system of somebody else.
pub(super) async fn rig_with_three_disks() -> (Rig, Machine, FakeAgent) {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let mut found = inventory();
    let mut lvm = found.disks[0].clone();
    lvm.kernel_name = "sda".to_owned();
    lvm.serial = "KEPT".to_owned();
    lvm.transport = wire::Transport::Sata.into();
    lvm.contents = vec![member("lvm-pv", "vg0")];
    let mut foreign = lvm.clone();
    foreign.kernel_name = "sdb".to_owned();
    foreign.serial = "OTHER".to_owned();
    foreign.contents = vec![wire::DiskContent {
        kind: "ntfs".to_owned(),
        role: "system".to_owned(),
        label: "Windows".to_owned(),
        ..wire::DiskContent::default()
    }];
    found.disks.extend([lvm, foreign]);
    agent
        .send(wire::agent_message::Message::Inventory(Box::new(found)))
        .await;
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.nodes.inventory(&id).await.unwrap().unwrap().disks.len() == 3 }
    })
    .await;
    (rig, machine, agent)
}

async fn planned(rig: &Rig, body: &Value) -> Value {
    let response = post(rig, "/v1/deployments", body).await;
    assert_eq!(response.status(), 200, "{body}");
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_the_plan_and_begins_nothing() {
    let (rig, machine, _agent) = rig_with_three_disks().await;
    let mut body =
        json!({ "node": machine.node_id, "image": "debian", "disk": "serial=OTHER", "dry_run": true });
    let plan = planned(&rig, &body).await;
    assert_eq!(plan["disk"]["disk"]["serial"], "OTHER");
    assert_eq!(plan["disk"]["disk"]["outcome"], "chosen");
    assert_eq!(plan["disk"]["wiped"][0], "ntfs \"Windows\"");
    assert_eq!(plan["disk"]["warnings"][0]["code"], "foreign-system");
    let others: Vec<_> = plan["disk"]["others"]
        .as_array()
        .unwrap()
        .iter()
        .map(|other| {
            (
                other["serial"].as_str().unwrap(),
                other["reasons"].as_array().unwrap().len(),
            )
        })
        .collect();
    assert_eq!(others, [("D1", 1), ("KEPT", 2)]);
    assert!(
        plan["warnings"][0]
            .as_str()
            .unwrap()
            .contains("did not put there"),
        "{plan}"
    );

    // The same over gRPC, and the hints of other systems name the same disk.
    let request = CreateDeploymentRequest {
        node: machine.node_id.clone(),
        image: "debian".to_owned(),
        disk: r#"{"serial": "other"}"#.to_owned(),
        ..CreateDeploymentRequest::default()
    };
    let plan = DeploymentsClient::new(rig.server.channel().await)
        .plan_deployment(with_token(&rig, request))
        .await
        .unwrap()
        .into_inner();
    let disk = plan.disk.unwrap();
    assert_eq!(
        (disk.rule.as_str(), disk.disk.unwrap().serial.as_str()),
        ("serial=other", "OTHER")
    );
    assert_eq!(disk.others[1].reasons[1].code, "lvm-member");

    body["disk"] = "transport=sata,smallest".into();
    body["image"] = "debian".into();
    assert_eq!(planned(&rig, &body).await["disk"]["disk"]["serial"], "OTHER");
    for key in ["deployments", "nodes WHERE deployment_id IS NOT NULL"] {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {key}")))
            .fetch_one(&rig.app().db)
            .await
            .unwrap();
        assert_eq!(count, 0, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_disks_need_their_wipe_by_name_and_the_agent_is_told() {
    let (rig, machine, mut agent) = rig_with_three_disks().await;
    let mut body = json!({ "node": machine.node_id, "image": "debian", "disk": "serial=KEPT" });
    let answer: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    assert_eq!(answer["type"], "urn:imprint:problem:no-such-disk");
    let disks = answer["disks"].as_array().unwrap();
    assert_eq!(disks.len(), 3, "every disk with its reasons");
    let kept = disks.iter().find(|disk| disk["serial"] == "KEPT").unwrap();
    assert_eq!(kept["reasons"][0]["code"], "lvm-member");
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("partition 2 is an LVM physical volume of vg0")
    );
    assert!(
        answer["remedy"].as_str().unwrap().contains("--wipe KEPT"),
        "{answer}"
    );

    body["disk"] = "serial=OTHER".into();
    body["wipe"] = json!(["a\nb"]);
    let (status, kind, _) = problem(post(&rig, "/v1/deployments", &body).await).await;
    assert_eq!((status, kind.as_str()), (422, "bad-wipe"));
    body["disk"] = r#"{"name": "/dev/sda"}"#.into();
    let (status, kind, _) = problem(post(&rig, "/v1/deployments", &body).await).await;
    assert_eq!((status, kind.as_str()), (422, "deployment-refused"));

    body["disk"] = "serial=KEPT".into();
    body["wipe"] = json!(["kept"]);
    assert_eq!(post(&rig, "/v1/deployments", &body).await.status(), 201);
    let task = agent.task().await;
    let Some(wire::task::Kind::Deploy(deploy)) = task.kind else {
        panic!("no deployment")
    };
    let rule = deploy.disk.unwrap();
    assert_eq!(
        (rule.text.as_str(), rule.wipe),
        ("serial=KEPT", vec!["kept".to_owned()])
    );
    assert!(!rule.refuse_foreign_systems);
}
