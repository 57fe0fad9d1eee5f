//! What is read stays in the store until it is read, and not longer.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use super::*;
use crate::{
    app::App,
    clock::Clock,
    config::{BucketConfig, Config, DestinationConfig, OpenTo},
    export::{ExportFault, OpenedDisk},
    identity::Viewer,
    testing::{
        admin,
        garbage::{collected, deleted_and_collected, held, until_held},
        s3::S3Server,
    },
};

async fn opened(server: &TestServer) -> OpenedDisk {
    let image = server.app.catalog.find(&Viewer::All, "golden").await.unwrap();
    let exports = &server.app.exports;
    exports
        .open(&image, &Viewer::All, None, ExportFormat::Raw)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_image_that_is_deleted_while_it_is_read_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let golden = import(&server, "name=golden", disk()).await;
    let (app, exports) = (&server.app, &server.app.exports);
    let late = opened(&server).await;
    let mut stream = exports
        .stream(opened(&server).await, None, &admin())
        .await
        .unwrap();
    // The rest of the nine MiB does not fit into the pipe.
    let mut got = stream.next().await.unwrap().unwrap().to_vec();
    let kept = deleted_and_collected(app, golden["id"].as_str().unwrap()).await;
    assert_eq!((kept.packs, kept.manifests), (0, 0));
    while let Some(piece) = stream.next().await {
        got.extend(piece.unwrap());
    }
    assert!(got == disk());
    // Who gets the end finds nothing held any more; who comes now is refused.
    assert_eq!(held(app).await, 0);
    let late = exports.stream(late, None, &admin()).await;
    assert!(matches!(late, Err(ExportFault::Gone { .. })), "{late:?}");
    assert_eq!(held(app).await, 0);
    let freed = collected(app).await;
    assert_eq!((freed.packs, freed.manifests), (1, 1));
}

#[tokio::test]
async fn whoever_goes_away_lets_the_image_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let golden = import(&server, "name=golden", disk()).await;
    let app = &server.app;
    let stream = app.exports.stream(opened(&server).await, None, &admin()).await;
    assert_eq!(held(app).await, 1);
    drop(stream);
    until_held(app, false).await;
    // So does one that the controller's end has cut off, at the next start.
    assert!(
        app.catalog
            .hold("cut off", golden["id"].as_str().unwrap())
            .await
            .unwrap()
    );
    let (config, clock) = (app.config.clone(), app.clock.clone());
    app.close().await;
    let app = App::open(config, clock).await.unwrap();
    assert_eq!(held(&app).await, 0);
    let freed = deleted_and_collected(&app, golden["id"].as_str().unwrap()).await;
    assert_eq!((freed.packs, freed.manifests), (1, 1));
}

#[tokio::test]
async fn an_image_that_is_deleted_while_it_goes_into_a_bucket_arrives() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3Server::start(&["exports"]).await);
    let mut config = Config::loopback(dir.path());
    config.destinations = vec![DestinationConfig {
        name: "all".into(),
        bucket: BucketConfig {
            retry: Duration::from_secs(120),
            ..s3.bucket("s3://exports/all")
        },
        open_to: OpenTo::All,
    }];
    let clock = Clock::fake(jiff::Timestamp::now());
    let server = TestServer::serve(App::for_test_with(config, clock).await).await;
    let golden = import(&server, "name=golden", disk()).await;
    let app = &server.app;
    // The service goes away in the middle of the first part.
    s3.go_away_after(0);
    let wanted = json!({"format": "raw", "destination": "all", "key": "golden.raw"});
    let url = server.url("/v1/images/golden/export");
    let job: Value = server
        .client()
        .post(url)
        .json(&wanted)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    while !s3.is_away() {
        tokio::task::yield_now().await;
    }
    assert_eq!(held(app).await, 1);
    let kept = deleted_and_collected(app, golden["id"].as_str().unwrap()).await;
    assert_eq!((kept.packs, kept.manifests), (0, 0));
    s3.come_back();
    app.jobs.settled(job["id"].as_str().unwrap()).await;
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let job: Value = get(&server, &path).await.json().await.unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    let key = format!("all/{}", job["result"]["key"].as_str().unwrap());
    assert!(std::fs::read(s3.path_of("exports", &key)).unwrap() == disk());
    assert_eq!(held(app).await, 0);
    let freed = collected(app).await;
    assert_eq!((freed.packs, freed.manifests), (1, 1));
}
