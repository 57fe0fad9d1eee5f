//! The disk of the controller takes no writes for a while, as when it is full: nothing can be written down, so nothing is promised
//! and nothing is sent; afterwards everything goes on.

use jiff::SignedDuration;
use sqlx::AssertSqlSafe;

use super::{
    machine::{Machine, Power},
    rig::*,
};
use crate::{api::rest::problem::Problem, deploy::*, events::NewEvent, inventory::NodeState};

/// As many as the pool has, beside the one that changes go through.
const CONNECTIONS: usize = 8;

/// Nothing can be written to the database any more, or it can again.
async fn limit(rig: &Rig, full: bool) {
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        all.push(rig.app().db.acquire().await.unwrap());
    }
    all.push(rig.app().events.writer().line().acquire().await.unwrap());
    for connection in &mut all {
        sqlx::query(AssertSqlSafe(format!("PRAGMA query_only = {full}")))
            .execute(&mut **connection)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_disk_stops_everything_and_loses_nothing() {
    let rig = Rig::start().await;
    // Full at each point of a deployment, one server after the other.
    for point in 0..12 {
        let mut machine = Machine::in_service(&rig, point).await;
        let request = DeployRequest {
            node: machine.node_id.clone(),
            image: "debian".to_owned(),
            ..DeployRequest::default()
        };
        let deployments = rig.app().deployments.clone();
        let (mut asked, mut refused) = (None, 0);
        for tick in 0..60 {
            rig.clock.advance(SignedDuration::from_secs(5));
            let full = (point..point + 3).contains(&tick);
            if tick == point {
                limit(&rig, true).await;
            } else if tick == point + 3 {
                limit(&rig, false).await;
            }
            if asked.is_none() {
                match deployments
                    .create(&admin(), &request, Some(&format!("full-{point}")))
                    .await
                {
                    Ok(deployment) => asked = Some(deployment.id),
                    Err(error) => {
                        assert!(full, "refused with room: {error:?}");
                        refused += 1;
                    }
                }
            } else {
                match machine.power {
                    Power::Off => machine.boots(&rig).await,
                    Power::System => drop(machine.reports(&rig).await),
                    Power::Ramdisk(_) => machine.agent(&rig).await,
                }
                // What could not be kept is tried again.
                drop(deployments.reconcile().await);
            }
            if machine.alone {
                assert!(full, "a call fails with room, at point {point}");
                machine.alone = false;
                refused += 1;
            }
            if asked.is_some() && !full {
                machine.check(&rig).await;
            }
        }
        let id = asked.expect("the order was taken");
        assert_eq!(
            machine.node(&rig).await.state,
            NodeState::Active,
            "full at point {point}"
        );
        assert_eq!(machine.begun.get(&id), Some(&1), "full at point {point}");
        assert!(refused > 0 || point > 10, "nothing was refused at point {point}");
    }
}

async fn pages(rig: &Rig, most: &str) {
    let mut line = rig.app().events.writer().line().acquire().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {most}")))
        .execute(&mut *line)
        .await
        .unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_disk_is_named_to_whoever_asks_and_leaves_nothing_behind() {
    let rig = Rig::start().await;
    // SQLite takes as many pages as there are.
    pages(&rig, "1").await;
    let long = NewEvent {
        kind: "test.long",
        node_id: None,
        deployment_id: None,
        message: "x".repeat(100_000),
        details: serde_json::json!({}),
    };
    for _ in 0..100 {
        let Err(error) = rig.app().events.append(long.clone()).await else {
            continue;
        };
        let problem = Problem::from(error);
        assert_eq!(
            (problem.kind, problem.status.as_u16()),
            ("controller-disk-full", 507)
        );
        assert!(problem.remedy.contains("Make room"), "{}", problem.remedy);
        pages(&rig, "1000000000").await;
        rig.app().events.append(long).await.unwrap();
        return;
    }
    panic!("the disk is never full");
}
