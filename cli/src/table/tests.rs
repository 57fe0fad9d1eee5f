use serde_json::{Value, json};

use super::*;
use crate::answer::{Image, read};

fn moment() -> Moment {
    Moment {
        now: "2026-03-01T12:00:00Z".parse().unwrap(),
        zone: TimeZone::UTC,
    }
}

fn text(table: &mut Table) -> String {
    table.force_no_tty();
    format!("\n{}", table.trim_fmt())
}

fn node_answer() -> Value {
    json!({
        "id": "01NODE", "name": "web-07", "state": "failed", "agent_connected": true, "serial": "ABC123",
        "smbios_uuid": "4c4c4544-0032-4a10-8057-b4c04f4d5932", "macs": ["52:54:00:12:34:56", "52:54:00:12:34:57"],
        "hardware": "Dell Inc. PowerEdge R650", "deployment_id": "01DEPLOY", "last_seen_at": "2026-03-01T11:59:13Z",
        "problem": {"step": "claim_disk", "cause": "no disk matches serial=X", "remedy": "correct the rule"},
        "inventory": {
            "cpu": {"model": "Xeon Gold", "architecture": "x86_64", "threads": 64},
            "memory_bytes": 274_877_906_944_u64,
            "firmware": {"mode": "uefi", "version": "1.2"},
            "disks": [{"kernel_name": "nvme0n1", "transport": "nvme", "size_bytes": 960_197_124_096_u64,
                       "model": "PM9A3", "serial": "S3X", "logical_sector_bytes": 512}],
            "nics": [{"kernel_name": "eno1", "mac": "52:54:00:12:34:56", "link_up": true, "driver": "ice",
                      "addresses": ["10.0.0.7/24"]}],
        },
    })
}

/// All that an agent of today tells.
fn full_inventory() -> Value {
    json!({
        "system": {"chassis": "blade", "chassis_serial": "ENC-1", "asset_tag": "rack 7"},
        "cpu": {"model": "EPYC 9354", "architecture": "x86_64", "threads": 128, "numa_nodes": 2},
        "memory_bytes": 274_877_906_944_u64,
        "memory_modules": [{"slot": "A1", "size_bytes": 274_877_906_944_u64, "kind": "DDR5"}, {"slot": "A2", "size_bytes": 0}],
        "firmware": {"mode": "uefi", "vendor": "AMI", "version": "2.1", "date": "2025-03-04", "secure_boot": false, "setup_mode": true},
        "disks": [{"kernel_name": "nvme0n1", "transport": "nvme", "size_bytes": 960_197_124_096_u64, "serial": "S3X",
                   "logical_sector_bytes": 4096, "holders": ["dm-0 (vg-root)"], "contents_read": true,
                   "health": {"status": "failing", "reasons": ["its medium has become read-only"]},
                   "contents": [{"partition": null, "kind": "gpt"}, {"partition": 2, "kind": "lvm-pv", "role": "member", "group": "vg"}]},
                  {"kernel_name": "vda", "transport": "virtio", "volume_id": "vol-7", "health": {"status": "ok"}}],
        "nics": [{"kernel_name": "ens1", "mac": "52:54:00:12:34:56", "link_up": true, "speed_mbps": 25_000, "driver": "mlx5_core",
                  "lldp": {"chassis": "44:4c:a8:11:22:33", "port": "Ethernet17/1", "system_name": "leaf-07a", "vlan": 4000}}],
        "pci": [{"address": "0000:03:00.0", "class": "030000", "vendor_id": "1a03", "device_id": "2000", "driver": "ast"},
                {"address": "0000:41:00.0", "class": "030200", "vendor_id": "10de", "device_id": "2331", "driver": ""},
                {"address": "0000:42:00.0", "class": "010400", "vendor_id": "1000", "device_id": "10e2", "driver": ""},
                {"address": "0000:43:00.0", "class": "020000", "vendor_id": "15b3", "device_id": "101d", "driver": "mlx5_core"}],
        "tpm": {"version": "2.0"},
        "bmc": {"address": "10.9.8.7", "mac": "3c:ec:ef:01:02:03", "channel": 1},
    })
}

#[test]
fn a_full_inventory() {
    let mut answer = node_answer();
    answer["inventory"] = full_inventory();
    insta::assert_snapshot!("node_in_full", super::node(&read(&answer), &moment()).render());
}

#[test]
fn lists() {
    let images = [
        json!({"id": "01IMAGE", "name": "debian-12", "disk_size_bytes": 2_147_483_648_u64, "data_bytes": 432_013_312,
               "stored_bytes": 132_120_576, "source_format": "qcow2", "created_at": "2026-02-28T12:00:00Z",
               "family": "debian", "kind": "system-disk", "visibility": "public", "state": "active",
               "os_distribution": "debian", "os_version": "12", "architecture": "x86_64"}),
        json!({"id": "01OTHER", "name": "x", "disk_size_bytes": 512, "source_format": "raw"}),
    ];
    let images: Vec<Image> = images.iter().map(read).collect();
    insta::assert_snapshot!("images", text(&mut super::images(&images, &moment())));

    let nodes = [
        node_answer(),
        json!({"id": "01NEW", "state": "discovered", "macs": []}),
    ];
    let nodes: Vec<Node> = nodes.iter().map(read).collect();
    insta::assert_snapshot!("nodes", text(&mut super::nodes(&nodes, &moment())));

    let deployments = [
        json!({"id": "01A", "node_id": "01NODE", "image_id": "01IMAGE", "state": "succeeded",
               "created_at": "2026-03-01T11:50:00Z", "finished_at": "2026-03-01T11:52:05Z"}),
        json!({"id": "01B", "node_id": "01NODE", "image_id": "01IMAGE", "state": "running", "step": "write",
               "created_at": "2026-03-01T11:59:00Z", "finished_at": null}),
    ];
    let deployments: Vec<Deployment> = deployments.iter().map(read).collect();
    insta::assert_snapshot!(
        "deployments",
        text(&mut super::deployments(&deployments, &moment()))
    );
}

#[test]
fn what_costs_something_or_is_damaged_says_so_in_the_list() {
    let free = json!({"id": "01A", "name": "a", "state": "active"});
    let sold = json!({"id": "01B", "name": "b", "state": "active", "damaged": true,
                      "price": {"amount": "0.05", "currency": "EUR", "per": "hour"}});
    let list = |images: &[&Value]| {
        let images: Vec<Image> = images.iter().map(|image| read(image)).collect();
        text(&mut super::images(&images, &moment()))
    };
    let all = list(&[&free, &sold]);
    for part in ["PRICE", "0.05 EUR per hour", "active, damaged"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(!list(&[&free]).contains("PRICE"));
}

#[test]
fn an_empty_list_still_has_its_header() {
    assert!(text(&mut super::nodes(&[], &moment())).contains("STATE"));
}

#[test]
fn one_of_each() {
    insta::assert_snapshot!("node", super::node(&read(&node_answer()), &moment()).render());
    let why = json!({"state": "deploying", "summary": "waits until the agent has called from the ramdisk",
        "waiting_for": "the agent's first call", "deadline": "2026-03-01T12:20:30Z", "problem": null});
    insta::assert_snapshot!("why", super::why(&read(&why), &moment()).render());
    let deployment = json!({
        "id": "01A", "node_id": "01NODE", "image_id": "01IMAGE", "state": "failed", "explanation": "failed at write",
        "created_at": "2026-03-01T11:50:00Z", "finished_at": "2026-03-01T11:50:40Z",
        "problem": {"step": "write", "cause": "cannot write at 4096: No space left", "remedy": "replace the disk"},
        "write": {"bytes_fetched": 132_120_576, "bytes_written": 432_013_312, "bytes_zeroed": 1_715_470_336,
                  "duration_ms": 8000, "retries": 2, "chunks_kept": 12, "bytes_saved": 4_194_304,
                  "limiting": "disk 54 MB/s"},
        "steps": [
            {"step": "boot", "state": "finished", "started_at": "2026-03-01T11:50:00Z",
             "finished_at": "2026-03-01T11:50:20Z", "detail": "the agent has called"},
            {"step": "write", "state": "failed", "started_at": "2026-03-01T11:50:20Z",
             "finished_at": "2026-03-01T11:50:40Z", "cause": "cannot write at 4096: No space left",
             "remedy": "replace the disk"},
        ],
        "first_boot": {"hostname": "web-07", "addresses": ["10.0.0.7/24"], "cloud_init_status": "error: a",
            "boot_mode": "uefi", "boot_entry": "Boot0003 debian", "cloud_init_errors": ["a", "b"], "warnings": ["x.service has failed"],
            "boot_phases": [
                {"name": "firmware", "start_ms": -9000, "duration_ms": 6500},
                {"name": "cloud-init: modules-final", "start_ms": 31_250, "duration_ms": 4005},
            ]},
    });
    let (facts, mut steps) = super::deployment(&read(&deployment), &moment());
    insta::assert_snapshot!("deployment", format!("{}{}", facts.render(), text(&mut steps)));
}

#[test]
fn nothing_a_server_says_drives_the_terminal() {
    let node: Node = read(&json!({"id": "n", "name": "\u{1b}[2Jgone", "hardware": "a\u{7}b", "macs": []}));
    let shown = text(&mut super::nodes(&[node], &moment()));
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
    let line = super::event(
        &read(&json!({"id": 1, "kind": "k", "message": "x\u{1b}]0;y"})),
        &moment(),
    );
    assert!(!line.contains('\u{1b}'), "{line:?}");
}
