//! Batches that somebody asks for twice, that lose their controller, have nodes in maintenance, or fail too often.

use imprint_proto::v1::{CreateBatchRequest, CreateDeploymentRequest, batches_client::BatchesClient};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    batches::{batch_of, nodes, queued},
    rig::*,
};
use crate::{
    deploy::*,
    inventory::NodeState,
    testing::{crash, problem},
};

async fn rows(rig: &Rig, table: &'static str) -> i64 {
    let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(count).fetch_one(&rig.app().db).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_one_batch() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 4).await;
    let mut body =
        json!({ "nodes": ids[..3], "deployment": { "node": "", "image": "debian" }, "at_once": 1 });
    let send = async |path: &str, body: &Value| {
        let request = rig.server.client().post(rig.server.url(path));
        let request = request.header("Idempotency-Key", "k1");
        request.json(body).send().await.unwrap()
    };
    let first = send("/v1/batches", &body).await;
    assert_eq!(first.status(), 201);
    let first: Value = first.json().await.unwrap();
    let second: Value = send("/v1/batches", &body).await.json().await.unwrap();
    assert_eq!(first, second);
    assert_eq!(second["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(second["counts"]["refused"], 0);

    let repeated = body.clone();
    // The key is that of this request alone, whatever else is asked for.
    body["at_once"] = 2.into();
    let (status, kind, _) = problem(send("/v1/batches", &body).await).await;
    assert_eq!((status, kind.as_str()), (422, "idempotency-key-reused"));
    let alone = json!({ "node": ids[0], "image": "debian" });
    let (status, kind, _) = problem(send("/v1/deployments", &alone).await).await;
    assert_eq!((status, kind.as_str()), (422, "idempotency-key-reused"));
    assert_eq!(
        (rows(&rig, "batches").await, rows(&rig, "deployments").await),
        (1, 3)
    );
    assert_eq!(rig.count("batch.created").await, 1);

    // It is recognised after a restart as well, and over gRPC.
    let rig = rig.restart().await;
    let asked: BatchRequest = serde_json::from_value(repeated).unwrap();
    let third = rig
        .app()
        .deployments
        .create_batch(&admin(), &asked, Some("k1"))
        .await
        .unwrap();
    assert_eq!(first["id"], third.id);
    let mut client = BatchesClient::new(rig.server.channel().await);
    let bearer = format!("Bearer {}", rig.server.token);
    let mut made = Vec::new();
    for _ in 0..2 {
        let mut request = tonic::Request::new(CreateBatchRequest {
            nodes: vec![ids[3].clone()],
            deployment: Some(CreateDeploymentRequest {
                image: "debian".to_owned(),
                ..CreateDeploymentRequest::default()
            }),
            ..CreateBatchRequest::default()
        });
        let metadata = request.metadata_mut();
        metadata.insert("authorization", bearer.parse().unwrap());
        metadata.insert("idempotency-key", "k2".parse().unwrap());
        made.push(client.create_batch(request).await.unwrap().into_inner().id);
    }
    assert_eq!(made[0], made[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_request_that_is_done() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 2).await;
    let deployments = &rig.app().deployments;
    let mut asked = batch_of(&ids);
    asked.deployment.user_data = Some("#cloud-config\npassword: secret\n".to_owned());
    asked.deployment.image = "nothing".to_owned();
    // Refused as a whole, as often as it is asked.
    for _ in 0..2 {
        let refused = deployments.create_batch(&admin(), &asked, Some("k")).await;
        assert!(matches!(&refused, Err(DeployError::Fault(_))), "{refused:?}");
        assert_eq!(rows(&rig, "idempotency_keys").await, 0);
        assert_eq!(
            (rows(&rig, "batches").await, rows(&rig, "batch_requests").await),
            (0, 0)
        );
    }
    asked.deployment.image = "debian".to_owned();
    deployments
        .create_batch(&admin(), &asked, Some("k"))
        .await
        .unwrap();
    assert_eq!(
        (
            rows(&rig, "batch_pending").await,
            rows(&rig, "batch_requests").await
        ),
        (0, 0)
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_batch_is_made_though_its_controller_died_and_nobody_asks_again() {
    let mut rig = Rig::start().await;
    let ids = nodes(&rig, 3).await;
    let mut asked = batch_of(&ids);
    asked.nodes.insert(1, "nobody".to_owned());
    let mut n = 0;
    loop {
        n += 1;
        let before = rows(&rig, "batches").await;
        let told = rig.count("batch.created").await;
        crash::at(n);
        let answer = rig.app().deployments.create_batch(&admin(), &asked, None).await;
        let died = crash::never();
        assert!(died || answer.is_ok(), "{answer:?}");
        rig = rig.restart().await;
        let deployments = &rig.app().deployments;
        deployments.reconcile().await.unwrap();
        // Until the batch is written down, nothing is.
        let made = rows(&rig, "batches").await - before;
        assert_eq!(made, i64::from(n > 1), "killed at place {n}");
        assert_eq!(rows(&rig, "batch_requests").await, 0, "killed at place {n}");
        if made == 1 {
            assert_eq!(rig.count("batch.created").await, told + 1, "killed at place {n}");
            let newest = deployments.batches(&Viewer::All).await.unwrap().remove(0);
            assert_eq!(newest.refused.len(), 1);
            assert_eq!(newest.refused[0].node, "nobody");
            let counts = (newest.counts.running, newest.counts.queued);
            assert_eq!(counts, (2, 1), "killed at place {n}");
            let ended = deployments
                .cancel_batch(&admin(), &newest.id, true)
                .await
                .unwrap();
            assert!(ended.ended && ended.counts.cancelled == 3, "{ended:?}");
        }
        if !died {
            break;
        }
    }
    assert!(n > 8, "a batch has only {n} places");
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_not_made_yet_is_not_made_in_a_batch_that_was_stopped() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 3).await;
    // Written down, and no more.
    crash::at(2);
    let answer = rig
        .app()
        .deployments
        .create_batch(&admin(), &batch_of(&ids), None)
        .await;
    assert!(answer.is_err() && crash::never());
    let rig = rig.restart().await;
    let deployments = &rig.app().deployments;
    let batch = deployments.batches(&Viewer::All).await.unwrap().remove(0);
    assert!(!batch.ended && batch.counts.queued == 3, "{batch:?}");
    let stopped = deployments
        .cancel_batch(&admin(), &batch.id, false)
        .await
        .unwrap();
    assert!(stopped.ended && stopped.counts.refused == 3, "{stopped:?}");
    assert_eq!(stopped.refused[0].problem, "batch-stopped");
    for id in &ids {
        assert_eq!(rig.app().nodes.get(id).await.unwrap().state, NodeState::Available);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_calls_begins_nothing_after_too_many_failures() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 3).await;
    let deployments = &rig.app().deployments;
    let asked = BatchRequest {
        stop_after: Some(1),
        ..batch_of(&ids)
    };
    let batch = deployments.create_batch(&admin(), &asked, None).await.unwrap();
    assert_eq!(queued(&batch), [false, false, true]);
    // The first one fails; before the reconciler looks at the batch, the agent of the last one calls.
    rig.clock.advance(SignedDuration::from_mins(31));
    deployments.advance(&batch.nodes[0].deployment_id).await.unwrap();
    deployments.advance(&batch.nodes[2].deployment_id).await.unwrap();
    let now = deployments.batch(&Viewer::All, &batch.id).await.unwrap();
    assert_eq!(now.nodes[0].state, DeploymentState::Failed);
    assert_eq!(queued(&now), [false, false, true]);
    deployments.reconcile().await.unwrap();
    let now = deployments.batch(&Viewer::All, &batch.id).await.unwrap();
    assert_eq!(now.nodes[2].state, DeploymentState::Cancelled);
    assert!(now.stop_reason.contains("have failed"), "{now:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_on_a_node_in_maintenance_and_others_go_before_it() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 3).await;
    let (deployments, known) = (&rig.app().deployments, &rig.app().nodes);
    let asked = BatchRequest {
        at_once: Some(1),
        ..batch_of(&ids)
    };
    let batch = deployments.create_batch(&admin(), &asked, None).await.unwrap();
    let stands = async || queued(&deployments.batch(&Viewer::All, &batch.id).await.unwrap());
    assert_eq!(stands().await, [false, true, true]);
    known
        .set_maintenance(&admin(), &ids[1], Some("new memory"))
        .await
        .unwrap();
    let why = deployments.why(&Viewer::All, &ids[1]).await.unwrap();
    assert!(
        why.summary.contains("new memory") && why.deadline.is_some(),
        "{why:?}"
    );
    let waits_for = why.waiting_for.unwrap();
    assert!(waits_for.contains("the maintenance of its node"), "{waits_for}");
    let why = deployments.why(&Viewer::All, &ids[2]).await.unwrap();
    assert!(why.summary.contains("it is the next"), "{}", why.summary);

    // It keeps nobody from his turn, and its agent changes nothing by calling.
    for ended in [0, 2] {
        deployments
            .cancel(&admin(), &batch.nodes[ended].deployment_id)
            .await
            .unwrap();
        deployments.reconcile().await.unwrap();
        assert_eq!(stands().await, [false, true, false]);
    }
    deployments.advance(&batch.nodes[1].deployment_id).await.unwrap();
    assert_eq!(stands().await, [false, true, false]);
    known.set_maintenance(&admin(), &ids[1], None).await.unwrap();
    deployments.reconcile().await.unwrap();
    assert_eq!(stands().await, [false, false, false]);
    let now = deployments.batch(&Viewer::All, &batch.id).await.unwrap();
    assert_eq!((now.counts.running, now.counts.cancelled), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_has_a_deadline_in_maintenance_as_well() {
    let rig = Rig::start().await;
    let ids = nodes(&rig, 2).await;
    let (deployments, known) = (&rig.app().deployments, &rig.app().nodes);
    let asked = BatchRequest {
        at_once: Some(1),
        stop_after: None,
        ..batch_of(&ids)
    };
    let batch = deployments.create_batch(&admin(), &asked, None).await.unwrap();
    known
        .set_maintenance(&admin(), &ids[1], Some("new memory"))
        .await
        .unwrap();
    rig.clock.advance(SignedDuration::from_hours(24 * 7 - 1));
    deployments.reconcile().await.unwrap();
    let now = deployments.batch(&Viewer::All, &batch.id).await.unwrap();
    assert_eq!(queued(&now), [false, true]);
    rig.clock.advance(SignedDuration::from_hours(2));
    deployments.reconcile().await.unwrap();
    let now = deployments.batch(&Viewer::All, &batch.id).await.unwrap();
    assert!(
        now.ended && now.nodes[1].state == DeploymentState::Failed,
        "{now:?}"
    );
    let cause = &now.nodes[1].problem.as_ref().unwrap().cause;
    assert!(cause.contains("maintenance"), "{cause}");
}
