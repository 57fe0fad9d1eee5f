use std::time::Duration;

use imprint_image::export::sum_line;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    app::App,
    clock::Clock,
    config::{Config, DestinationConfig, OpenTo},
    export::{ExportFault, ObjectKey, bucket::Bucket, job::BucketExport},
    identity::{Caller, PLATFORM, Role, Viewer},
    jobs::JobContext,
    testing::{problem, project, s3::S3Server},
};

async fn start(dir: &std::path::Path, s3: &S3Server) -> TestServer {
    let mut config = Config::loopback(dir);
    let destination = |name: &str, open_to: OpenTo| DestinationConfig {
        name: name.to_owned(),
        bucket: s3.bucket(&format!("s3://exports/{name}")),
        open_to,
    };
    config.destinations = vec![
        destination("own", OpenTo::Projects(vec![PLATFORM.to_owned()])),
        destination("all", OpenTo::All),
    ];
    TestServer::serve(App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await).await
}

async fn export(server: &TestServer, body: Value) -> reqwest::Response {
    let url = server.url("/v1/images/golden/export");
    server.client().post(url).json(&body).send().await.unwrap()
}

/// The job when it has ended.
async fn ended(server: &TestServer, job: &Value) -> Value {
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    loop {
        let job: Value = get(server, &path).await.json().await.unwrap();
        if !matches!(job["state"].as_str(), Some("queued" | "running")) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Rows 45 and 64: into a bucket, in a format of choice, with the digest beside it.
#[tokio::test]
async fn rows_45_and_64_an_image_goes_into_a_bucket_with_its_digest() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3Server::start(&["exports"]).await);
    let server = start(dir.path(), &s3).await;
    let golden = import(&server, "name=golden&family=debian", disk()).await;
    for format in ExportFormat::ALL {
        let key = format!("a/{}.{}", format.name(), format.extension());
        let response = export(
            &server,
            json!({"format": format.name(), "destination": "own", "key": key}),
        )
        .await;
        assert_eq!(response.status(), 202);
        let job = ended(&server, &response.json().await.unwrap()).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        let result = &job["result"];
        let object = |key: &str| std::fs::read(s3.path_of("exports", &format!("own/{key}"))).unwrap();
        let file = object(&key);
        let expected = get(&server, &content("golden", format))
            .await
            .bytes()
            .await
            .unwrap();
        assert!(file == expected, "{format}");
        let sum = result["sha256"].as_str().unwrap().parse().unwrap();
        let name = key.rsplit('/').next().unwrap();
        assert_eq!(
            object(&format!("{key}.sha256")),
            sum_line(&sum, name).into_bytes()
        );
        let about: Value = serde_json::from_slice(&object(&format!("{key}.json"))).unwrap();
        assert_eq!(about["image"]["family"], "debian");
        assert_eq!(about["exported"]["image_digest"], golden["image_digest"]);
        assert_eq!(job["progress"]["bytes_done"], 9 * MIB + 4096);
    }
}

#[tokio::test]
async fn where_an_image_may_not_go_is_refused_before_anything_is_sent() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3Server::start(&["exports"]).await);
    let server = start(dir.path(), &s3).await;
    import(&server, "name=golden", disk()).await;
    for (body, status, kind) in [
        (
            json!({"format": "raw", "destination": "none"}),
            404,
            "destination-not-found",
        ),
        (
            json!({"format": "iso", "destination": "own"}),
            400,
            "unknown-format",
        ),
        (
            json!({"format": "raw", "destination": "own", "key": "../a"}),
            400,
            "invalid-request",
        ),
    ] {
        let refused = problem(export(&server, body.clone()).await).await;
        assert_eq!((refused.0, refused.1.as_str()), (status, kind), "{body}");
    }
    let body = json!({"format": "raw.zst", "destination": "own"});
    let first = export(&server, body.clone()).await.json().await.unwrap();
    assert_eq!(ended(&server, &first).await["result"]["key"], "golden.raw.zst");
    // The second time there is an object of that name.
    let second = export(&server, body.clone()).await.json().await.unwrap();
    let second = ended(&server, &second).await;
    assert_eq!(
        second["problem"]["type"],
        "urn:imprint:problem:destination-exists"
    );
    let mut over = body;
    over["overwrite"] = true.into();
    let third = export(&server, over).await.json().await.unwrap();
    assert_eq!(ended(&server, &third).await["state"], "succeeded");

    // Buckets are closed to other projects unless they are opened, and there each has a folder of its own.
    let other = project(&server.app, "other").await;
    let member = Caller::for_test(&other, Role::Member);
    let exports = &server.app.exports;
    let refused = exports.destination(&member.project_id, "own").unwrap_err();
    assert!(matches!(&refused, ExportFault::NoDestination { known, .. } if known == &["all"]));
    let shared = exports.destination(&member.project_id, "all").unwrap();
    assert_eq!(shared.folder_of(&other), Some(other.as_str()));
}

async fn prepared(server: &TestServer, key: &str) -> BucketExport {
    let image = server.app.catalog.find(&Viewer::All, "golden").await.unwrap();
    let exports = &server.app.exports;
    BucketExport {
        inner: exports.0.clone(),
        about: json!({}),
        disk: exports
            .open(&image, &Viewer::All, None, ExportFormat::Raw)
            .await
            .unwrap(),
        destination: exports.destination(PLATFORM, "own").unwrap().clone(),
        key: ObjectKey::parse(key).unwrap(),
        overwrite: false,
        by: "test".into(),
        viewer: Viewer::All,
        project_id: PLATFORM.into(),
    }
}

#[tokio::test]
async fn an_export_that_is_cancelled_or_breaks_leaves_no_object() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3Server::start(&["exports"]).await);
    let server = start(dir.path(), &s3).await;
    import(&server, "name=golden", disk()).await;
    let objects = || {
        let keys = s3.keys("exports");
        keys.into_iter()
            .filter(|key| key.starts_with("own/"))
            .collect::<Vec<_>>()
    };
    let bucket = || Bucket::open(server.app.exports.destination(PLATFORM, "own").unwrap()).unwrap();

    let cancel = CancellationToken::new();
    cancel.cancel();
    let context = JobContext::detached(cancel);
    let result = prepared(&server, "cancelled.raw")
        .await
        .run(&bucket(), &context)
        .await;
    assert!(matches!(result, Err(ExportFault::Cancelled)), "{result:?}");
    assert_eq!(objects(), Vec::<String>::new());

    // The service goes away in the middle.
    s3.go_away_after(0);
    let context = JobContext::detached(CancellationToken::new());
    let result = prepared(&server, "broken.raw")
        .await
        .run(&bucket(), &context)
        .await;
    assert!(matches!(result, Err(ExportFault::Bucket { .. })), "{result:?}");
    s3.come_back();
    assert_eq!(objects(), Vec::<String>::new());

    // The content is damaged.
    let packs = dir.path().join("store/packs");
    let pack = std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[MIB] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let result = prepared(&server, "damaged.raw")
        .await
        .run(&bucket(), &context)
        .await;
    assert!(matches!(result, Err(ExportFault::Content(_))), "{result:?}");
    assert_eq!(objects(), Vec::<String>::new());
}
