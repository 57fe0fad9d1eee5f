//! Everything that is wrong with a request, in one answer.

use serde_json::{Value, json};

use super::{disks::rig_with_three_disks, requests::post, rig::*};
use crate::{catalog::ImageSpec, testing::made};

async fn refused(rig: &Rig, body: &Value) -> Value {
    let response = post(rig, "/v1/deployments", body).await;
    assert!(response.status().is_client_error(), "{body}");
    response.json().await.unwrap()
}

fn assert_has(answer: &Value, parts: &[&str]) {
    let detail = answer["detail"].as_str().unwrap();
    for part in parts {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let count = parts.len();
    assert!(detail.contains(&format!("({count})")), "{detail}");
    assert!(!detail.contains(&format!("({})", count + 1)), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_told_at_once() {
    let (rig, machine, _agent) = rig_with_three_disks().await;
    let large = ImageSpec {
        min_disk_bytes: Some(1 << 40),
        architecture: Some("aarch64".to_owned()),
        ..ImageSpec::named("large")
    };
    made(rig.app(), &admin(), &large, &[1; 4096]).await;
    let mut body = json!({
        "node": machine.node_id, "image": "debiam", "dry_run": true, "disk": "serial=NOBODY", "hostname": "a_b",
        "user_data": "#cloud-config\nruncmd: ls\n", "boot_order": "sideways",
        "network_config": "version: 2\nethernets:\n  a: {match: {macaddress: '52:54:00:00:00:99'}, dhcp4: true}\n",
    });
    for dry_run in [true, false] {
        body["dry_run"] = dry_run.into();
        let answer = refused(&rig, &body).await;
        assert_eq!(answer["type"], "urn:imprint:problem:deployment-refused");
        let parts = [
            "debiam",
            "has serial=D1, the rule wants serial=NOBODY",
            "line 2: `runcmd` is a text",
            "names 52:54:00:00:00:99, and node",
            "host name",
            "`sideways`",
        ];
        assert_has(&answer, &parts);
        assert_eq!(answer["disks"].as_array().unwrap().len(), 3);
    }
    // An image that is there, and does not fit; a node that is busy.
    let begun = json!({ "node": machine.node_id, "image": "debian", "disk": "serial=D1" });
    assert_eq!(post(&rig, "/v1/deployments", &begun).await.status(), 201);
    body["image"] = "large".into();
    body["disk"] = "serial=OTHER".into();
    let answer = refused(&rig, &body).await;
    assert_eq!(
        answer["status"], 409,
        "a state that may change by itself comes first"
    );
    let parts = [
        "is deploying",
        "needs 1099511627776 bytes",
        "`runcmd`",
        "52:54:00:00:00:99",
        "host name",
        "`sideways`",
    ];
    assert_has(&answer, &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_suit_is_told_with_all_the_others() {
    let (rig, machine, _agent) = rig_with_three_disks().await;
    let large = ImageSpec {
        min_disk_bytes: Some(1 << 40),
        ..ImageSpec::named("large")
    };
    made(rig.app(), &admin(), &large, &[1; 4096]).await;
    let body = json!({ "node": machine.node_id, "image": "large", "disk": "serial=OTHER" });
    let answer = refused(&rig, &body).await;
    assert_eq!(answer["type"], "urn:imprint:problem:image-larger-than-disk");
    let detail = answer["detail"].as_str().unwrap();
    for part in [
        "has 1073741824; of the other disks",
        "D1",
        "KEPT",
        "the rule wants serial=OTHER",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let disks = answer["disks"].as_array().unwrap();
    let codes: Vec<(&str, Vec<&str>)> = disks
        .iter()
        .map(|disk| {
            let reasons = disk["reasons"].as_array().unwrap().iter();
            let codes = reasons.map(|reason| reason["code"].as_str().unwrap());
            (disk["serial"].as_str().unwrap(), codes.collect())
        })
        .collect();
    let expected = [
        ("D1", vec!["rule-not-met", "too-small"]),
        ("KEPT", vec!["rule-not-met", "lvm-member", "too-small"]),
        ("OTHER", vec!["too-small"]),
    ];
    assert_eq!(codes, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cloud_init_would_ignore_is_a_warning_and_gzip_goes_through() {
    use std::io::Write as _;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let mut body = json!({ "node": machine.node_id, "image": "debian", "dry_run": true });
    body["user_data"] = "#cloud-config\nhostnam: a\n".into();
    let plan: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    let warning = plan["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("line 2: `hostnam` is not a key"), "{plan}");

    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(b"#cloud-config\nhostname: 7\n").unwrap();
    let bad = STANDARD.encode(packer.finish().unwrap());
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(b"#cloud-config\nhostname: a\n").unwrap();
    let good = packer.finish().unwrap();
    for (packed, part) in [
        (bad.as_str(), "line 2: `hostname` is a number"),
        ("%", "not base64"),
    ] {
        let mut body = json!({ "node": machine.node_id, "image": "debian" });
        body["user_data_base64"] = packed.into();
        let answer = refused(&rig, &body).await;
        assert_eq!(answer["type"], "urn:imprint:problem:bad-user-data");
        assert!(answer["detail"].as_str().unwrap().contains(part), "{answer}");
    }
    body["user_data_base64"] = STANDARD.encode(&good).into();
    let answer = refused(&rig, &body).await;
    assert!(
        answer["detail"].as_str().unwrap().contains("given twice"),
        "{answer}"
    );
    body["user_data"] = "".into();
    body["dry_run"] = false.into();
    assert_eq!(post(&rig, "/v1/deployments", &body).await.status(), 201);
    let task = agent.task().await;
    let seed = deploy_task(&task).finish.as_ref().unwrap().seed.clone().unwrap();
    assert_eq!(seed.user_data, good, "as it was given");
}
