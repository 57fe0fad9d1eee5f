//! What a node's hardware model does to its boot and its deployments.

use imprint_hardware::model::LocalBoot;
use serde_json::{Value, json};

use super::{disks::rig_with_three_disks, requests::post, rig::*};
use crate::{boot::BootAction, deploy::DeployRequest};

async fn apply(rig: &Rig, version: u32, more: &str) {
    let document = format!(
        "schema = 1\nname = \"rig\"\nversion = {version}\n[match]\nvendor = \"QEMU\"\nproduct = \"Q35\"\n\
         [[match.disks]]\nrule = \"transport=nvme\"\n{more}"
    );
    let answer = post(rig, "/v1/models", &json!({ "document": document })).await;
    assert_eq!(answer.status(), 200, "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_disk_in_the_request_the_models_is_taken_and_said() {
    let (rig, machine, mut agent) = rig_with_three_disks().await;
    let mut body = json!({ "node": machine.node_id, "image": "debian", "dry_run": true });
    let answer: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    assert_eq!(
        answer["type"], "urn:imprint:problem:no-such-disk",
        "two disks may be written"
    );
    apply(&rig, 1, "[disks]\nboot = \"transport=nvme\"\n").await;
    let plan: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    assert_eq!(plan["disk"]["disk"]["serial"], "D1");
    assert_eq!(
        (&plan["disk"]["rule"], &plan["disk_rule_model"]),
        (&json!("transport=nvme"), &json!("rig"))
    );
    body["disk"] = "serial=OTHER".into();
    let plan: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    assert_eq!(
        (&plan["disk"]["disk"]["serial"], &plan["disk_rule_model"]),
        (&json!("OTHER"), &Value::Null)
    );

    // A rule that names no disk of this server is told as the model's.
    body["disk"] = "".into();
    apply(&rig, 2, "[disks]\nboot = \"transport=raid\"\n").await;
    let answer: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    assert_eq!(answer["type"], "urn:imprint:problem:no-such-disk");
    let detail = answer["detail"].as_str().unwrap();
    assert!(
        detail.contains("servers of the hardware model rig start from transport=raid"),
        "{detail}"
    );
    assert!(answer["remedy"].as_str().unwrap().contains("--disk"), "{answer}");

    // The rule is decided once: the agent gets it, whatever becomes of the model.
    apply(&rig, 3, "[disks]\nboot = \"transport=nvme\"\n").await;
    body["dry_run"] = false.into();
    let begun: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    assert_eq!(
        (&begun["disk_rule"], &begun["disk_rule_model"]),
        (&json!("transport=nvme"), &json!("rig"))
    );
    let task = agent.task().await;
    assert_eq!(deploy_task(&task).disk.as_ref().unwrap().text, "transport=nvme");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_boots_in_the_way_of_its_model() {
    let rig = Rig::start().await;
    let (machine, _deployment) = rig.active().await;
    let action = async || rig.app().deployments.boot_action(&facts()).await.unwrap();
    let how = async || match action().await {
        BootAction::LocalDisk { how, .. } => how,
        other => panic!("{other:?}"),
    };
    assert_eq!(how().await, LocalBoot::Exit);
    let more = "[needs]\nkernel_arguments = [\"console=ttyS1\"]\n[ramdisk]\nkernel_arguments = [\"nomodeset\"]\n\
        [quirks]\nlocal_boot = \"sanboot\"\n";
    apply(&rig, 1, more).await;
    assert_eq!(how().await, LocalBoot::Sanboot);
    let request = DeployRequest {
        reinstall: Some(true),
        ..request(&machine)
    };
    rig.app()
        .deployments
        .create(&admin(), &request, None)
        .await
        .unwrap();
    match action().await {
        BootAction::Ramdisk { kernel_arguments, .. } => {
            assert_eq!(kernel_arguments, ["console=ttyS1", "nomodeset"]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_that_keeps_no_order_keeps_the_network_first_and_slow_servers_have_longer() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    drop(agent);
    rig.until_away().await;
    let deadline = async |id: &str| {
        let deployment = rig.deployment(id).await;
        rig.app()
            .deployments
            .view(deployment)
            .await
            .unwrap()
            .deadline
            .unwrap()
    };
    apply(
        &rig,
        1,
        "[quirks]\nboot_order = \"reset-by-firmware\"\nboot_seconds = 240\n",
    )
    .await;
    let body = json!({ "node": machine.node_id, "image": "debian", "boot_order": "disk-first" });
    let begun: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    let warning = begun["warnings"][0].as_str().unwrap_or_default();
    assert!(
        warning.contains("rig") && warning.contains("reset-by-firmware"),
        "{begun}"
    );
    let id = begun["id"].as_str().unwrap();
    let slow = rig.deployment(id).await;
    assert_eq!(
        (slow.boot_order.as_str(), slow.boot_seconds),
        ("network-first", 240)
    );
    let waits = deadline(id).await.duration_since(slow.moved_at).as_secs();
    let configured = i64::try_from(rig.app().config.timeouts.boot_seconds).unwrap();
    assert_eq!(waits, configured + 240);
}
