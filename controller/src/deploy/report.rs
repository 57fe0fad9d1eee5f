//! What the installed system itself says: that it is up and what it waits for, and then the report that ends the deployment.

use imprint_proto::agent::v1::FirstBootReport;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Deployments,
    advance::{News, tell},
    decide::Report,
    ending::Manner,
    error::DeployError,
    first_boot::{self, FirstBoot},
    record::{Deployment, load, save},
    state::{DeploymentState, DiskState, Phase, Step, StepState},
    steps::{self, StepChange},
};
use crate::{
    events::{Change, DatabaseError, doing},
    inventory::{self, NodeState},
};

/// A report is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The token is unknown or was withdrawn.
    #[error("the report token is unknown or has been withdrawn")]
    Unauthenticated,
    /// It could not be kept.
    #[error(transparent)]
    Deploy(#[from] DeployError),
}

impl From<DatabaseError> for ReportError {
    fn from(error: DatabaseError) -> Self {
        Self::Deploy(error.into())
    }
}

impl Deployments {
    /// Takes the report of an installed system. The same report again gets the same answer.
    pub async fn take_report(&self, token: &str, report: FirstBootReport) -> Result<(), ReportError> {
        let id = report.deployment_id.clone();
        // Strangers cost a read: the write lock is for those whose token is known.
        let mut connection = self.db.acquire().await.map_err(doing("read the report tokens"))?;
        let seen = recognised(&mut connection, &id, token).await?;
        drop(connection);
        match seen {
            None => return Err(ReportError::Unauthenticated),
            Some(deployment) if is_repeated(&deployment, &report) => return Ok(()),
            Some(_) => {}
        }
        let mut change = self.events.begin().await?;
        let Some(mut deployment) = recognised(change.connection(), &id, token).await? else {
            return Err(ReportError::Unauthenticated);
        };
        let late = match deployment.state {
            DeploymentState::Running => false,
            _ if is_repeated(&deployment, &report) => return Ok(()),
            DeploymentState::Failed if may_end_well(change.connection(), &deployment).await? => true,
            _ => return Err(ReportError::Unauthenticated),
        };
        let now = self.clock.now();
        let first_boot = FirstBoot::of(&report, deployment.boot_entry.as_deref(), now);
        let fault = first_boot::fault(&report, &id);
        let is_final = first_boot.is_final();
        self.keep(&mut change, &mut deployment, first_boot, late).await?;
        let effects = match (late, is_final, fault) {
            (true, false, _) => Vec::new(),
            (true, true, None) => {
                self.succeed(&mut change, &mut deployment, Manner::Late, now)
                    .await?;
                save(change.connection(), &mut deployment).await?;
                Vec::new()
            }
            (true, true, Some(problem)) => {
                self.fail(&mut change, &mut deployment, &problem, now).await?;
                save(change.connection(), &mut deployment).await?;
                Vec::new()
            }
            (false, false, _) => self.settle(&mut change, &mut deployment, News::default()).await?,
            (false, true, fault) => {
                let news = News {
                    reported: Some(fault.map_or(Report::Works, Report::Fault)),
                    ..News::default()
                };
                self.settle(&mut change, &mut deployment, news).await?
            }
        };
        change.commit().await?;
        self.act(&deployment, &effects).await?;
        Ok(())
    }

    /// Keeps what the system says, and tells it if it is new.
    async fn keep(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        first_boot: FirstBoot,
        late: bool,
    ) -> Result<(), DeployError> {
        let now = self.clock.now();
        let waiting_for = first_boot.waiting_for.clone();
        let is_news = first_boot.is_final()
            || deployment
                .first_boot
                .as_ref()
                .is_none_or(|known| known.waiting_for != waiting_for);
        let (kind, message) = if first_boot.is_final() {
            (
                "deployment.first-boot",
                format!(
                    "The installed system reported: {} on {}.",
                    first_boot.hostname, first_boot.os_name
                ),
            )
        } else {
            (
                "deployment.system-up",
                format!(
                    "The installed system is up: {} on {}. It waits for {waiting_for}.",
                    first_boot.hostname, first_boot.os_name
                ),
            )
        };
        let details = json!(first_boot);
        deployment.first_boot = Some(first_boot);
        // It could not have started otherwise.
        deployment.disk_state = DiskState::Written;
        // What comes on moves the deadline; the same again does not.
        if is_news && !late {
            deployment.moved_at = now;
            if deployment.phase == Phase::AwaitReport {
                let detail = format!("The installed system is up; it waits for {waiting_for}.");
                let waiting = StepChange::new(Step::FirstBootReport, StepState::Running, now, &detail);
                if !waiting_for.is_empty() {
                    steps::set(change.connection(), &deployment.id, &waiting).await?;
                }
            }
        }
        save(change.connection(), deployment).await?;
        if is_news {
            tell(change, deployment, kind, message, details).await?;
        }
        Ok(())
    }
}

/// Whether a deployment that was given up may end well by a report: it has had none that says how the system is.
async fn may_end_well(
    connection: &mut SqliteConnection,
    deployment: &Deployment,
) -> Result<bool, DatabaseError> {
    let reported = deployment.first_boot.as_ref().is_some_and(FirstBoot::is_final);
    Ok(!reported && is_awaited(connection, deployment).await?)
}

/// Whether a deployment that was given up may still end well: its system is whole on the disk, and the node has been
/// given to nothing else since.
pub(super) async fn is_awaited(
    connection: &mut SqliteConnection,
    deployment: &Deployment,
) -> Result<bool, DatabaseError> {
    if deployment.disk_state != DiskState::Written {
        return Ok(false);
    }
    let node = inventory::load(connection, &deployment.node_id).await?;
    Ok(node.is_some_and(|node| {
        node.state == NodeState::Failed && node.deployment_id.as_deref() == Some(&deployment.id)
    }))
}

/// The deployment with this id, if the token is one of its own.
async fn recognised(
    connection: &mut SqliteConnection,
    id: &str,
    token: &str,
) -> Result<Option<Deployment>, DatabaseError> {
    let hashes: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT token_hash FROM report_tokens WHERE deployment_id = ?")
            .bind(id)
            .fetch_all(&mut *connection)
            .await
            .map_err(doing("read the report tokens"))?;
    // blake3::Hash compares in constant time.
    let shown = blake3::hash(token.as_bytes());
    let known = hashes
        .iter()
        .filter_map(|hash| blake3::Hash::from_slice(hash).ok())
        .filter(|hash| *hash == shown)
        .count();
    if known == 0 {
        return Ok(None);
    }
    load(connection, id).await
}

/// Whether the report was taken before: the system did not get the answer.
fn is_repeated(deployment: &Deployment, report: &FirstBootReport) -> bool {
    matches!(
        deployment.state,
        DeploymentState::Succeeded | DeploymentState::Failed
    ) && deployment
        .first_boot
        .as_ref()
        .is_some_and(|known| known.is_final() && known.boot_id == first_boot::boot_id(report))
}
