//! What is done with logs in the background.

use std::time::Duration;

use super::Logs;
use crate::{api::rest::problem::chain, app::App, ticks::Ticks};

/// How often lines are written.
const TICK: Duration = Duration::from_secs(1);
/// How often old logs are looked for, in ticks.
const SWEEP_EVERY: u64 = 600;

/// Writes lines and removes old logs until the controller ends.
pub async fn run(app: App) {
    let logs = app.deployments.logs().clone();
    let mut ticks = Ticks::every(TICK, app.shutdown.clone());
    let mut number = 0_u64;
    while ticks.next().await {
        blocking(&logs, Logs::flush).await;
        if number.is_multiple_of(SWEEP_EVERY)
            && let Err(error) = logs.sweep(&app.db).await
        {
            tracing::warn!(error = %chain(&error), "old logs could not be removed");
        }
        number += 1;
    }
    blocking(&logs, Logs::flush).await;
}

async fn blocking(logs: &Logs, work: fn(&Logs)) {
    let logs = logs.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || work(&logs)).await {
        tracing::error!(%error, "the writer of logs died");
    }
}
