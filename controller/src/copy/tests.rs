//! Copies within a region, and between two real controllers on loopback.

mod across;
mod held;
mod quotas;
mod within;

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    app::App,
    clock::Clock,
    config::{Config, OpenTo, RegionConfig},
    setup,
    testing::TestServer,
};

const MIB: usize = 1 << 20;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

async fn import(server: &TestServer, query: &str, body: Vec<u8>) -> Value {
    let url = server.url(&format!("/v1/images?{query}"));
    let response = server.client().post(url).body(body).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

async fn get(server: &TestServer, path: &str) -> Value {
    server
        .client()
        .get(server.url(path))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

async fn post(server: &TestServer, path: &str, body: &Value) -> reqwest::Response {
    server
        .client()
        .post(server.url(path))
        .json(body)
        .send()
        .await
        .unwrap()
}

/// The job when it has ended.
async fn ended(server: &TestServer, id: &str) -> Value {
    loop {
        let job = get(server, &format!("/v1/jobs/{id}")).await;
        if !matches!(job["state"].as_str(), Some("queued" | "running")) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a job has come to `step`.
async fn until_step(server: &TestServer, job: &Value, step: &str) {
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    while get(server, &path).await["progress"]["step"] != step {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A copy that is waited for.
async fn copied(server: &TestServer, image: &str, body: Value) -> Value {
    let response = post(server, &format!("/v1/images/{image}/copy"), &body).await;
    assert_eq!(response.status(), 202);
    let job: Value = response.json().await.unwrap();
    ended(server, job["id"].as_str().unwrap()).await
}

/// What an image has as a raw disk.
async fn raw(server: &TestServer, image: &str) -> Vec<u8> {
    let url = server.url(&format!("/v1/images/{image}/content"));
    let response = server.client().get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap().to_vec()
}

/// Two controllers: `east` may copy to `west`, by way of `port` when it is given.
struct Regions {
    east: TestServer,
    west: TestServer,
}

impl Regions {
    async fn start(dir: &Path) -> Self {
        Self::start_with(dir, true).await
    }

    async fn start_with(dir: &Path, trusted: bool) -> Self {
        let clock = Clock::fake(jiff::Timestamp::now());
        let (mut east, mut west) = (
            Config::loopback(dir.join("east")),
            Config::loopback(dir.join("west")),
        );
        (east.region, west.region) = ("east".into(), "west".into());
        for config in [&east, &west] {
            std::fs::create_dir_all(&config.data_dir).unwrap();
            setup::init(&config.data_dir, &[], &clock).await.unwrap();
        }
        let east_keys = setup::open_authority(&east, &clock)
            .unwrap()
            .manifest_public_keys();
        let strange = imprint_image::SigningKey::generate().unwrap().public_key();
        let region = |name: &str| RegionConfig {
            name: name.to_owned(),
            url: None,
            ca_file: None,
            token_file: None,
            keys: Vec::new(),
            open_to: OpenTo::All,
        };
        west.regions = vec![RegionConfig {
            keys: if trusted { east_keys } else { vec![strange] },
            ..region("east")
        }];
        let west = TestServer::serve(App::open(west, clock.clone()).await.unwrap()).await;
        east.regions = vec![RegionConfig {
            url: Some(west.base.parse().unwrap()),
            ca_file: Some(crate::identity::Authority::ca_path(&west.app.config.data_dir)),
            token_file: Some(west.app.config.data_dir.join(setup::ADMIN_TOKEN)),
            ..region("west")
        }];
        let east = TestServer::serve(App::open(east, clock).await.unwrap()).await;
        Self { east, west }
    }

    async fn copy(&self, image: &str, body: Value) -> Value {
        let mut body = body;
        body["region"] = "west".into();
        copied(&self.east, image, body).await
    }

    /// What the other side would be told of an image.
    fn announced(&self, image: &Value) -> Value {
        json!({
            "image": {"name": image["name"]},
            "source_region": "east",
            "source_image": image["id"],
            "source_format": "raw",
            "disks": [{"role": "system", "image_digest": image["image_digest"]}],
        })
    }
}

/// Packs in the store of a controller.
fn packs(server: &TestServer) -> usize {
    let packs = server.app.config.data_dir.join("store/packs");
    std::fs::read_dir(packs).unwrap().count()
}
