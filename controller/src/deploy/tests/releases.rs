//! Releases: the disks are wiped, with proof, or the node says why not.

use imprint_proto::agent::v1::{self as wire, Step as S, StepKind as K, outcome, task::Kind};
use jiff::SignedDuration;

use super::rig::*;
use crate::{
    deploy::*,
    inventory::{InventoryError, Node, NodeState},
};

async fn node(rig: &Rig, machine: &Machine) -> Node {
    rig.app().nodes.get(&machine.node_id).await.unwrap()
}

async fn release(rig: &Rig, machine: &Machine) -> Result<Deployment, DeployError> {
    let request = ReleaseRequest {
        wipe: Some(WipeMethod::Overwrite),
        leave: vec!["transport=sas".to_owned()],
    };
    rig.app()
        .deployments
        .release(&admin(), &machine.node_id, &request)
        .await
}

fn certificate(serial: &str, wiped: bool) -> wire::WipeCertificate {
    wire::WipeCertificate {
        disk: Some(wire::Disk {
            serial: serial.to_owned(),
            size_bytes: 1 << 30,
            ..wire::Disk::default()
        }),
        policy: wire::WipePolicy::Overwrite.into(),
        method: wire::WipeMethod::Overwrite.into(),
        wiped,
        bytes_overwritten: 1 << 30,
        samples: Some(wire::WipeSamples {
            seed: vec![7; 32],
            count: 64,
            as_expected: if wiped { 64 } else { 63 },
            expected: wire::WipeExpectation::Zeroes.into(),
            wrong_at_bytes: (!wiped).then_some(4096),
            ..wire::WipeSamples::default()
        }),
        statement: "Every byte that can be addressed reads as zero in 64 samples.".to_owned(),
        ..wire::WipeCertificate::default()
    }
}

fn wipe_of(task: &wire::Task) -> &wire::WipeTask {
    match &task.kind {
        Some(Kind::Wipe(wipe)) => wipe,
        other => panic!("no task that wipes: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_wipes_and_keeps_the_proof() {
    let rig = Rig::start().await;
    let (machine, installed) = rig.active().await;
    let begun = release(&rig, &machine).await.unwrap();
    assert_eq!(
        (begun.purpose, begun.state),
        (Purpose::Release, DeploymentState::Running)
    );
    assert_eq!(node(&rig, &machine).await.state, NodeState::Releasing);
    assert!(rig.boots_ramdisk().await, "it is wiped from the ramdisk");
    // Asked for twice, it is the same.
    assert_eq!(release(&rig, &machine).await.unwrap().id, begun.id);
    let why = rig
        .app()
        .deployments
        .why(&Viewer::All, &machine.node_id)
        .await
        .unwrap();
    assert!(
        why.summary.contains("wiped") && why.deadline.is_some(),
        "{}",
        why.summary
    );

    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    let wipe = wipe_of(&task);
    assert_eq!(wipe.release_id, begun.id);
    assert_eq!(wipe.policy(), wire::WipePolicy::Overwrite);
    assert!(wipe.all_local_disks && wipe.leave == ["transport=sas"]);
    agent.step(&task.task_id, S::Wipe, K::Started).await;
    let (success, proof) = (wire::Success::default(), vec![certificate("D1", true)]);
    agent
        .certified(&task.task_id, outcome::Result::Success(success), proof)
        .await;
    let ended = rig.deployment(&begun.id).await;
    assert_eq!(
        (ended.state, ended.disk_state),
        (DeploymentState::Succeeded, DiskState::Wiped)
    );
    assert_eq!(node(&rig, &machine).await.state, NodeState::Available);
    assert_eq!(rig.count("node.released").await, 1);

    // What was there before has no say any more, and is no system that a later failure would leave in service.
    let report = rig
        .report(&"0".repeat(64), first_boot(&installed, "boot-1"))
        .await;
    assert!(report.is_err());
    drop(agent);
    rig.until_away().await;
    let next = rig.deploy(&machine).await;
    rig.app().deployments.cancel(&admin(), &next.id).await.unwrap();
    assert_eq!(node(&rig, &machine).await.state, NodeState::Available);

    let page = rig
        .app()
        .deployments
        .wipe_certificates(
            &Viewer::All,
            Some(&node(&rig, &machine).await.name),
            Some("D1"),
            0,
            None,
        )
        .await
        .unwrap();
    let [kept] = page.items.as_slice() else {
        panic!("{page:?}")
    };
    assert!(kept.document.wiped && kept.document.method == "overwrite" && kept.document.asked == "overwrite");
    assert_eq!(kept.document.samples.as_ref().unwrap().seed, "07".repeat(32));
    assert_eq!(kept.deployment_id, begun.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_nothing_but_volumes_has_nothing_to_prove() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let bare = wire::Inventory {
        disks: Vec::new(),
        ..inventory()
    };
    let nodes = &rig.app().nodes;
    nodes
        .record_inventory(&machine.node_id, &bare.into())
        .await
        .unwrap();
    release(&rig, &machine).await.unwrap();
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let task = agent.task().await;
    assert!(wipe_of(&task).allow_no_disk);
    let success = outcome::Result::Success(wire::Success::default());
    agent.certified(&task.task_id, success, Vec::new()).await;
    assert_eq!(node(&rig, &machine).await.state, NodeState::Available);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wipe_that_is_not_proven_is_a_failure() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let failure = failure(S::Wipe, false);
    let success = || outcome::Result::Success(wire::Success::default());
    let cases = [
        ("no certificate", success(), vec![]),
        (
            "one disk of two",
            success(),
            vec![certificate("D1", true), certificate("D2", false)],
        ),
        ("a failure", failure, vec![certificate("D1", false)]),
    ];
    for (boot, (name, result, proof)) in cases.into_iter().enumerate() {
        let begun = release(&rig, &machine).await.unwrap();
        let mut agent = rig
            .connect(&machine, hello(&format!("boot-{}", boot + 2), ""))
            .await;
        let task = agent.task().await;
        agent.step(&task.task_id, S::Wipe, K::Started).await;
        agent.certified(&task.task_id, result, proof).await;
        let ended = rig.deployment(&begun.id).await;
        assert_eq!(ended.state, DeploymentState::Failed, "{name}");
        let now = node(&rig, &machine).await;
        assert_eq!(now.state, NodeState::Failed, "{name}");
        assert_eq!(now.problem.unwrap().step, "wipe", "{name}");
        drop(agent);
        rig.until_away().await;
    }
    let all = rig
        .app()
        .deployments
        .wipe_certificates(&Viewer::All, None, None, 0, None);
    let all = all.await.unwrap().items;
    assert_eq!(all.len(), 3);
    assert_eq!(all.iter().filter(|one| !one.document.wiped).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_nobody_heard_of_leaves_the_node_as_it_was() {
    let rig = Rig::start().await;
    let (machine, installed) = rig.active().await;
    // Its time is over, and an operator takes it back.
    for cancelled in [false, true] {
        let begun = release(&rig, &machine).await.unwrap();
        if cancelled {
            rig.app().deployments.cancel(&admin(), &begun.id).await.unwrap();
        } else {
            rig.clock.advance(SignedDuration::from_mins(30));
            rig.app().deployments.reconcile().await.unwrap();
        }
        let now = node(&rig, &machine).await;
        assert_eq!(now.state, NodeState::Active);
        assert_eq!(now.deployment_id.as_deref(), Some(installed.id.as_str()));
        assert!(!rig.boots_ramdisk().await, "it goes back to its system");
        let ended = rig.deployment(&begun.id).await;
        if let Some(problem) = ended.problem {
            assert!(problem.remedy.contains("release it again"), "{}", problem.remedy);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_takes_a_node_meanwhile() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let begun = release(&rig, &machine).await.unwrap();
    let deployments = &rig.app().deployments;
    let again = DeployRequest {
        reinstall: Some(true),
        ..request(&machine)
    };
    let refused = deployments.create(&admin(), &again, None).await;
    assert!(matches!(&refused, Err(DeployError::Refused(_))), "{refused:?}");
    let retired = rig.app().nodes.retire(&admin(), &machine.node_id).await;
    assert!(
        matches!(&retired, Err(InventoryError::Taken { .. })),
        "{retired:?}"
    );
    // The database itself knows no second one.
    let columns = "node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest, disk_size_bytes, \
                   logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id, phase_since, moved_at, created_at";
    let twin = sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO deployments (id, {columns}) SELECT 'x', {columns} FROM deployments WHERE id = ?"
    )))
    .bind(&begun.id)
    .execute(&rig.app().db)
    .await;
    assert!(twin.unwrap_err().to_string().contains("UNIQUE"));

    // In maintenance nothing is begun.
    deployments.cancel(&admin(), &begun.id).await.unwrap();
    let nodes = &rig.app().nodes;
    nodes
        .set_maintenance(&admin(), &machine.node_id, Some("new memory"))
        .await
        .unwrap();
    let refused = release(&rig, &machine).await;
    assert!(
        matches!(
            &refused,
            Err(DeployError::Node(InventoryError::InMaintenance { .. }))
        ),
        "{refused:?}"
    );
    let refused = deployments.create(&admin(), &again, None).await;
    assert!(matches!(&refused, Err(DeployError::Refused(_))), "{refused:?}");
    let why = deployments.why(&Viewer::All, &machine.node_id).await.unwrap();
    assert!(why.summary.contains("new memory"), "{}", why.summary);
    nodes
        .set_maintenance(&admin(), &machine.node_id, None)
        .await
        .unwrap();
    release(&rig, &machine).await.unwrap();
    let bad = ReleaseRequest {
        leave: vec!["colour=red".to_owned()],
        ..ReleaseRequest::default()
    };
    let refused = deployments.release(&admin(), &machine.node_id, &bad).await;
    assert!(matches!(&refused, Err(DeployError::BadTerms(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_in_mid_wipe_is_wiped_from_the_beginning() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let begun = release(&rig, &machine).await.unwrap();
    let mut agent = rig.connect(&machine, hello("boot-2", "")).await;
    let first = agent.task().await;
    agent.step(&first.task_id, S::Wipe, K::Started).await;
    drop(agent);
    rig.until_away().await;
    let mut agent = rig.connect(&machine, hello("boot-3", "")).await;
    let second = agent.task().await;
    assert_ne!(first.task_id, second.task_id);
    wipe_of(&second);
    assert_eq!(rig.deployment(&begun.id).await.attempt, 2);
    // What was begun cannot be taken back: the node is not what it was.
    agent.step(&second.task_id, S::Wipe, K::Started).await;
    rig.app().deployments.cancel(&admin(), &begun.id).await.unwrap();
    agent.cancelled().await;
    let stopped = outcome::Result::Cancelled(wire::Cancelled { head_cleared: false });
    agent
        .certified(&second.task_id, stopped, vec![certificate("D1", false)])
        .await;
    let now = node(&rig, &machine).await;
    assert_eq!(now.state, NodeState::Failed);
    assert!(now.problem.unwrap().remedy.contains("Release the node again"));
}
