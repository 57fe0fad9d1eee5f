//! What an image has to bring for a boot volume (image rows 91 and 92).

use super::*;
use crate::volumes::{Backing, Limits, NewVolume};

#[tokio::test(flavor = "multi_thread")]
async fn rows_91_and_92_a_boot_volume_wants_its_driver_in_the_initramfs() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    // The server's own disk is one that all of these images could start from.
    node(&server, "web", &machine(vec![disk("sda", "sata", "ahci", 512)])).await;
    sqlx::query("UPDATE nodes SET card = '127.0.0.1:1'")
        .execute(&server.app.db)
        .await
        .unwrap();
    let new = NewVolume {
        name: "root".to_owned(),
        project_id: None,
        size_bytes: 1 << 20,
        backing: Backing::Named {
            name: "export".to_owned(),
        },
        limits: Limits::default(),
    };
    server.app.volumes.create(&admin(), &new).await.unwrap();
    for (name, modules, content) in [
        ("bare", &["ahci", "sd_mod"][..], 1),
        ("virtio", &["ahci", "virtio_blk"], 2),
        ("nvme", &["ahci", "nvme"], 3),
    ] {
        let image = image(&server, &spec(name, "x86_64", &[BootMode::Uefi]), content).await;
        with_modules(&server, &image, modules).await;
    }
    for (image, kind, fits) in [
        ("bare", "virtio-blk", false),
        ("bare", "nvme", false),
        ("virtio", "virtio-blk", true),
        ("virtio", "nvme", false),
        ("nvme", "virtio-blk", false),
        ("nvme", "nvme", true),
    ] {
        let asked =
            json!({ "node": "web", "image": image, "volume": "root", "volume_kind": kind, "dry_run": true });
        let answer = post(&server, "/v1/deployments", &asked).await;
        if fits {
            assert_eq!(
                answer.status(),
                200,
                "{image} on {kind}: {:?}",
                answer.text().await
            );
        } else {
            let (status, slug, remedy) = problem(answer).await;
            assert_eq!(
                (status, slug.as_str()),
                (422, "driver-missing"),
                "{image} on {kind}"
            );
            assert!(!remedy.is_empty());
        }
    }
}
