//! Imports into a real store and a real database, and what care is taken of them.

mod api;
mod bucket;
mod collecting;
mod model;
mod sharing;
mod verifying;

use std::time::Duration;

use axum::body::Body;
use imprint_image::{MAX_MANIFEST_BYTES, Manifest, SignedManifest};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::*;
use crate::{
    api::rest::problem::Problem,
    app::App,
    catalog::{Image, ImageSpec},
    identity::{Caller, PLATFORM, Role},
    ingest::{FileSpec, ImportRequest},
    store::StoreObject,
};

const MIB: usize = 1 << 20;

fn admin() -> Caller {
    Caller::for_test(PLATFORM, Role::Admin)
}

/// A disk of chunks that compress to about a half; equal seeds give equal chunks.
fn disk(seeds: &[u64]) -> Vec<u8> {
    let mut disk = vec![b'x'; seeds.len() * MIB];
    for (chunk, seed) in disk.chunks_mut(MIB).zip(seeds) {
        let mut random = blake3::Hasher::new();
        random.update(&seed.to_le_bytes());
        random.finalize_xof().fill(&mut chunk[..MIB / 2]);
    }
    disk
}

async fn try_import(app: &App, by: &Caller, spec: ImageSpec, content: Vec<u8>) -> Result<Image, Problem> {
    let request = ImportRequest {
        spec,
        file: FileSpec {
            format: Some("raw".into()),
            ..FileSpec::default()
        },
        idempotency_key: None,
        by: by.clone(),
    };
    let length = Some(content.len() as u64);
    let imported = app.ingest.import(request, length, Body::from(content)).await?;
    Ok(imported.image)
}

async fn import(app: &App, by: &Caller, name: &str, content: Vec<u8>) -> Image {
    try_import(app, by, ImageSpec::named(name), content)
        .await
        .unwrap()
}

async fn delete(app: &App, image: &Image) {
    sqlx::query("UPDATE images SET state = 'deleted' WHERE id = ?")
        .bind(&image.id)
        .execute(&app.db)
        .await
        .unwrap();
}

fn key_of(image: &Image) -> StoreObject {
    StoreObject::Manifest(image.disks[0].manifest.parse().unwrap())
}

async fn manifest_of(app: &App, image: &Image) -> Manifest {
    let content = app.store.get(&key_of(image), MAX_MANIFEST_BYTES).await.unwrap();
    SignedManifest::open(&content, &app.authority.manifest_public_keys()).unwrap()
}

/// A deployment that runs, as far as the store is concerned; its id.
async fn deploy(app: &App, image: &Image) -> String {
    let id = Ulid::generate().to_string();
    sqlx::query("INSERT INTO nodes (id, name, state, created_at) VALUES (?1, ?1, 'active', 0)")
        .bind(&id)
        .execute(&app.db)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest,
             disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id,
             phase_since, moved_at, created_at, manifest)
         VALUES (?1, ?1, 'running', 'agent-works', 'write', ?2, '', '', '', 0, 512, '', '', '', 0, 0, ?1, 0, 0, 0, ?3)",
    )
    .bind(&id)
    .bind(&image.id)
    .bind(&image.disks[0].manifest)
    .execute(&app.db)
    .await
    .unwrap();
    id
}

async fn end_deployment(app: &App, id: &str) {
    sqlx::query("UPDATE deployments SET state = 'succeeded' WHERE id = ?")
        .bind(id)
        .execute(&app.db)
        .await
        .unwrap();
}

async fn collect(app: &App, dry_run: bool) -> GcReport {
    let request = GcRequest { dry_run, grace: None };
    let cancel = CancellationToken::new();
    app.upkeep.collect(request, &|_, _, _| {}, &cancel).await.unwrap()
}

async fn verify(app: &App, image: Option<&Image>) -> VerifyReport {
    let cancel = CancellationToken::new();
    let image = image.map(|image| image.id.as_str());
    app.upkeep.verify(image, &|_, _, _| {}, &cancel).await.unwrap()
}

async fn count(app: &App, kind: &str) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM events WHERE kind = ?")
        .bind(kind)
        .fetch_one(&app.db)
        .await
        .unwrap()
}

/// Everything written so far is old enough to go.
fn let_time_pass(app: &App) {
    let grace = SignedDuration::try_from(app.config.store.gc_grace + Duration::from_secs(60)).unwrap();
    app.clock.advance(grace);
}

fn path_of(app: &App, object: &StoreObject) -> std::path::PathBuf {
    app.config.data_dir.join("store").join(object.key())
}
