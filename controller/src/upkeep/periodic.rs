//! Garbage is looked for once in a while.

use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{GcRequest, Upkeep};

/// Removes what nobody needs, as often as configured, until the controller ends.
pub async fn run(upkeep: Upkeep, shutdown: CancellationToken) {
    let every = upkeep.config.gc_interval;
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let request = GcRequest {
            dry_run: false,
            grace: None,
        };
        match upkeep.collect(request, &|_, _, _| {}, &shutdown).await {
            Ok(report) => tracing::info!(
                packs = report.packs,
                manifests = report.manifests,
                bytes = report.bytes,
                missing = report.missing,
                "looked for what nobody needs"
            ),
            Err(error) => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, "garbage could not be collected; the next time will");
            }
        }
    }
}
