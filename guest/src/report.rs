//! The report itself: retried until the controller has it or says that it never will take it.
//!
//! A system whose cloud-init has not ended is up, but nobody knows whether it works. It says so, again whenever cloud-init
//! has come on, and makes the report that ends the deployment afterwards. It does not wait for ever: after
//! [`Policy::cloud_init`] the last report says that cloud-init runs still.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use imprint_proto::agent::v1::{
    FirstBootReport, FirstBootReportResponse, first_boot_client::FirstBootClient,
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Endpoint,
};
use tracing::{info, warn};

use crate::{
    chain,
    config::{ConfigError, GuestConfig},
    connection::{answered, connect, endpoint, silent},
    facts,
    fault::Fault,
    identity::{Identity, IdentityError},
};

/// How patient the plugin is.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The shortest pause between two attempts; the pauses double, with jitter.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// When to leave it to the next start of the unit: so long has the controller not taken a report.
    pub give_up_after: Duration,
    /// How long one attempt may take, connection and answer each.
    pub attempt: Duration,
    /// How long cloud-init is waited for.
    pub cloud_init: Duration,
    /// How often its files are looked at meanwhile.
    pub look: Duration,
    /// When the same is said again though nothing has changed.
    pub repeat: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            give_up_after: Duration::from_secs(30 * 60),
            attempt: Duration::from_secs(20),
            // Less than the controller waits for the first word, so that it is the system that says why.
            cloud_init: Duration::from_secs(20 * 60),
            look: Duration::from_secs(1),
            repeat: Duration::from_secs(60),
        }
    }
}

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// The controller has just taken the report.
    Now {
        /// How many attempts it took.
        attempts: u32,
    },
    /// An earlier run had reported.
    Earlier,
}

/// How a run ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The configuration cannot be used, or not be rewritten.
    #[error("the configuration of the guest plugin cannot be used")]
    Config(#[from] ConfigError),
    /// The key for the plugin's sessions cannot be made or kept.
    #[error("the identity of the guest plugin cannot be kept")]
    Identity(#[from] IdentityError),
    /// Another try cannot help.
    #[error("the report cannot be made")]
    Refused {
        /// Why.
        #[source]
        fault: Fault,
    },
    /// The time is over; another run may succeed.
    #[error("the report could not be made in {attempts} attempts within {} s", after.as_secs())]
    GaveUp {
        /// How many attempts were made.
        attempts: u32,
        /// The time spent.
        after: Duration,
        /// How the last one failed.
        #[source]
        fault: Fault,
    },
}

impl ReportError {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Config(ConfigError::Write { .. }) => {
                "the controller has the report; make /etc/imprint writable and run the command again"
            }
            Self::Identity(_) => "make /etc/imprint writable and run the command again",
            Self::Config(_) => {
                "deploy again, or remove imprint-report.service if this system shall not report"
            }
            Self::Refused { fault } | Self::GaveUp { fault, .. } => fault.remedy(),
        }
    }
}

/// Reports unless it has been done, then takes the token out of the configuration.
pub async fn run(config_path: &Path, root: &Path, policy: Policy) -> Result<Reported, ReportError> {
    let config = GuestConfig::load(config_path)?;
    let Some(token) = &config.report_token else {
        return Ok(Reported::Earlier);
    };
    // Kept before it is shown: a report whose answer is lost is made again with the same key.
    let mut identity = Identity::obtain(&Identity::path_beside(config_path), &config.deployment_id)?;
    let csr_der = identity.request_der()?;
    let prepare = || -> Result<_, Fault> {
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {}", token.as_str())
            .parse()
            .map_err(|_| Fault::Token)?;
        authorization.set_sensitive(true);
        Ok((
            authorization,
            endpoint(&config, None, policy.attempt)?.timeout(policy.attempt),
        ))
    };
    let (authorization, endpoint) = prepare().map_err(|fault| ReportError::Refused { fault })?;

    let begun = Instant::now();
    let fresh_pauses = || {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(policy.first_pause)
            .with_max_delay(policy.longest_pause)
            .without_max_times()
            .build()
    };
    let mut pauses = fresh_pauses();
    let mut failing_since = begun;
    let mut attempts = 0;
    loop {
        attempts += 1;
        // Read anew each time: addresses and cloud-init's state change while the machine comes up.
        let mut report = facts::gather(root, &config.deployment_id).await;
        report.waited_seconds = begun.elapsed().as_secs();
        if begun.elapsed() >= policy.cloud_init {
            report.waiting_for.clear();
        }
        let waiting_for = report.waiting_for.clone();
        if waiting_for.is_empty() {
            report.csr_der.clone_from(&csr_der);
        }
        info!(
            deployment.id = %config.deployment_id,
            controller = %config.controller_url,
            hostname = %report.hostname,
            addresses = %report.addresses.join(" "),
            cloud_init = %report.cloud_init_status,
            waiting_for = %waiting_for,
            attempt = attempts,
            "reporting the first boot",
        );
        let fault = match send(&endpoint, &authorization, report, policy.attempt).await {
            Ok(answer) if waiting_for.is_empty() => {
                if answer.certificate_chain_der.is_empty() {
                    warn!("the controller gives this system no certificate: there will be no sessions");
                } else {
                    identity.adopt(&answer.node_id, &answer.certificate_chain_der)?;
                }
                GuestConfig::forget_token(config_path)?;
                return Ok(Reported::Now { attempts });
            }
            Ok(_) => {
                let longest = policy.cloud_init.saturating_sub(begun.elapsed());
                changed(root, &waiting_for, longest.min(policy.repeat), policy.look).await;
                failing_since = Instant::now();
                pauses = fresh_pauses();
                continue;
            }
            Err(fault) => fault,
        };
        if !fault.is_transient() {
            return Err(ReportError::Refused { fault });
        }
        let pause = pauses.next().unwrap_or(policy.longest_pause);
        let after = failing_since.elapsed();
        if after + pause > policy.give_up_after {
            return Err(ReportError::GaveUp {
                attempts,
                after,
                fault,
            });
        }
        warn!(
            attempt = attempts,
            retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            remedy = fault.remedy(),
            "{}",
            chain(&fault),
        );
        tokio::time::sleep(pause).await;
    }
}

/// Ends when the system waits for something else, or for nothing any more, or the time is over.
async fn changed(root: &Path, waiting_for: &str, longest: Duration, look: Duration) {
    let different = async {
        while facts::waiting_for(root) == waiting_for {
            tokio::time::sleep(look).await;
        }
    };
    // What comes first; what has changed by then is read anew.
    let _ = tokio::time::timeout(longest, different).await;
}

async fn send(
    endpoint: &Endpoint,
    authorization: &MetadataValue<Ascii>,
    report: FirstBootReport,
    attempt: Duration,
) -> Result<FirstBootReportResponse, Fault> {
    let channel = connect(endpoint, attempt).await?;
    let mut request = Request::new(report);
    request
        .metadata_mut()
        .insert("authorization", authorization.clone());
    tokio::time::timeout(attempt, FirstBootClient::new(channel).report(request))
        .await
        .map_err(|_| silent())?
        .map(tonic::Response::into_inner)
        .map_err(answered)
}
