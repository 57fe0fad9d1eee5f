//! What becomes of images on servers; the numbers are those of `docs/image-service.md`.

use serde_json::{Value, json};

use super::rig::*;
use crate::{
    catalog::{ComposeRequest, ImageKind, ImageSpec, Part},
    testing::made,
};

#[tokio::test(flavor = "multi_thread")]
async fn row_27_a_system_disk_is_written_to_the_disk_that_the_server_starts_from() {
    // By itself, and as a part of a full machine.
    for (image, role) in [("debian", Value::Null), ("shop", json!("system"))] {
        let rig = Rig::start().await;
        let app = rig.app();
        let (machine, mut agent) = rig.available().await;
        let system = app.catalog.find(&admin().viewer(), "debian").await.unwrap();
        assert_eq!(system.kind, ImageKind::SystemDisk);
        let data = ImageSpec {
            kind: Some(ImageKind::DataDisk),
            ..ImageSpec::named("data")
        };
        made(app, &admin(), &data, &[7; 4096]).await;
        let part = |role: &str, image: &str| Part {
            role: role.to_owned(),
            image: image.to_owned(),
        };
        let whole = ComposeRequest {
            spec: ImageSpec::named("shop"),
            disks: vec![part("db", "data"), part("system", "debian")],
        };
        app.catalog.compose(&admin(), &whole, None).await.unwrap();
        let body = json!({ "node": machine.node_id, "image": image, "role": role, "disk": "serial=D1" });
        let request = rig.server.client().post(rig.server.url("/v1/deployments"));
        let answer = request.json(&body).send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(status, 201, "{answer}");
        let task = agent.task().await;
        let plan = deploy_task(&task);
        let written = plan.image.as_ref().unwrap();
        assert_eq!(hex::encode(&written.image_digest), system.image_digest);
        assert_eq!(written.disk_size_bytes, system.disk_size_bytes);
        assert_eq!(plan.disk.as_ref().unwrap().text, "serial=D1");
        // Seed, boot entry, first-boot report, restart: what makes a disk the one that the server starts from.
        assert!(plan.finish.is_some() && plan.reboot, "{plan:?}");
    }
}
