//! The task that ends orders nobody answered.

use std::time::Duration;

use crate::{api::rest::problem::chain, app::App, ticks::Ticks};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);

/// Ends orders whose time is over, until the controller ends.
pub async fn run(app: App) {
    let mut ticks = Ticks::every(TICK, app.shutdown.clone());
    while ticks.next().await {
        if let Err(error) = app.guests.expire().await {
            tracing::error!(error = %chain(&error), "orders whose time is over could not be ended");
        }
    }
}
