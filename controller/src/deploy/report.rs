//! The report that ends a deployment: the installed system itself says that it is up.

use imprint_proto::agent::v1::FirstBootReport;
use serde_json::json;
use sqlx::SqliteConnection;

use super::{
    Deployments,
    advance::{News, tell},
    error::DeployError,
    record::{Deployment, FirstBoot, load, save},
    state::{DeploymentState, DiskState},
};
use crate::{
    events::{DatabaseError, doing},
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
            DeploymentState::Succeeded if is_repeated(&deployment, &report) => return Ok(()),
            DeploymentState::Failed if is_awaited(change.connection(), &deployment).await? => true,
            _ => return Err(ReportError::Unauthenticated),
        };
        let first_boot = first_boot(&report, self.clock.now());
        let message = format!(
            "The installed system reported: {} on {}.",
            first_boot.hostname, first_boot.os_name
        );
        let details = json!(first_boot);
        deployment.first_boot = Some(first_boot);
        save(change.connection(), &mut deployment).await?;
        tell(
            &mut change,
            &deployment,
            "deployment.first-boot",
            message,
            details,
        )
        .await?;
        let effects = if late {
            let now = self.clock.now();
            self.succeed(&mut change, &mut deployment, now).await?;
            save(change.connection(), &mut deployment).await?;
            Vec::new()
        } else {
            let news = News {
                reported: true,
                ..News::default()
            };
            self.settle(&mut change, &mut deployment, news).await?
        };
        change.commit().await?;
        self.act(&deployment, &effects).await?;
        Ok(())
    }
}

/// Whether a deployment that was given up may still end well: its system is whole on the disk, and the node has been
/// given to nothing else since.
async fn is_awaited(
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
    deployment.state == DeploymentState::Succeeded
        && deployment
            .first_boot
            .as_ref()
            .is_some_and(|known| known.boot_id == clip(&report.boot_id))
}

fn first_boot(report: &FirstBootReport, received_at: jiff::Timestamp) -> FirstBoot {
    FirstBoot {
        hostname: clip(&report.hostname),
        machine_id: clip(&report.machine_id),
        os_name: clip(&report.os_name),
        kernel_release: clip(&report.kernel_release),
        boot_mode: clip(&report.boot_mode),
        addresses: report
            .addresses
            .iter()
            .take(64)
            .map(|address| clip(address))
            .collect(),
        root_device: clip(&report.root_device),
        boot_id: clip(&report.boot_id),
        uptime_seconds: report.uptime_seconds,
        cloud_init_status: clip(&report.cloud_init_status),
        guest_version: clip(&report.guest_version),
        received_at,
    }
}

fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}
