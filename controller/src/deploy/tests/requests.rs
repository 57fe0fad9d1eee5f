use futures::StreamExt;
use imprint_proto::agent::v1::{Step as S, StepKind as K};
use serde_json::{Value, json};

use super::rig::*;
use crate::{deploy::DeployRequest, testing::problem};

pub(super) async fn post(rig: &Rig, path: &str, body: &Value) -> reqwest::Response {
    rig.server
        .client()
        .post(rig.server.url(path))
        .json(body)
        .send()
        .await
        .unwrap()
}

async fn get(rig: &Rig, path: &str) -> Value {
    let response = rig
        .server
        .client()
        .get(rig.server.url(path))
        .send()
        .await
        .unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_damaged_in_the_store_is_not_written_to_a_disk() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    let app = &rig.server.app;
    for statement in [
        "INSERT INTO store_damage (object, cause, found_at) VALUES ('packs/1', 'it is not in the store', 0)",
        "INSERT INTO manifest_damage (manifest, object) SELECT manifest, 'packs/1' FROM manifests",
    ] {
        sqlx::query(statement).execute(&app.db).await.unwrap();
    }
    let body = json!({ "node": machine.node_id, "image": "debian" });
    let (status, kind, remedy) = problem(post(&rig, "/v1/deployments", &body).await).await;
    assert_eq!((status, kind.as_str()), (409, "image-damaged"));
    assert!(remedy.contains("imprint store verify --image debian"), "{remedy}");
    sqlx::query("DELETE FROM store_damage")
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(post(&rig, "/v1/deployments", &body).await.status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_what_is_wrong() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    let base = json!({ "node": machine.node_id, "image": "debian" });
    let rows = [
        (json!({ "node": "nobody" }), 404, "node-not-found", ""),
        (json!({ "image": "debiam" }), 404, "image-not-found", "debian"),
        (
            json!({ "user_data": "#cloud-config\nusers:\n  - name: [a\nb: c\n" }),
            422,
            "bad-user-data",
            "",
        ),
        (json!({ "user_data": "hello" }), 422, "bad-user-data", ""),
        (
            json!({ "network_config": "version: 1" }),
            422,
            "bad-network-config",
            "",
        ),
        (json!({ "hostname": "a_b" }), 422, "bad-hostname", ""),
        (
            json!({ "boot_order": "sideways" }),
            422,
            "bad-boot-order",
            "network-first",
        ),
        (
            json!({ "data_source": "floppy" }),
            422,
            "bad-data-source",
            "config-drive",
        ),
        (
            json!({ "kernel_arguments": ["console=ttyS0 quiet"] }),
            422,
            "bad-kernel-arguments",
            "by itself",
        ),
        (
            json!({ "finish": false, "fresh_uuids": true }),
            422,
            "nothing-to-finish",
            "",
        ),
        (
            json!({ "disk": "serial=Z" }),
            422,
            "no-such-disk",
            "Change the rule to name one of the disks",
        ),
        (json!({ "disk": "name=sda" }), 422, "bad-disk-rule", ""),
        (
            json!({ "finish": false, "hostname": "x" }),
            422,
            "nothing-to-finish",
            "",
        ),
        (json!({ "unknown": 1 }), 400, "invalid-request", ""),
    ];
    for (change, status, kind, remedy_part) in rows {
        let mut body = base.clone();
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let (got, got_kind, remedy) = problem(post(&rig, "/v1/deployments", &body).await).await;
        assert_eq!((got, got_kind.as_str()), (status, kind), "{change}");
        assert!(remedy.contains(remedy_part), "{change}: {remedy}");
    }
    let mut body = base.clone();
    body["user_data"] = "#cloud-config\nusers:\n  - name: [a\nb: c\n".into();
    body["hostname"] = "-".into();
    body["disk"] = "size>1TB".into();
    let answer: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    let detail = answer["detail"].as_str().unwrap();
    assert_eq!(answer["type"], "urn:imprint:problem:deployment-refused");
    for part in [
        "(1) No disk matches",
        "line 4",
        "(3) The host name",
        "has size=1GiB",
    ] {
        assert!(detail.contains(part), "{detail} should contain {part}");
    }
    assert_eq!(get(&rig, "/v1/deployments").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_fit_is_refused_before_the_first_byte() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let mut small = inventory();
    small.disks[0].size_bytes = 1 << 20;
    small.disks[0].logical_sector_bytes = 4096;
    agent
        .send(imprint_proto::agent::v1::agent_message::Message::Inventory(
            Box::new(small),
        ))
        .await;
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.nodes.inventory(&id).await.unwrap().unwrap().disks[0].size_bytes == 1 << 20 }
    })
    .await;
    let body = json!({ "node": MAC, "image": "debian" });
    let answer: Value = post(&rig, "/v1/deployments", &body).await.json().await.unwrap();
    let detail = answer["detail"].as_str().unwrap();
    assert!(
        detail.contains("needs 4194304 bytes") && detail.contains("sectors of 4096"),
        "{detail}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_a_machine_nobody_asked_for() {
    let rig = Rig::start().await;
    let machine = rig.machine().await;
    let node = get(&rig, &format!("/v1/nodes/{MAC}")).await;
    assert_eq!(
        (node["state"].as_str(), node["agent_connected"].as_bool()),
        (Some("discovered"), Some(false))
    );
    let body = json!({ "node": machine.node_id, "image": "debian" });
    let (status, kind, remedy) = problem(post(&rig, "/v1/deployments", &body).await).await;
    assert_eq!((status, kind.as_str()), (409, "node-not-available"));
    assert!(remedy.contains("node approve"));
    let why = get(&rig, &format!("/v1/nodes/{}/why", machine.node_id)).await;
    assert_eq!(
        (why["state"].as_str(), why["waiting_for"].as_str()),
        (Some("discovered"), Some("approval"))
    );
    let anonymous = rig.server.anonymous().build().unwrap();
    for path in [
        "/v1/nodes",
        "/v1/deployments",
        "/v1/events",
        "/v1/events/stream",
        "/v1/nodes/x/why",
    ] {
        let answer = anonymous.get(rig.server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
    let approved = rig
        .server
        .client()
        .post(rig.server.url(&format!("/v1/nodes/{MAC}/approve")))
        .send()
        .await
        .unwrap();
    assert_eq!(approved.json::<Value>().await.unwrap()["state"], "available");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_one_deployment() {
    let rig = Rig::start().await;
    let (machine, _agent) = rig.available().await;
    let send = async |body: &Value| {
        let request = rig
            .server
            .client()
            .post(rig.server.url("/v1/deployments"))
            .header("Idempotency-Key", "k1");
        request.json(body).send().await.unwrap()
    };
    let body = json!({ "node": machine.node_id, "image": "debian" });
    let first = send(&body).await;
    assert_eq!(first.status(), 201);
    let first: Value = first.json().await.unwrap();
    let second: Value = send(&body).await.json().await.unwrap();
    assert_eq!(first["id"], second["id"]);
    let other = json!({ "node": machine.node_id, "image": "debian", "hostname": "other" });
    let (status, kind, _) = problem(send(&other).await).await;
    assert_eq!((status, kind.as_str()), (422, "idempotency-key-reused"));
    assert_eq!(
        get(&rig, &format!("/v1/deployments?node={MAC}")).await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let (status, kind, _) = problem(post(&rig, "/v1/deployments", &body).await).await;
    assert_eq!((status, kind.as_str()), (409, "node-not-available"));

    // Whoever gets the database cannot guess at what a request held.
    let kept: Vec<u8> = sqlx::query_scalar("SELECT request_hash FROM idempotency_keys")
        .fetch_one(&rig.app().db)
        .await
        .unwrap();
    let request: DeployRequest = serde_json::from_value(body).unwrap();
    assert_ne!(
        kept,
        blake3::hash(json!(request).to_string().as_bytes()).as_bytes()
    );
    // It is recognised after a restart as well.
    let rig = rig.restart().await;
    let third = rig
        .app()
        .deployments
        .create(&admin(), &request, Some("k1"))
        .await
        .unwrap();
    assert_eq!(first["id"], third.id);
}

/// Reads frames of a stream until one satisfies the condition.
async fn frames_until(response: reqwest::Response, done: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut bytes = response.bytes_stream();
    let (mut text, mut frames) = (String::new(), Vec::new());
    while !done(&frames) {
        let piece = tokio::time::timeout(std::time::Duration::from_secs(10), bytes.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
        while let Some((frame, rest)) = text.split_once("\n\n") {
            frames.push(frame.to_owned());
            text = rest.to_owned();
        }
    }
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_stream_catches_up_and_goes_on() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let known = get(&rig, "/v1/events").await;
    let ids: Vec<i64> = known["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_i64().unwrap())
        .collect();
    let request = rig
        .server
        .client()
        .get(rig.server.url("/v1/events/stream?after=0"))
        .header("Last-Event-ID", ids[0].to_string());
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    rig.deploy(&machine).await;
    let task = agent.task().await.task_id;
    agent.step(&task, S::Write, K::Started).await;
    agent.progress(&task, 1 << 20).await;
    let frames = frames_until(response, |frames| {
        frames.iter().any(|frame| frame.contains("event: progress"))
    })
    .await;
    let field = |frame: &str, name: &str| {
        frame
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    let seen: Vec<i64> = frames
        .iter()
        .filter_map(|frame| field(frame, "id:"))
        .map(|id| id.parse().unwrap())
        .collect();
    let all = get(&rig, &format!("/v1/events?after={}", ids[0])).await;
    let expected: Vec<i64> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_i64().unwrap())
        .collect();
    assert_eq!(seen, expected);
    let progress = frames
        .iter()
        .find(|frame| frame.contains("event: progress"))
        .unwrap();
    assert_eq!(field(progress, "id:"), None);
    let data: Value = serde_json::from_str(&field(progress, "data:").unwrap()).unwrap();
    assert_eq!(
        (data["node_id"].as_str(), data["bytes_done"].as_u64()),
        (Some(machine.node_id.as_str()), Some(1 << 20))
    );
    let started = frames
        .iter()
        .find(|frame| frame.contains("event: deployment.step.started"))
        .unwrap();
    let data: Value = serde_json::from_str(&field(started, "data:").unwrap()).unwrap();
    assert_eq!(data["details"]["step"], "write");
}
