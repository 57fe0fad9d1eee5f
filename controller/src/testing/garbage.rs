//! Images that go, and the garbage that they leave.

use std::time::Duration;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    upkeep::{GcReport, GcRequest},
};

/// What is collected long after everything so far has been written.
pub(crate) async fn collected(app: &App) -> GcReport {
    let grace = app.config.store.gc_grace + Duration::from_secs(60);
    app.clock.advance(SignedDuration::try_from(grace).unwrap());
    let request = GcRequest {
        dry_run: false,
        grace: None,
    };
    let cancel = CancellationToken::new();
    app.upkeep.collect(request, &|_, _, _| {}, &cancel).await.unwrap()
}

/// The same, after an image was deleted.
pub(crate) async fn deleted_and_collected(app: &App, image_id: &str) -> GcReport {
    app.catalog.delete(&super::admin(), image_id).await.unwrap();
    collected(app).await
}

/// How many objects running work holds.
pub(crate) async fn held(app: &App) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM pending_objects")
        .fetch_one(&app.db)
        .await
        .unwrap()
}

/// Waits until running work holds something, or nothing.
pub(crate) async fn until_held(app: &App, something: bool) {
    while (held(app).await > 0) != something {
        tokio::task::yield_now().await;
    }
}
