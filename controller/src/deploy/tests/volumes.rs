//! Deployments onto volumes: what is judged, waited for and sent, and what keeps a volume where it is.

use imprint_proto::agent::v1 as wire;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{requests::post, rig::*};
use crate::{
    deploy::{DeploymentState, Phase},
    identity::Viewer,
    testing::problem,
    volumes::{Backing, Detaching, Limits, NewVolume, VolumeError, VolumeRecord, VolumeState},
};

const SERIAL: &str = "LUN-7";

async fn volume(rig: &Rig, name: &str, size_bytes: u64, backing: Backing) -> VolumeRecord {
    let new = NewVolume {
        name: name.to_owned(),
        project_id: None,
        size_bytes,
        backing,
        limits: Limits::default(),
    };
    rig.app().volumes.create(&admin(), &new).await.unwrap()
}

fn presented() -> Backing {
    Backing::Static {
        serial: Some(SERIAL.to_owned()),
        wwn: None,
    }
}

fn on_card() -> Backing {
    Backing::Named {
        name: "export".to_owned(),
    }
}

/// A server without a disk, whose card nobody answers at.
async fn diskless() -> (Rig, Machine, FakeAgent) {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let mut found = inventory();
    found.disks.clear();
    agent
        .send(wire::agent_message::Message::Inventory(Box::new(found)))
        .await;
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.nodes.inventory(&id).await.unwrap().unwrap().disks.is_empty() }
    })
    .await;
    sqlx::query("UPDATE nodes SET card = '127.0.0.1:1'")
        .execute(&rig.app().db)
        .await
        .unwrap();
    (rig, machine, agent)
}

fn body(machine: &Machine, volume: &str) -> Value {
    json!({ "node": machine.node_id, "image": "debian", "volume": volume })
}

async fn put(rig: &Rig, name: &str, state: VolumeState, why: &str) {
    sqlx::query("UPDATE volumes SET state = ?, why = ?, remedy = 'Look at the card.' WHERE name = ?")
        .bind(state.as_str())
        .bind(why)
        .bind(name)
        .execute(&rig.app().db)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_presented_takes_the_place_of_the_disk() {
    let (rig, machine, mut agent) = diskless().await;
    let lun = volume(&rig, "lun", GIB, presented()).await;
    let mut plan = body(&machine, "LUN");
    plan["dry_run"] = true.into();
    let planned: Value = post(&rig, "/v1/deployments", &plan).await.json().await.unwrap();
    assert_eq!(planned["disk"]["disk"]["serial"], SERIAL, "{planned}");
    assert_eq!(planned["disk"]["rule"], format!("volume={}", lun.id));

    let made: Value = post(&rig, "/v1/deployments", &body(&machine, "lun"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(made["volume_id"], lun.id.as_str(), "{made}");
    let task = agent.task().await;
    let deploy = deploy_task(&task);
    assert_eq!(deploy.disk.as_ref().unwrap().text, format!("volume={}", lun.id));
    let expected = wire::ExpectedVolume {
        volume_id: lun.id.clone(),
        name: "lun".to_owned(),
        serial: SERIAL.to_owned(),
        size_bytes: GIB,
        ..wire::ExpectedVolume::default()
    };
    assert_eq!(deploy.volume, Some(expected));

    // While it is written to, and while a system runs from it, nobody takes it away unasked.
    let detach = async |how| {
        let app = rig.app();
        app.volumes.detach(&app.guests, &admin(), "lun", how).await
    };
    let refused = detach(Detaching::Unused).await.unwrap_err();
    assert!(
        matches!(&refused, VolumeError::InUse { what, .. } if what.contains("works on")),
        "{refused}"
    );
    let deployment = rig.deployment(made["id"].as_str().unwrap()).await;
    rig.installs(&mut agent, &task, &deployment).await;
    let refused = detach(Detaching::Unused).await.unwrap_err();
    assert!(
        matches!(&refused, VolumeError::InUse { what, .. } if what.contains("has the system")),
        "{refused}"
    );
    assert_eq!(
        detach(Detaching::Forced).await.unwrap().state,
        VolumeState::Available
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_onto_a_volume_is_refused_before_anything_is_begun() {
    let (rig, machine, _agent) = diskless().await;
    volume(&rig, "small", 1 << 20, on_card()).await;
    let taken = volume(&rig, "taken", GIB, on_card()).await;
    put(&rig, "taken", VolumeState::Error, "it could not be made").await;
    volume(&rig, "free", GIB, on_card()).await;
    let mut both = body(&machine, "free");
    both["disk"] = "serial=D1".into();
    let mut strange = body(&machine, "free");
    strange["volume_kind"] = "floppy".into();
    let mut alone = body(&machine, "");
    alone["volume_kind"] = "nvme".into();
    for (request, status, kind) in [
        (body(&machine, "nothing"), 404, "volume-not-found"),
        (body(&machine, "small"), 422, "image-larger-than-disk"),
        (body(&machine, &taken.id), 409, "volume-busy"),
        (both, 422, "bad-volume"),
        (strange, 422, "bad-volume"),
        (alone, 422, "bad-volume"),
        (body(&machine, ""), 422, "no-such-disk"),
    ] {
        let (got, slug, remedy) = problem(post(&rig, "/v1/deployments", &request).await).await;
        assert_eq!((got, slug.as_str()), (status, kind), "{request}");
        assert!(!remedy.is_empty());
    }
    let free = rig.app().volumes.find(&Viewer::All, "free").await.unwrap();
    assert_eq!(free.state, VolumeState::Available);
    let begun: i64 = sqlx::query_scalar("SELECT count(*) FROM deployments")
        .fetch_one(&rig.app().db)
        .await
        .unwrap();
    assert_eq!(begun, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_waits_for_the_card() {
    let (rig, machine, mut agent) = diskless().await;
    let boot = volume(&rig, "boot", GIB, on_card()).await;
    let mut asked = body(&machine, "boot");
    asked["volume_kind"] = "nvme".into();
    let made: Value = post(&rig, "/v1/deployments", &asked).await.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    assert_eq!(rig.deployment(id).await.phase, Phase::AwaitAgent);
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    let waiting = why.waiting_for.unwrap();
    assert!(
        waiting.contains("waits for the volume") && waiting.contains("the card is asked"),
        "{waiting}"
    );
    assert!(why.deadline.is_some());

    put(&rig, "boot", VolumeState::Attached, "").await;
    rig.app().deployments.reconcile().await.unwrap();
    let task = agent.task().await;
    let expected = deploy_task(&task).volume.clone().unwrap();
    assert_eq!(expected.transport(), wire::Transport::Nvme);
    assert_eq!(expected.serial, boot.volume().serial());
    assert_eq!(expected.physical_function, Some(0));

    // What the card loses in the middle ends it, in the volume's own words.
    put(
        &rig,
        "boot",
        VolumeState::Error,
        "the card does not show the volume any more",
    )
    .await;
    rig.app().deployments.reconcile().await.unwrap();
    let failed = rig.deployment(id).await;
    assert_eq!(failed.state, DeploymentState::Failed);
    let problem = failed.problem.unwrap();
    assert_eq!(problem.step, "attach_volume");
    assert!(
        problem.cause.contains("volume boot") && problem.cause.contains("any more"),
        "{problem:?}"
    );
    assert_eq!(problem.remedy, "Look at the card.");
    assert_eq!(agent.cancelled().await, task.task_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_never_answers_does_not_hold_the_node() {
    let (rig, machine, _agent) = diskless().await;
    volume(&rig, "boot", GIB, on_card()).await;
    let made: Value = post(&rig, "/v1/deployments", &body(&machine, "boot"))
        .await
        .json()
        .await
        .unwrap();
    rig.clock.advance(SignedDuration::from_mins(11));
    rig.app().deployments.reconcile().await.unwrap();
    let failed = rig.deployment(made["id"].as_str().unwrap()).await;
    assert_eq!(failed.state, DeploymentState::Failed);
    assert_eq!(failed.problem.unwrap().step, "attach_volume");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_a_volume_is_not_streamed_again() {
    let (rig, machine, mut agent) = diskless().await;
    let lun = volume(&rig, "lun", GIB, presented()).await;
    let image = rig.app().catalog.find(&Viewer::All, "debian").await.unwrap();
    sqlx::query("UPDATE volumes SET image_id = ?, manifest = ?, prepared_at = 1")
        .bind(&image.id)
        .bind(&image.disks[0].manifest)
        .execute(&rig.app().db)
        .await
        .unwrap();
    // The image is the one on it, and goes from there.
    let mut asked = body(&machine, "lun");
    asked["image"] = "".into();
    let made: Value = post(&rig, "/v1/deployments", &asked).await.json().await.unwrap();
    assert_eq!(
        (&made["content"], &made["image_id"]),
        (&json!("prepared"), &json!(image.id)),
        "{made}"
    );
    let task = agent.task().await;
    assert_eq!(deploy_task(&task).content(), wire::DiskContentSource::Prepared);
    let content = async || rig.app().volumes.content(&lun.id).await.unwrap();
    assert!(!content().await.is_prepared, "a server has it now");
    let deployment = rig.deployment(made["id"].as_str().unwrap()).await;
    rig.installs(&mut agent, &task, &deployment).await;
    assert_eq!(content().await.image_id.as_ref(), Some(&image.id));

    // The same image again is streamed, since a system has changed what is there; what is kept is not.
    let mut again = body(&machine, "lun");
    again["reinstall"] = true.into();
    again["dry_run"] = true.into();
    assert_eq!(post(&rig, "/v1/deployments", &again).await.status(), 200);
    let mut kept = again.clone();
    kept["image"] = "".into();
    kept["keep_content"] = true.into();
    kept["dry_run"] = false.into();
    let made: Value = post(&rig, "/v1/deployments", &kept).await.json().await.unwrap();
    assert_eq!(
        (&made["content"], &made["image_id"]),
        (&json!("kept"), &json!(image.id)),
        "{made}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_starts_from_a_volume_that_a_failure_has_spoilt() {
    let (rig, machine, mut agent) = diskless().await;
    let lun = volume(&rig, "lun", GIB, presented()).await;
    let mut keep = body(&machine, "lun");
    keep["keep_content"] = true.into();
    let (status, kind, _) = problem(post(&rig, "/v1/deployments", &keep).await).await;
    assert_eq!(
        (status, kind.as_str()),
        (422, "bad-volume"),
        "nobody knows what is on it"
    );
    let image = rig.app().catalog.find(&Viewer::All, "debian").await.unwrap();
    sqlx::query("UPDATE volumes SET image_id = ?, manifest = ?, prepared_at = 1")
        .bind(&image.id)
        .bind(&image.disks[0].manifest)
        .execute(&rig.app().db)
        .await
        .unwrap();
    let made: Value = post(&rig, "/v1/deployments", &body(&machine, "lun"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(made["content"], "prepared", "{made}");
    let task = agent.task().await;
    agent
        .outcome(&task.task_id, failure(wire::Step::Seed, true))
        .await;
    let content = rig.app().volumes.content(&lun.id).await.unwrap();
    assert_eq!(content, crate::volumes::VolumeContent::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_no_disk_that_a_rule_may_mean() {
    let (rig, machine, mut agent) = diskless().await;
    let data = volume(&rig, "data", GIB, presented()).await;
    sqlx::query("UPDATE volumes SET state = 'attached', node_id = ?")
        .bind(&machine.node_id)
        .execute(&rig.app().db)
        .await
        .unwrap();
    let mut found = inventory();
    let mut lun = found.disks[0].clone();
    lun.serial = SERIAL.to_owned();
    found.disks = vec![lun];
    agent
        .send(wire::agent_message::Message::Inventory(Box::new(found.clone())))
        .await;
    let has = async |count: usize| {
        rig.until(|app| {
            let id = machine.node_id.clone();
            async move { app.nodes.inventory(&id).await.unwrap().unwrap().disks.len() == count }
        })
        .await;
    };
    has(1).await;
    for rule in ["", "serial=LUN-7"] {
        let mut asked = body(&machine, "");
        asked["disk"] = rule.into();
        let answer: Value = post(&rig, "/v1/deployments", &asked).await.json().await.unwrap();
        assert_eq!(answer["type"], "urn:imprint:problem:no-such-disk", "{answer}");
        assert_eq!(answer["disks"][0]["reasons"][0]["code"], "volume", "{answer}");
    }
    // A disk beside it is taken, and the agent knows which the volume is.
    found.disks.extend(inventory().disks);
    agent
        .send(wire::agent_message::Message::Inventory(Box::new(found)))
        .await;
    has(2).await;
    let made = post(&rig, "/v1/deployments", &body(&machine, "")).await;
    assert_eq!(made.status(), 201);
    let task = agent.task().await;
    let rule = deploy_task(&task).disk.clone().unwrap();
    assert_eq!(rule.volumes[0].volume_id, data.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_agent_has_seen_of_a_volume_counts() {
    let (rig, machine, mut agent) = diskless().await;
    volume(&rig, "lun", GIB, presented()).await;
    let mut keep = body(&machine, "lun");
    keep["keep_content"] = true.into();
    keep["finish"] = false.into();
    let (status, kind, _) = problem(post(&rig, "/v1/deployments", &keep).await).await;
    assert_eq!(
        (status, kind.as_str()),
        (422, "bad-volume"),
        "there is nothing to do"
    );

    let mut found = inventory();
    found.disks[0].serial = SERIAL.to_owned();
    found.disks[0].logical_sector_bytes = 4096;
    agent
        .send(wire::agent_message::Message::Inventory(Box::new(found)))
        .await;
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.nodes.inventory(&id).await.unwrap().unwrap().disks.len() == 1 }
    })
    .await;
    let (status, kind, _) = problem(post(&rig, "/v1/deployments", &body(&machine, "lun")).await).await;
    assert_eq!((status, kind.as_str()), (422, "sector-size-differs"));
}
