//! The report that ends a deployment: the installed system itself says that it is up.

use imprint_proto::agent::v1::FirstBootReport;
use serde_json::json;

use super::{
    Deployments,
    advance::{News, tell},
    error::DeployError,
    record::{Deployment, FirstBoot, load, save},
    state::DeploymentState,
};
use crate::events::{DatabaseError, doing};

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
        let mut change = self.events.begin().await?;
        let id = report.deployment_id.clone();
        let hashes: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT token_hash FROM report_tokens WHERE deployment_id = ?")
                .bind(&id)
                .fetch_all(change.connection())
                .await
                .map_err(doing("read the report tokens"))?;
        // blake3::Hash compares in constant time.
        let shown = blake3::hash(token.as_bytes());
        let known = hashes
            .iter()
            .filter_map(|hash| blake3::Hash::from_slice(hash).ok())
            .filter(|hash| *hash == shown)
            .count();
        let deployment = if known == 0 {
            None
        } else {
            load(change.connection(), &id).await?
        };
        let Some(mut deployment) = deployment else {
            drop(change);
            return Err(ReportError::Unauthenticated);
        };
        match deployment.state {
            DeploymentState::Running => {}
            DeploymentState::Succeeded if same_boot(&deployment, &report) => return Ok(()),
            _ => return Err(ReportError::Unauthenticated),
        }
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
        let news = News {
            reported: true,
            ..News::default()
        };
        let effects = self.settle(&mut change, &mut deployment, news).await?;
        change.commit().await?;
        self.act(&deployment, &effects).await?;
        Ok(())
    }
}

fn same_boot(deployment: &Deployment, report: &FirstBootReport) -> bool {
    deployment
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
