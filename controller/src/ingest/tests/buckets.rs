//! Imports from buckets of a real S3 server.

use serde_json::{Value, json};

use super::{
    disk, manifest, qcow2, restored,
    rig::{ended, get, is_clean, post, problem_of},
};
use crate::{
    app::App,
    clock::Clock,
    config::{Config, DestinationConfig, OpenTo},
    identity::{PLATFORM, Role},
    testing::{TestServer, problem, project, s3::S3Server, token_of},
};

async fn controller(dir: &std::path::Path, s3: &S3Server, max_file_bytes: u64) -> TestServer {
    let mut config = Config::loopback(dir);
    let destination = |name: &str, open_to: OpenTo| DestinationConfig {
        name: name.to_owned(),
        bucket: s3.bucket(&format!("s3://images/{name}")),
        open_to,
    };
    config.destinations = vec![
        destination("own", OpenTo::Projects(vec![PLATFORM.to_owned()])),
        destination("all", OpenTo::All),
    ];
    config.ingest.max_file_bytes = max_file_bytes;
    TestServer::serve(App::for_test_with(config, Clock::fake(jiff::Timestamp::now())).await).await
}

fn put(s3: &S3Server, key: &str, content: &[u8]) {
    let path = s3.path_of("images", key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn request(destination: &str, key: &str) -> Value {
    let source = json!({"type": "s3", "destination": destination, "key": key});
    json!({"spec": {"name": "a"}, "source": source})
}

async fn imported(server: &TestServer, destination: &str, key: &str) -> Value {
    let answer = post(server, "/v1/imports", &request(destination, key)).await;
    assert_eq!(answer.status(), 202);
    ended(server, &answer.json().await.unwrap()).await
}

/// Rows 36 and 58: an external file in a bucket becomes a private image of whoever imports it.
#[tokio::test]
async fn rows_36_and_58_a_file_in_a_bucket_becomes_an_image() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3Server::start(&["images"]).await);
    let server = controller(&dir.path().join("data"), &s3, 1 << 30).await;
    let disk = disk();
    put(&s3, "own/debian/12.qcow2", &qcow2(dir.path(), &disk));
    let job = imported(&server, "own", "debian/12.qcow2").await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let image = get(&server, "/v1/images/a").await;
    assert_eq!(
        (&image["source"], &image["source_reference"], &image["visibility"]),
        (
            &json!("s3"),
            &json!("s3://own/debian/12.qcow2"),
            &json!("private")
        )
    );
    assert!(restored(&server, manifest(&image)) == disk);
}

#[tokio::test]
async fn row_58_what_a_bucket_does_not_give_leaves_nothing() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3Server::start(&["images"]).await);
    let server = controller(dir.path(), &s3, 1 << 20).await;
    put(&s3, "own/large.raw", &vec![0; (1 << 20) + 1]);
    put(&s3, "own/bad.qcow2", b"QFI\xfb and nothing more");
    for (key, kind) in [
        ("nothing.raw", "source-unreachable"),
        ("large.raw", "source-too-large"),
        ("bad.qcow2", "bad-image"),
    ] {
        let job = imported(&server, "own", key).await;
        assert_eq!(problem_of(&job), kind, "{job}");
        assert!(is_clean(&server).await, "{key}");
    }
    for (destination, key, status, kind) in [
        ("elsewhere", "a.raw", 404, "destination-not-found"),
        ("own", "../a.raw", 400, "invalid-request"),
        ("own", "", 400, "invalid-request"),
    ] {
        let refused = post(&server, "/v1/imports", &request(destination, key)).await;
        let refused = problem(refused).await;
        assert_eq!(
            (refused.0, refused.1.as_str()),
            (status, kind),
            "{destination} {key}"
        );
        assert!(is_clean(&server).await, "{key}");
    }
}

/// A project reads what lies in its own folder of a bucket, and of no other project.
#[tokio::test]
async fn row_58_projects_in_one_bucket_do_not_read_each_others_files() {
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3Server::start(&["images"]).await);
    let server = controller(dir.path(), &s3, 1 << 30).await;
    let disk = disk();
    let ours = project(&server.app, "ours").await;
    let theirs = project(&server.app, "theirs").await;
    put(&s3, &format!("all/{theirs}/secret.raw"), &disk);
    put(&s3, &format!("all/{ours}/mine.raw"), &disk);
    let client = server.client_with(&token_of(&server.app, &ours, Role::Member).await);
    let start = async |destination: &str, key: &str| {
        let request = client
            .post(server.url("/v1/imports"))
            .json(&request(destination, key));
        request.send().await.unwrap()
    };
    let answer = start("all", "secret.raw").await;
    let job = ended(&server, &answer.json().await.unwrap()).await;
    assert_eq!(problem_of(&job), "source-unreachable");
    let answer = start("all", &format!("{theirs}/secret.raw")).await;
    let job = ended(&server, &answer.json().await.unwrap()).await;
    assert_eq!(problem_of(&job), "source-unreachable");
    assert_eq!(
        problem(start("own", "mine.raw").await).await.1,
        "destination-not-found"
    );
    let answer = start("all", "mine.raw").await;
    let job = ended(&server, &answer.json().await.unwrap()).await;
    assert_eq!(job["state"], "succeeded", "{job}");
}
