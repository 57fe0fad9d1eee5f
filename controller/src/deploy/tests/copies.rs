//! A database that was put back by copying: nobody has said that it is older than the world.

use std::path::Path;

use imprint_proto::agent::v1::{Step as S, StepKind as K, agent_message};
use jiff::SignedDuration;

use super::{restores::is_left_alone, rig::*};
use crate::{backup::WITNESS, db, deploy::*, inventory::Node};

/// A copy of the database as it is now.
async fn copied(rig: &Rig) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::remove_file(&file).unwrap();
    sqlx::query("VACUUM INTO ?")
        .bind(file.to_string_lossy().into_owned())
        .execute(&rig.app().db)
        .await
        .unwrap();
    file
}

/// What an operator does who knows no better.
fn put_back(copy: &Path, data: &Path) {
    std::fs::copy(copy, data.join(db::FILE_NAME)).unwrap();
    for log in ["-wal", "-shm"] {
        let log = data.join(format!("{}{log}", db::FILE_NAME));
        if log.exists() {
            std::fs::remove_file(log).unwrap();
        }
    }
}

/// As after a snapshot of the volume: the witness is as old as the database, or not there.
fn put_all_back(copy: &Path, data: &Path) {
    put_back(copy, data);
    std::fs::remove_file(data.join(WITNESS)).unwrap();
}

async fn switches(rig: &Rig) -> Vec<String> {
    sqlx::query_scalar("SELECT state FROM power_actions ORDER BY id")
        .fetch_all(&rig.app().db)
        .await
        .unwrap()
}

async fn later(rig: &Rig, seconds: i64) {
    rig.clock.advance(SignedDuration::from_secs(seconds));
    rig.app().deployments.reconcile().await.unwrap();
}

async fn node(rig: &Rig, machine: &Machine) -> Node {
    let nodes = &rig.app().nodes;
    nodes.find(&Viewer::All, &machine.node_id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_is_known_and_drives_nothing() {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    has_bmc(&rig, &machine.node_id).await;
    drop(agent);
    rig.until_away().await;
    // In the copy the server is still to come up, and is being switched.
    let deployment = rig.deploy(&machine).await;
    later(&rig, 20).await;
    assert_eq!(switches(&rig).await, ["running"]);
    let copy = copied(&rig).await;
    power_ends(&rig, "done", "").await;
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    rig.installs(&mut agent, &task, &deployment).await;
    drop(agent);
    rig.until_away().await;
    let newest = rig.app().events.newest().await.unwrap();

    let rig = rig.restart_over(|data| put_back(&copy, data)).await;
    assert!(rig.on_hold(&machine).await);
    let events = rig.events().await;
    let alarms: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "alarm.restored")
        .collect();
    assert_eq!(alarms.len(), 1);
    assert!(
        alarms[0].message.contains("was put back"),
        "{}",
        alarms[0].message
    );
    assert!(
        alarms[0].id > newest + 1000,
        "its number was never seen by anybody"
    );
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AwaitAgent);
    assert!(rig.boots_its_disk().await);
    assert_eq!(switches(&rig).await, ["failed"]);
    rig.an_hour_passes().await;
    assert_eq!(switches(&rig).await, ["failed"], "no BMC is asked");
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Failed
    );

    // It is told once, and the hold stays.
    let rig = rig.restart().await;
    assert_eq!(rig.count("alarm.restored").await, 1);
    assert!(rig.on_hold(&machine).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_hold_whose_system_is_awaited_is_not_switched_on() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    has_bmc(&rig, &machine.node_id).await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    agent.outcome(&task.task_id, success(&deployment)).await;
    let copy = copied(&rig).await;
    rig.report(&report_token(&task), first_boot(&deployment, "b1"))
        .await
        .unwrap();
    drop(agent);
    rig.until_away().await;

    let rig = rig.restart_over(|data| put_back(&copy, data)).await;
    assert!(rig.on_hold(&machine).await);
    for _ in 0..3 {
        later(&rig, 150).await;
    }
    assert_eq!(rig.deployment(&deployment.id).await.phase, Phase::AwaitReport);
    assert!(switches(&rig).await.is_empty(), "it may be off for a reason");
    // The system itself may say what is true.
    rig.report(&report_token(&task), first_boot(&deployment, "b2"))
        .await
        .unwrap();
    assert_eq!(
        rig.deployment(&deployment.id).await.state,
        DeploymentState::Succeeded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_folder_that_was_put_back_stops_no_agent_that_works() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let copy = copied(&rig).await;
    let deployment = rig.deploy(&machine).await;
    let task = agent.task().await;
    agent.step(&task.task_id, S::Write, K::Started).await;
    drop(agent);
    rig.until_away().await;

    let rig = rig.restart_over(|data| put_all_back(&copy, data)).await;
    assert!(!rig.on_hold(&machine).await, "nothing is to be seen of it");
    assert_eq!(rig.count("alarm.restored").await, 0);
    is_left_alone(&rig, &machine, &task.task_id, &deployment).await;

    // Somebody has looked: the database is right.
    let found = node(&rig, &machine).await;
    assert!(rig.app().holds.confirm(&admin(), &found).await.unwrap());
    assert!(!rig.app().holds.confirm(&admin(), &found).await.unwrap());
    let mut agent = rig.connect(&machine, hello("boot-1", &task.task_id)).await;
    assert_eq!(agent.cancelled().await, task.task_id);
    assert!(!rig.on_hold(&machine).await);
    assert_eq!(rig.count("alarm.restored-mismatch").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_task_that_never_was_is_neither_answered_nor_taken() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let event = step_event("01JZZZZZZZZZZZZZZZZZZZZZZZ", 1, S::Write, K::Started);
    agent.send(agent_message::Message::Step(event)).await;
    assert_eq!(agent.heard().await, []);
    assert!(rig.on_hold(&machine).await);
    assert_eq!(rig.count("alarm.restored-mismatch").await, 1);
    let hold = rig.app().holds.of(&machine.node_id).await.unwrap().unwrap();
    assert!(hold.sentence().contains("named a task"), "{}", hold.sentence());
    // It has restarted, and holds what the database says.
    rig.until_away().await;
    let agent = rig.connect(&machine, hello("boot-2", "")).await;
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.holds.of(&id).await.unwrap().is_none() }
    })
    .await;
    drop(agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_makes_tasks_up_fills_nothing() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    for number in 0..40 {
        let task_id = format!("01JZZZZZZZZZZZZZZZZZZZZZ{number:02}");
        agent
            .send(agent_message::Message::Step(step_event(
                &task_id,
                1,
                S::Write,
                K::Started,
            )))
            .await;
    }
    rig.until(|app| {
        let id = machine.node_id.clone();
        async move { app.holds.of(&id).await.unwrap().is_some() }
    })
    .await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM unknown_tasks")
        .fetch_one(&rig.app().db)
        .await
        .unwrap();
    assert!((1..=16).contains(&kept), "{kept}");
    assert_eq!(rig.count("alarm.restored-mismatch").await, 1);
}
