use imprint_proto::v1::{
    CreateDeploymentRequest, DeleteNodeRequest, deployments_client::DeploymentsClient,
    nodes_client::NodesClient,
};
use serde_json::Value;
use tonic::{Code, Request};

use super::rig::*;
use crate::testing::problem;

async fn delete(rig: &Rig, node: &str) -> reqwest::Response {
    let url = rig.server.url(&format!("/v1/nodes/{node}"));
    rig.server.client().delete(url).send().await.unwrap()
}

pub(super) fn with_token<T>(rig: &Rig, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", rig.server.token).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_forgotten_with_its_deployments_but_not_in_the_middle_of_one() {
    let rig = Rig::start().await;
    let (machine, mut agent) = rig.available().await;
    let deployment = rig.deploy(&machine).await;
    agent.task().await;
    let url = rig.server.url(&format!("/v1/nodes/{MAC}"));
    let stranger = rig.server.anonymous().build().unwrap();
    assert_eq!(stranger.delete(url).send().await.unwrap().status(), 401);
    let (status, kind, remedy) = problem(delete(&rig, MAC).await).await;
    assert_eq!((status, kind.as_str()), (409, "node-deploying"));
    assert!(remedy.contains("imprint deployment cancel"));

    agent
        .outcome(
            &deployment.task_id,
            failure(imprint_proto::agent::v1::Step::ClaimDisk, false),
        )
        .await;
    let deleted = delete(&rig, MAC).await;
    assert_eq!(deleted.status(), 200);
    let deleted: Value = deleted.json().await.unwrap();
    assert_eq!(deleted["id"], machine.node_id);
    assert_eq!(problem(delete(&rig, MAC).await).await.0, 404);
    for table in [
        "nodes",
        "node_macs",
        "deployments",
        "deployment_tasks",
        "deployment_steps",
    ] {
        let count = format!("SELECT COUNT(*) FROM {table}");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count))
            .fetch_one(&rig.app().db)
            .await
            .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(rig.count("node.deleted").await, 1);
    assert_eq!(rig.count("deployment.created").await, 1, "events stay");
    assert_eq!(agent.try_next().await.unwrap_err().code(), Code::Aborted);

    let again = rig.machine().await;
    assert_ne!(again.node_id, machine.node_id);
    assert_eq!(rig.count("node.discovered").await, 2);
    let mut nodes = NodesClient::new(rig.server.channel().await);
    let request = || DeleteNodeRequest {
        node: again.node_id.clone(),
    };
    let refused = nodes.delete_node(request()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let gone = nodes.delete_node(with_token(&rig, request())).await.unwrap();
    assert_eq!(gone.into_inner().id, again.node_id);
    let missing = nodes.delete_node(with_token(&rig, request())).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_can_ask_for_all_that_rest_callers_can() {
    let rig = Rig::start().await;
    let (machine, _) = rig.active().await;
    let mut client = DeploymentsClient::new(rig.server.channel().await);
    let request = CreateDeploymentRequest {
        node: machine.node_id.clone(),
        image: "debian".to_owned(),
        grow_root: Some(false),
        ..CreateDeploymentRequest::default()
    };
    let refused = client
        .create_deployment(with_token(&rig, request.clone()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let request = CreateDeploymentRequest {
        finish: Some(false),
        reinstall: true,
        ..request
    };
    let made = client
        .create_deployment(with_token(&rig, request))
        .await
        .unwrap()
        .into_inner();
    let deployment = rig.deployment(&made.id).await;
    assert_eq!((deployment.finish, deployment.grow_root), (false, false));
    rig.app().deployments.cancel(&admin(), &made.id).await.unwrap();

    let request = CreateDeploymentRequest {
        node: machine.node_id.clone(),
        image: "debian".to_owned(),
        reinstall: true,
        ..CreateDeploymentRequest::default()
    };
    let made = client
        .create_deployment(with_token(&rig, request))
        .await
        .unwrap()
        .into_inner();
    let deployment = rig.deployment(&made.id).await;
    assert_eq!((deployment.finish, deployment.grow_root), (true, true));
}
