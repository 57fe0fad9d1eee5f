//! The task that ends orders nobody answered.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::{api::rest::problem::chain, app::App};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);

/// Ends orders whose time is over, until the controller ends.
pub async fn run(app: App) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = app.guests.expire().await {
            tracing::error!(error = %chain(&error), "orders whose time is over could not be ended");
        }
    }
}
