//! The task that tells which nodes a new image fits.

use futures::StreamExt;

use crate::{
    api::rest::problem::chain,
    app::App,
    events::{Author, Event, EventQuery, Live},
};

/// Events after which an image can be used that could not before.
const NEW: [&str; 3] = ["image.imported", "image.composed", "image.activated"];

/// Follows the log, and tells of every image that can be used from now on which nodes it fits, until the controller ends.
pub async fn run(app: App) {
    let after = match app.events.newest().await {
        Ok(newest) => newest,
        Err(error) => {
            tracing::error!(error = %chain(&error), "new images are not compared with the nodes");
            return;
        }
    };
    let query = EventQuery {
        after,
        ..EventQuery::default()
    };
    let mut events = std::pin::pin!(app.events.follow(query, app.shutdown.clone()));
    while let Some(live) = events.next().await {
        match live {
            Ok(Live::Event(event)) if NEW.contains(&event.kind.as_str()) => tell(&app, &event).await,
            Ok(_) => {}
            Err(error) => {
                tracing::error!(error = %chain(&error), "new images are not compared with the nodes any more");
                return;
            }
        }
    }
}

async fn tell(app: &App, event: &Event) {
    let Some(id) = event.details["image_id"].as_str() else {
        return;
    };
    let image = match app.catalog.get(id).await {
        Ok(Some(image)) => image,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(image.id = id, error = %chain(&error), "a new image was not compared with the nodes");
            return;
        }
    };
    if let Err(error) = app
        .deployments
        .matching()
        .tell_image(Author::default(), &image)
        .await
    {
        tracing::error!(image.id = id, error = %chain(&error), "a new image was not compared with the nodes");
    }
}
