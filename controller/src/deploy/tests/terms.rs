//! Images of others: who may deploy them, when that ends, and what it costs.

use imprint_proto::agent::v1::{Step, StepKind};

use super::rig::*;
use crate::{
    api::rest::problem::Problem,
    catalog::{Image, ImageSpec, MemberState, UsageKind, UsageQuery, UsageRecord, Visibility},
    deploy::{DeployError, DeployRequest, Deployment, Preflight},
    identity::{Caller, Role, Viewer},
    store::StoreObject,
    testing::{made, project},
};

struct Parties {
    rig: Rig,
    machine: Machine,
    agent: FakeAgent,
    owner: Caller,
    user: Caller,
    image: Image,
}

/// An image of one project, and a machine of another.
async fn parties() -> Parties {
    let rig = Rig::start().await;
    let (machine, agent) = rig.available().await;
    let (a, b) = (project(rig.app(), "a").await, project(rig.app(), "b").await);
    sqlx::query("UPDATE nodes SET project_id = ?")
        .bind(&b)
        .execute(&rig.app().db)
        .await
        .unwrap();
    let owner = Caller::for_test(&a, Role::Member);
    let image = made(rig.app(), &owner, &ImageSpec::named("shop"), &[9; 4096]).await;
    Parties {
        rig,
        machine,
        agent,
        owner,
        user: Caller::for_test(&b, Role::Member),
        image,
    }
}

impl Parties {
    async fn deploy(&self) -> Result<Deployment, DeployError> {
        let request = DeployRequest {
            node: self.machine.node_id.clone(),
            image: "shop".to_owned(),
            reinstall: Some(true),
            ..DeployRequest::default()
        };
        self.rig
            .app()
            .deployments
            .create(&self.user, &request, None)
            .await
    }

    async fn refused(&self) -> Problem {
        self.deploy().await.unwrap_err().into()
    }

    async fn preflight(&self, by: &Caller) -> Preflight {
        let node = Some(self.machine.node_id.as_str());
        let deployments = &self.rig.app().deployments;
        deployments.preflight(by, "shop", node, None).await.unwrap()
    }

    async fn share(&self) {
        let (catalog, to) = (&self.rig.app().catalog, [self.user.project_id.clone()]);
        catalog.invite(&self.owner, "shop", &to).await.unwrap();
    }

    async fn accept(&self) {
        let catalog = &self.rig.app().catalog;
        catalog
            .answer_invitation(&self.user, "shop", "own", MemberState::Accepted)
            .await
            .unwrap();
    }

    async fn set(&self, change: &'static str) {
        let mut sql = sqlx::QueryBuilder::<sqlx::Sqlite>::new("UPDATE images SET ");
        sql.push(change)
            .push(" WHERE id = ")
            .push_bind(self.image.id.clone());
        sql.build().execute(&self.rig.app().db).await.unwrap();
    }

    async fn records(&self) -> Vec<UsageRecord> {
        let query = UsageQuery {
            from: Some(jiff::Timestamp::UNIX_EPOCH),
            to: Some(jiff::Timestamp::MAX),
            ..UsageQuery::default()
        };
        let page = self
            .rig
            .app()
            .catalog
            .usage_records(&Viewer::All, &query)
            .await
            .unwrap();
        let records = page.items.into_iter();
        records
            .filter(|record| record.kind != UsageKind::Storage)
            .collect()
    }

    /// Lets the agent do its work, to the report of the installed system.
    async fn finish(&mut self, deployment: &Deployment) {
        let task = self.agent.task().await;
        self.agent
            .step(&task.task_id, Step::Write, StepKind::Started)
            .await;
        self.agent.outcome(&task.task_id, success(deployment)).await;
        let report = first_boot(deployment, "b1");
        self.rig
            .report(&report_token(&task), report.clone())
            .await
            .unwrap();
        // A report that is sent again costs nothing again.
        self.rig.report(&report_token(&task), report).await.unwrap();
    }
}

/// The conditions that do not hold, with their slugs.
fn against(preflight: &Preflight) -> Vec<(&'static str, &'static str)> {
    let against = preflight.conditions.iter().filter(|condition| !condition.holds);
    let against: Vec<_> = against
        .inspect(|condition| assert!(!condition.detail.is_empty() && !condition.remedy.is_empty()))
        .map(|condition| (condition.condition, condition.kind.unwrap()))
        .collect();
    assert_eq!(preflight.ready, against.is_empty());
    against
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_52_56_67_an_image_of_others_is_deployed_from_acceptance_to_the_end_of_sharing() {
    let mut parties = parties().await;
    assert_eq!(parties.refused().await.kind, "image-not-found");
    parties.share().await;
    let problem = parties.refused().await;
    assert_eq!(
        (problem.status.as_u16(), problem.kind),
        (409, "image-not-accepted")
    );
    assert!(
        problem.remedy.contains("imprint image accept"),
        "{}",
        problem.remedy
    );
    let preflight = parties.preflight(&parties.user).await;
    assert_eq!(against(&preflight), [("accepted", "image-not-accepted")]);
    parties.accept().await;
    assert!(against(&parties.preflight(&parties.user).await).is_empty());

    let deployment = parties.deploy().await.unwrap();
    let task = parties.agent.task().await;
    let manifest = StoreObject::Manifest(deployment.manifest.parse().unwrap());
    let (app, node) = (parties.rig.app().clone(), parties.machine.node_id.clone());
    assert!(app.deployments.store_access(&node, &manifest).await);
    // Taken back: what runs goes on to its end, nothing new begins.
    app.catalog
        .remove_member(&parties.owner, "shop", &parties.user.project_id)
        .await
        .unwrap();
    assert!(app.deployments.store_access(&node, &manifest).await);
    parties
        .agent
        .step(&task.task_id, Step::Write, StepKind::Started)
        .await;
    parties.agent.outcome(&task.task_id, success(&deployment)).await;
    parties
        .rig
        .report(&report_token(&task), first_boot(&deployment, "b1"))
        .await
        .unwrap();
    let ended = parties.rig.deployment(&deployment.id).await;
    assert_eq!(ended.state, crate::deploy::DeploymentState::Succeeded);
    assert_eq!(parties.refused().await.kind, "image-not-found");
    // An image of no price costs its server and nothing else.
    let records = parties.records().await;
    assert_eq!(records.len(), 1);
    assert_eq!(
        (
            records[0].kind,
            records[0].deployment_id.as_deref(),
            &records[0].project_id
        ),
        (
            UsageKind::Server,
            Some(deployment.id.as_str()),
            &parties.user.project_id
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_81_82_a_paid_image_needs_an_entitlement_and_is_billed_beside_the_server() {
    let mut parties = parties().await;
    parties
        .set(r#"visibility = 'marketplace', price = '{"amount":"0.05","currency":"EUR","per":"deployment"}'"#)
        .await;
    let problem = parties.refused().await;
    assert_eq!(
        (problem.status.as_u16(), problem.kind),
        (403, "image-needs-entitlement")
    );
    assert!(
        problem.detail.contains("0.05 EUR per deployment"),
        "{}",
        problem.detail
    );
    let preflight = parties.preflight(&parties.user).await;
    assert_eq!(against(&preflight), [("entitlement", "image-needs-entitlement")]);
    let app = parties.rig.app().clone();
    // Nobody gives it to himself.
    let own = app.catalog.entitle(&parties.user, "shop", "own").await;
    assert!(own.is_err());
    app.catalog
        .entitle(&parties.owner, "shop", &parties.user.project_id)
        .await
        .unwrap();
    assert_eq!(
        app.catalog
            .entitlements(&parties.user, "shop")
            .await
            .unwrap()
            .len(),
        1
    );

    let deployment = parties.deploy().await.unwrap();
    assert!(
        parties.records().await.is_empty(),
        "what does not succeed costs nothing"
    );
    // The price is that of the day of the order.
    parties
        .set(r#"price = '{"amount":"99","currency":"EUR","per":"deployment"}'"#)
        .await;
    parties.finish(&deployment).await;
    let records = parties.records().await;
    assert_eq!(
        records.iter().map(|record| record.kind).collect::<Vec<_>>(),
        [UsageKind::Server, UsageKind::Image]
    );
    assert_eq!(records[0].price, None);
    assert_eq!(records[1].price.as_ref().unwrap().amount, "0.05");
    let usage = app
        .catalog
        .usage(
            &Viewer::Project(parties.user.project_id.clone()),
            &UsageQuery {
                to: Some(jiff::Timestamp::MAX),
                from: Some(jiff::Timestamp::UNIX_EPOCH),
                ..UsageQuery::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (usage.items[0].servers, usage.items[0].charges[0].deployments),
        (1, 1)
    );

    app.catalog
        .disentitle(&parties.owner, "shop", &parties.user.project_id)
        .await
        .unwrap();
    assert_eq!(parties.refused().await.kind, "image-needs-entitlement");
    // What costs nothing needs nothing.
    parties
        .set(r#"price = '{"amount":"0.00","currency":"EUR","per":"deployment"}'"#)
        .await;
    assert!(against(&parties.preflight(&parties.user).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_67_every_condition_that_fails_is_named() {
    let parties = parties().await;
    let mut all = parties.preflight(&admin()).await;
    assert_eq!(against(&all), [("visible", "image-not-shared")]);
    parties
        .set(
            "visibility = 'marketplace', state = 'obsolete', region = 'north', target = 'vm', kind = 'data-disk', \
             price = '{\"amount\":\"1\",\"currency\":\"EUR\",\"per\":\"hour\"}'",
        )
        .await;
    sqlx::query("UPDATE manifests SET wrapped_key = x'' WHERE manifest = ?")
        .bind(&parties.image.disks[0].manifest)
        .execute(&parties.rig.app().db)
        .await
        .unwrap();
    sqlx::query("UPDATE nodes SET state = 'discovered'")
        .execute(&parties.rig.app().db)
        .await
        .unwrap();
    all = parties.preflight(&parties.user).await;
    assert_eq!(
        against(&all),
        [
            ("state", "image-withdrawn"),
            ("region", "image-in-other-region"),
            ("kind", "image-for-virtual-machines"),
            ("node", "node-not-available"),
            ("entitlement", "image-needs-entitlement"),
            ("key", "image-key-unavailable"),
        ]
    );
    // Without a node, what is known of the image alone.
    let deployments = &parties.rig.app().deployments;
    let alone = deployments
        .preflight(&parties.user, "shop", None, None)
        .await
        .unwrap();
    assert!(
        alone
            .conditions
            .iter()
            .all(|condition| condition.condition != "node")
    );
    assert_eq!(
        parties
            .rig
            .app()
            .catalog
            .find(&Viewer::All, "shop")
            .await
            .unwrap()
            .visibility,
        Visibility::Marketplace
    );
}
