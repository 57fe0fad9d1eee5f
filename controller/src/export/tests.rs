//! Images leave the controller: as streams, and into a real S3 server.

mod bucket;
mod hold;
mod stream;

use imprint_image::export::ExportFormat;
use serde_json::Value;

use crate::testing::TestServer;

const MIB: usize = 1 << 20;

/// Data that cannot be compressed, holes, text and a short last chunk.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 9 * MIB + 4096];
    blake3::Hasher::new()
        .update(b"disk")
        .finalize_xof()
        .fill(&mut disk[..2 * MIB]);
    disk[5 * MIB + 17] = 1;
    disk[9 * MIB..].fill(b'x');
    disk
}

async fn import(server: &TestServer, query: &str, body: Vec<u8>) -> Value {
    let url = server.url(&format!("/v1/images?{query}"));
    let response = server.client().post(url).body(body).send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

async fn get(server: &TestServer, path: &str) -> reqwest::Response {
    server.client().get(server.url(path)).send().await.unwrap()
}

fn content(image: &str, format: ExportFormat) -> String {
    format!("/v1/images/{image}/content?format={format}")
}
