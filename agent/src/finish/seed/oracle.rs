//! cloud-init's own code reads what is written for it, in both forms. Without the unpacked packages there is nothing to try.

use std::{path::Path, process::Command};

use imprint_proto::agent::v1::{CloudInitSeed, FinishPlan, SeedLayout};
use serde_json::{Value, json};

use super::apply;
use crate::finish::{confined::ConfinedRoot, profile::Profile, tests::unpacked};

const V2: &str = "version: 2\nethernets: {lan0: {match: {macaddress: '52:54:00:00:00:01'}, set-name: lan0, addresses: [192.0.2.5/24]}}\n";
const NETWORK_DATA: &str = r#"{"links": [{"id": "l", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}],
    "networks": [{"id": "n", "type": "ipv4", "link": "l", "ip_address": "192.0.2.5", "netmask": "255.255.255.0"}],
    "services": []}"#;

fn read(packages: &Path, plan: &FinishPlan) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let root = ConfinedRoot::open(folder.path()).unwrap();
    let profile = Profile {
        cloud_init: true,
        makes_ssh_keys: true,
        ..Profile::default()
    };
    apply(&root, &profile, plan).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/finish/seed/oracle.py");
    let libraries = ["lib", "usr/lib"].map(|lib| {
        format!(
            "{}/{lib}/{}-linux-gnu",
            packages.display(),
            std::env::consts::ARCH
        )
    });
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .arg(folder.path())
        .env("LD_LIBRARY_PATH", libraries.join(":"))
        .env("PYTHONPATH", packages.join("usr/lib/python3/dist-packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn cloud_init_reads_both_forms_the_same() {
    let Some(packages) =
        unpacked().filter(|root| root.join("usr/lib/python3/dist-packages/cloudinit").exists())
    else {
        return;
    };
    const USER: &str = "#cloud-config\nhostname: ignored\n";
    for (layout, meta_data, network, source) in [
        (
            SeedLayout::NoCloud,
            "instance-id: 01AB\nlocal-hostname: db1\n",
            V2,
            "NoCloud",
        ),
        (
            SeedLayout::ConfigDrive,
            r#"{"uuid":"01AB","hostname":"db1","name":"db1"}"#,
            V2,
            "ConfigDrive",
        ),
        (
            SeedLayout::ConfigDrive,
            r#"{"uuid":"01AB","hostname":"db1","name":"db1"}"#,
            NETWORK_DATA,
            "ConfigDrive",
        ),
    ] {
        let plan = FinishPlan {
            seed: Some(CloudInitSeed {
                meta_data: meta_data.into(),
                user_data: USER.into(),
                vendor_data: Vec::new(),
                network_config: network.into(),
            }),
            seed_layout: layout.into(),
            ..FinishPlan::default()
        };
        assert_eq!(
            read(&packages, &plan),
            json!({
                "source": source, "instance": "01AB", "host": "db1", "user": USER,
                "network": { "names": ["lan0"], "addresses": ["192.0.2.5/24"] },
            })
        );
    }
}
