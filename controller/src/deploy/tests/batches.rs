//! Batches: some at a time, no more after too many failures, and a report of each node.

use imprint_proto::agent::v1 as wire;
use jiff::SignedDuration;

use super::rig::*;
use crate::{deploy::*, inventory::NodeState};

/// Nodes in service that nobody has connected to.
pub(super) async fn nodes(rig: &Rig, count: u64) -> Vec<String> {
    let mut ids = Vec::new();
    for index in 0..count {
        let fingerprint = wire::Fingerprint {
            smbios_uuid: format!("9f1b0000-2222-4333-8444-2000000000{index:02}"),
            smbios_serial: format!("BATCH-{index}"),
            macs: vec![format!("52:54:00:ba:00:{index:02}")],
        };
        let known = &rig.app().nodes;
        let node = known.enroll(&fingerprint, "0.1.0").await.unwrap();
        known
            .record_inventory(&node.id, &inventory().into())
            .await
            .unwrap();
        known.approve(&admin(), &node.id, None).await.unwrap();
        ids.push(node.id);
    }
    ids
}

pub(super) fn batch_of(nodes: &[String]) -> BatchRequest {
    BatchRequest {
        nodes: nodes.to_vec(),
        deployment: DeployRequest {
            image: "debian".to_owned(),
            ..DeployRequest::default()
        },
        at_once: Some(2),
        stop_after: Some(2),
    }
}

pub(super) fn queued(batch: &Batch) -> Vec<bool> {
    batch.nodes.iter().map(|node| node.queued).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_lets_some_run_at_a_time() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 4).await;
    let deployments = &rig.app().deployments;
    let mut asked = batch_of(&ids);
    asked.nodes.push("nobody".to_owned());
    let batch = deployments.create_batch(&admin(), &asked, None).await.unwrap();
    assert_eq!(queued(&batch), [false, false, true, true]);
    assert_eq!(
        (batch.counts.running, batch.counts.queued, batch.counts.refused),
        (2, 2, 1)
    );
    assert_eq!(batch.refused[0].problem, "node-not-found");
    assert!(!batch.refused[0].remedy.is_empty());
    for id in &ids {
        assert_eq!(rig.app().nodes.get(id).await.unwrap().state, NodeState::Deploying);
    }
    let why = deployments.why(&Viewer::All, &ids[3]).await.unwrap();
    assert!(
        why.summary.contains("waits for its turn") && why.deadline.is_some(),
        "{}",
        why.summary
    );

    // What ends makes room for the next, also after a restart of the controller.
    deployments
        .cancel(&admin(), &batch.nodes[0].deployment_id)
        .await
        .unwrap();
    let rig = rig.restart().await;
    let deployments = &rig.app().deployments;
    deployments.reconcile().await.unwrap();
    let now = deployments.batch(&Viewer::All, &batch.id).await.unwrap();
    assert_eq!(queued(&now), [false, false, false, true]);
    assert_eq!((now.counts.running, now.counts.cancelled), (2, 1));
    assert!(!now.ended);
    let kinds: Vec<_> = rig.events().await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "deployment.turn").count(), 3);
    assert_eq!(kinds.iter().filter(|kind| *kind == "batch.created").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_failures_stop_a_batch_and_leave_the_rest_alone() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 5).await;
    let deployments = &rig.app().deployments;
    let batch = deployments
        .create_batch(&admin(), &batch_of(&ids), None)
        .await
        .unwrap();
    // Neither of the first two ever boots.
    rig.clock.advance(SignedDuration::from_mins(31));
    deployments.reconcile().await.unwrap();
    deployments.reconcile().await.unwrap();
    let now = deployments.batch(&Viewer::All, &batch.id).await.unwrap();
    assert!(
        now.ended && now.stop_reason.contains("2 of its deployments have failed"),
        "{now:?}"
    );
    assert_eq!(
        (now.counts.failed, now.counts.cancelled, now.counts.queued),
        (2, 3, 0)
    );
    for node in &now.nodes {
        let expected = if node.state == DeploymentState::Failed {
            assert!(node.problem.is_some());
            NodeState::Failed
        } else {
            NodeState::Available
        };
        assert_eq!(rig.app().nodes.get(&node.node_id).await.unwrap().state, expected);
    }
    assert_eq!(rig.count("batch.stopped").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_stops_a_batch() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 3).await;
    let deployments = &rig.app().deployments;
    let asked = BatchRequest {
        at_once: Some(1),
        ..batch_of(&ids)
    };
    let batch = deployments.create_batch(&admin(), &asked, None).await.unwrap();
    let stopped = deployments
        .cancel_batch(&admin(), &batch.id, false)
        .await
        .unwrap();
    assert_eq!((stopped.counts.running, stopped.counts.cancelled), (1, 2));
    let stopped = deployments.cancel_batch(&admin(), &batch.id, true).await.unwrap();
    assert!(stopped.ended && stopped.counts.cancelled == 3, "{stopped:?}");
    // Asked for once more, it stays as it is.
    assert_eq!(
        deployments.cancel_batch(&admin(), &batch.id, true).await.unwrap(),
        stopped
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_refused_before_anything_is_begun() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 2).await;
    let good = batch_of(&ids);
    let with = |change: &dyn Fn(&mut BatchRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let deployments = &rig.app().deployments;
    for bad in [
        with(&|it| it.nodes.clear()),
        with(&|it| it.nodes = vec![ids[0].clone(); 501]),
        with(&|it| it.at_once = Some(0)),
        with(&|it| it.deployment.node = "n".to_owned()),
        with(&|it| it.deployment.hostname = Some("one".to_owned())),
        with(&|it| it.deployment.dry_run = true),
    ] {
        let refused = deployments.create_batch(&admin(), &bad, None).await;
        assert!(matches!(&refused, Err(DeployError::BadTerms(_))), "{refused:?}");
    }
    assert_eq!(rig.count("batch.created").await, 0);
    // None of its nodes can have the image: the reason is the answer, and nothing is left behind.
    let none = with(&|it| it.deployment.image = "nothing".to_owned());
    let refused = deployments.create_batch(&admin(), &none, None).await;
    assert!(
        matches!(&refused, Err(DeployError::Fault(problem)) if problem.kind == "image-not-found"),
        "{refused:?}"
    );
    for id in &ids {
        assert_eq!(rig.app().nodes.get(id).await.unwrap().state, NodeState::Available);
    }
    assert!(deployments.batches(&Viewer::All).await.unwrap().is_empty());
}
