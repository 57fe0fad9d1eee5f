//! The task that makes planned changes of images when their time has come, and writes down each day's usage.

use std::time::Duration;

use crate::{api::rest::problem::chain, app::App, ticks::Ticks};

/// How often plans and the clock are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Makes planned changes and writes down usage until the controller ends.
pub async fn run(app: App) {
    let mut ticks = Ticks::every(TICK, app.shutdown.clone());
    while ticks.next().await {
        if let Err(error) = app.catalog.perform_due().await {
            tracing::error!(error = %chain(&error), "planned changes of images could not be made");
        }
        if let Err(error) = app.catalog.close_day().await {
            tracing::error!(error = %chain(&error), "the usage of a day could not be written down");
        }
    }
}
