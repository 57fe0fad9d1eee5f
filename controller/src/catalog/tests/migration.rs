//! A database of the version before, with an image, its chunks and a deployment.

use imprint_image::{Digest, SignedManifest};
use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqliteConnectOptions};

use super::*;
use crate::{
    app::App,
    clock::Clock,
    config::Config,
    db,
    identity::{Authority, Caller, PLATFORM, Role, Viewer},
    ingest::ImportRequest,
    setup,
    testing::manifest_of,
};

const BEFORE: [&str; 4] = [
    include_str!("../../../migrations/0001_catalog.sql"),
    include_str!("../../../migrations/0002_fleet.sql"),
    include_str!("../../../migrations/0003_boot.sql"),
    include_str!("../../../migrations/0004_certainty.sql"),
];

/// A data folder as the version before left it: image `debian`, imported twice, with a manifest named by its content.
async fn folder_of_before(config: &Config, clock: &Clock, content: &[u8]) -> imprint_image::Manifest {
    let dir = &config.data_dir;
    setup::init(dir, &[], clock).await.unwrap();
    let file = dir.join(db::FILE_NAME);
    for suffix in ["", "-wal", "-shm"] {
        let file = dir.join(format!("{}{suffix}", db::FILE_NAME));
        if file.exists() {
            std::fs::remove_file(file).unwrap();
        }
    }
    let pool = SqlitePool::connect_with(
        SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true),
    )
    .await
    .unwrap();
    let table = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL,
        execution_time BIGINT NOT NULL)";
    sqlx::query(table).execute(&pool).await.unwrap();
    let known = sqlx::migrate!("./migrations");
    for (sql, step) in BEFORE.iter().zip(known.iter()) {
        sqlx::raw_sql(AssertSqlSafe(*sql)).execute(&pool).await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (?, ?, 0, TRUE, ?, 0)")
            .bind(step.version)
            .bind(step.description.as_ref())
            .bind(step.checksum.as_ref())
            .execute(&pool)
            .await
            .unwrap();
    }
    let manifest = manifest_of(content);
    let signed = Authority::open(dir, clock).unwrap().sign_manifest(&manifest);
    let digest = manifest.image_digest.to_string();
    std::fs::write(dir.join("store/manifests").join(&digest), signed.encode()).unwrap();
    for (id, name) in [
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "debian"),
        ("01BX5ZZKBKACTAV9WEVGEMMVRZ", "again"),
    ] {
        sqlx::query("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, 512, 'qcow2', 1000, NULL)")
            .bind(id)
            .bind(name)
            .bind(&digest)
            .bind(signed.manifest_digest().to_string())
            .bind(content.len() as i64)
            .bind(manifest.data_bytes() as i64)
            .bind(manifest.fetch_bytes() as i64)
            .execute(&pool)
            .await
            .unwrap();
    }
    for pack in &manifest.packs {
        sqlx::query("INSERT INTO image_packs VALUES (?, ?)")
            .bind(&digest)
            .bind(pack.digest.to_string())
            .execute(&pool)
            .await
            .unwrap();
    }
    for chunk in &manifest.chunks {
        let pack = &manifest.packs[chunk.pack as usize];
        sqlx::query("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)")
            .bind(chunk.plain.as_bytes().as_slice())
            .bind(chunk.frame.as_bytes().as_slice())
            .bind(pack.digest.to_string())
            .bind(pack.size_bytes as i64)
            .bind(chunk.offset as i64)
            .bind(chunk.frame_bytes)
            .execute(&pool)
            .await
            .unwrap();
    }
    let fill = "INSERT INTO nodes (id, name, state, created_at) VALUES ('n', 'n', 'deploying', 0);
        INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest,
            disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id,
            phase_since, moved_at, created_at)
        SELECT '01D', 'n', 'running', 'agent-works', 'write', id, name, image_digest, manifest_digest, disk_size_bytes,
            512, '', 'n', 'network-first', 1, 1, 't', 0, 0, 0 FROM images WHERE name = 'debian';
        INSERT INTO deployment_tasks (task_id, deployment_id, node_id, attempt, created_at) VALUES ('t', '01D', 'n', 1, 0);
        INSERT INTO api_tokens (id, name, token_hash, role, created_at) VALUES ('t', 'old', x'00', 'admin', 0);";
    sqlx::raw_sql(fill).execute(&pool).await.unwrap();
    pool.close().await;
    manifest
}

#[tokio::test]
async fn an_image_of_the_version_before_is_listed_deployed_and_deduplicated_against() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::fake(jiff::Timestamp::now());
    let config = Config {
        region: "here".to_owned(),
        ..Config::loopback(dir.path())
    };
    let content: Vec<u8> = (0..3_u32 << 20).map(|n| ((n >> 12) % 250) as u8 + 1).collect();
    let manifest = folder_of_before(&config, &clock, &content).await;
    let app = App::open(config, clock).await.unwrap();

    let listed = app
        .catalog
        .list(&Viewer::All, &ImageQuery::default())
        .await
        .unwrap();
    let names: Vec<&str> = listed.items.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["debian", "again"]);
    let image = app
        .catalog
        .find(&Viewer::Project("other".into()), "debian")
        .await
        .unwrap();
    let digest = manifest.image_digest.to_string();
    assert_eq!(
        (
            image.state,
            image.visibility,
            image.region.as_str(),
            image.source_format.as_str()
        ),
        (ImageState::Active, Visibility::Public, "here", "qcow2")
    );
    assert_eq!(
        (
            image.image_digest.as_str(),
            image.disks[0].manifest.as_str(),
            image.disks[0].role.as_str()
        ),
        (digest.as_str(), digest.as_str(), "system")
    );

    // The node that was at work goes on reading what it read before.
    let objects = [
        StoreObject::Manifest(manifest.image_digest),
        StoreObject::Pack(manifest.packs[0].digest),
    ];
    for object in &objects {
        assert!(
            app.deployments.store_access("n", object).await,
            "{}",
            object.key()
        );
    }
    assert!(
        !app.deployments
            .store_access("n", &StoreObject::Pack(Digest::of(b"x")))
            .await
    );

    // The same content again, by the same project: nothing new is stored, the old manifest serves both.
    let request = |name: &str, by: Caller| ImportRequest {
        spec: ImageSpec::named(name),
        file: crate::ingest::FileSpec::default(),
        idempotency_key: None,
        by,
    };
    let by = Caller::for_test(PLATFORM, Role::Admin);
    let body = || axum::body::Body::from(content.clone());
    let third = app
        .ingest
        .import(request("third", by), None, body())
        .await
        .unwrap();
    assert_eq!(third.image.disks[0].manifest, digest);
    let packs = std::fs::read_dir(dir.path().join("store/packs")).unwrap().count();
    assert_eq!(packs, 0, "the packs of before are known by their rows alone");
    let kept = std::fs::read(dir.path().join("store/manifests").join(&digest)).unwrap();
    SignedManifest::open(&kept, &app.authority.manifest_public_keys()).unwrap();
}
