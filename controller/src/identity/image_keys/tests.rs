use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use futures::future::ready;
use imprint_image::seal::KeyId;

use super::*;
use crate::{app::App, db};

/// The name of a manifest.
fn name(number: u8) -> String {
    hex::encode([number; 32])
}

async fn keep(db: &SqlitePool, manifest: &str, wrapped: &WrappedKey) {
    sqlx::query(
        "INSERT INTO manifests (manifest, manifest_digest, image_digest, disk_size_bytes, data_bytes, stored_bytes,
             logical_sector_bytes, wrapped_key, wrapped_by, created_at) VALUES (?1, ?1, ?1, 1, 1, 1, 512, ?2, ?3, 0)",
    )
    .bind(manifest)
    .bind(&wrapped.bytes)
    .bind(&wrapped.by)
    .execute(db)
    .await
    .unwrap();
}

/// A data folder with encrypted manifests of these numbers; the ids of their keys.
async fn folder(dir: &Path, numbers: &[u8]) -> (App, Vec<KeyId>) {
    let app = App::for_test(dir).await;
    let mut ids = Vec::new();
    for number in numbers {
        let key = DataKey::generate();
        let wrapped = app.image_keys.wrap(&key, &name(*number)).await.unwrap();
        keep(&app.db, &name(*number), &wrapped).await;
        ids.push(key.id());
    }
    (app, ids)
}

fn key_file(dir: &Path) -> std::path::PathBuf {
    dir.join("identity/image-keys")
}

#[tokio::test]
async fn a_wrapped_key_opens_for_its_manifest_and_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (app, ids) = folder(dir.path(), &[1, 2]).await;
    let open = async |number| app.image_keys.open(&name(number)).await;
    assert_eq!(open(1).await.unwrap().unwrap().id(), ids[0]);
    assert_eq!(open(2).await.unwrap().unwrap().id(), ids[1]);
    assert!(matches!(open(3).await, Err(ImageKeyError::Unknown { .. })));

    // Moved to another manifest, or changed, it opens nothing.
    sqlx::query("UPDATE manifests SET wrapped_key = (SELECT wrapped_key FROM manifests WHERE manifest = ?) WHERE manifest = ?")
        .bind(name(1))
        .bind(name(2))
        .execute(&app.db)
        .await
        .unwrap();
    let error = open(2).await.unwrap_err();
    assert!(
        matches!(error, ImageKeyError::Wrap(WrapError::Open { .. })),
        "{error}"
    );
    let problem: crate::api::rest::problem::Problem = error.into();
    assert_eq!(problem.kind, "image-key-unavailable");

    let mode = fs::metadata(key_file(dir.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = fs::read_to_string(key_file(dir.path())).unwrap();
    let digits = secret.split_whitespace().last().unwrap();
    let shown = format!("{:?} {:?}", app.image_keys, app);
    assert!(digits.len() == 64 && !shown.contains(digits), "{shown}");
    // It stays the same.
    let again = LocalWrapper::obtain(dir.path()).unwrap();
    assert!(app.image_keys.wrappers[0].knows(&again.id()));
}

#[tokio::test]
async fn without_the_file_of_the_wrapper_images_are_told_to_be_lost_and_all_else_works() {
    let dir = tempfile::tempdir().unwrap();
    let (app, _) = folder(dir.path(), &[1]).await;
    assert!(app.image_keys.missing_wrappers().await.unwrap().is_empty());
    fs::remove_file(key_file(dir.path())).unwrap();
    let keys = ImageKeys::open_folder(app.db.clone(), dir.path()).unwrap();
    assert_eq!(keys.missing_wrappers().await.unwrap().len(), 1);
    let error = keys.open(&name(1)).await.unwrap_err();
    assert!(
        matches!(error, ImageKeyError::Wrap(WrapError::Unknown { .. })),
        "{error}"
    );
    for content in [
        "",
        "imprint image keys 1\n",
        "imprint image keys 1\nlocal:00 zz\n",
        "else\n",
    ] {
        fs::write(key_file(dir.path()), content).unwrap();
        let error = LocalWrapper::obtain(dir.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{content}");
    }
}

#[tokio::test]
async fn keys_are_wrapped_anew_and_the_older_wrapping_key_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (app, ids) = folder(dir.path(), &[1, 2, 3]).await;
    let before = fs::read_to_string(key_file(dir.path())).unwrap();
    // As if another run had been killed after it made its key.
    LocalWrapper::obtain(dir.path()).unwrap().renew().unwrap();
    let done = rewrap(&app.db, dir.path()).await.unwrap();
    assert_eq!(done.keys, 3);
    let after = fs::read_to_string(key_file(dir.path())).unwrap();
    assert_eq!((before.lines().count(), after.lines().count()), (2, 2));
    assert_ne!(before, after);
    let keys = ImageKeys::open_folder(app.db.clone(), dir.path()).unwrap();
    for (number, id) in (1..).zip(ids) {
        assert_eq!(keys.open(&name(number)).await.unwrap().unwrap().id(), id);
        // Who kept the older key has nothing from it.
        assert!(app.image_keys.open(&name(number)).await.is_err());
    }
    assert_eq!(rewrap(&app.db, dir.path()).await.unwrap().keys, 3);
}

#[tokio::test]
async fn a_key_that_is_lost_stops_the_rewrapping_before_anything_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (app, ids) = folder(dir.path(), &[1, 2]).await;
    sqlx::query("UPDATE manifests SET wrapped_key = x'00' WHERE manifest = ?")
        .bind(name(2))
        .execute(&app.db)
        .await
        .unwrap();
    let error = rewrap(&app.db, dir.path()).await.unwrap_err();
    assert!(
        matches!(&error, RewrapError::Key { manifest, .. } if *manifest == name(2)),
        "{error}"
    );
    let keys = ImageKeys::open_folder(app.db.clone(), dir.path()).unwrap();
    assert_eq!(keys.open(&name(1)).await.unwrap().unwrap().id(), ids[0]);
}

async fn image(db: &SqlitePool, id: &str, manifest: &str) {
    sqlx::query(
        "INSERT INTO images (id, project_id, created_by, name, kind, visibility, state, region, source, source_format,
             created_at, updated_at)
         VALUES (?1, '00000000000000000000000000', '', ?1, 'system-disk', 'private', 'active', 'r', 'upload', 'raw', 0, 0)",
    )
    .bind(id)
    .execute(db)
    .await
    .unwrap();
    sqlx::query("INSERT INTO image_disks (image_id, position, role, manifest) VALUES (?, 0, 'system', ?)")
        .bind(id)
        .bind(manifest)
        .execute(db)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_key_goes_with_the_last_image_and_is_in_no_file_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (app, ids) = folder(dir.path(), &[1, 2]).await;
    for (id, manifest) in [("a", 1), ("b", 1), ("c", 2)] {
        image(&app.db, id, &name(manifest)).await;
    }
    let wrapped: Vec<u8> = sqlx::query_scalar("SELECT wrapped_key FROM manifests WHERE manifest = ?")
        .bind(name(1))
        .fetch_one(&app.db)
        .await
        .unwrap();
    let is_in_files = || {
        ["imprint.db", "imprint.db-wal"].iter().any(|file| {
            let bytes = fs::read(dir.path().join(file)).unwrap_or_default();
            bytes.windows(wrapped.len()).any(|window| window == wrapped)
        })
    };
    let delete = async |id: &str| {
        let query = sqlx::query("UPDATE images SET state = 'deleted' WHERE id = ?").bind(id);
        query.execute(&app.db).await.unwrap();
        app.image_keys.destroy_unused().await.unwrap()
    };
    assert!(is_in_files());
    assert_eq!(delete("a").await, 0);
    assert_eq!(app.image_keys.open(&name(1)).await.unwrap().unwrap().id(), ids[0]);
    assert_eq!(delete("b").await, 1);
    assert!(db::empty_log(&app.db).await.unwrap());
    assert!(!is_in_files(), "the wrapped key can still be read");
    let error = app.image_keys.open(&name(1)).await.unwrap_err();
    assert!(matches!(error, ImageKeyError::Destroyed { .. }), "{error}");
    assert_eq!(app.image_keys.destroy_unused().await.unwrap(), 0);
    assert_eq!(app.image_keys.open(&name(2)).await.unwrap().unwrap().id(), ids[1]);
}

/// Stands for a service somewhere else: keeps what it was given, and gives a ticket.
#[derive(Debug, Default)]
struct FakeService {
    kept: std::sync::Mutex<Vec<(Vec<u8>, DataKey)>>,
    is_away: bool,
}

impl KeyWrapper for FakeService {
    fn id(&self) -> String {
        "service:one".to_owned()
    }

    fn knows(&self, by: &str) -> bool {
        by == "service:one"
    }

    fn wrap<'a>(&'a self, key: &'a DataKey, context: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, WrapError>> {
        let mut kept = self.kept.lock().unwrap();
        kept.push((context.to_vec(), key.clone()));
        Box::pin(ready(Ok(vec![u8::try_from(kept.len()).unwrap()])))
    }

    fn unwrap_key<'a>(
        &'a self,
        by: &'a str,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<DataKey, WrapError>> {
        let kept = self.kept.lock().unwrap();
        let found = kept.get(usize::from(wrapped[0]) - 1);
        Box::pin(ready(match found {
            Some((of, key)) if of == context && !self.is_away => Ok(key.clone()),
            _ => Err(WrapError::Service {
                by: by.to_owned(),
                source: "it says no".into(),
            }),
        }))
    }
}

#[tokio::test]
async fn another_service_may_wrap_while_older_keys_open_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let (app, ids) = folder(dir.path(), &[1]).await;
    let local: Arc<dyn KeyWrapper> = Arc::new(LocalWrapper::obtain(dir.path()).unwrap());
    let service: Arc<dyn KeyWrapper> = Arc::new(FakeService::default());
    let keys = ImageKeys::new(app.db.clone(), [service, local]);
    let key = DataKey::generate();
    let wrapped = keys.wrap(&key, &name(2)).await.unwrap();
    assert_eq!(wrapped.by, "service:one");
    keep(&app.db, &name(2), &wrapped).await;
    assert_eq!(keys.open(&name(1)).await.unwrap().unwrap().id(), ids[0]);
    assert_eq!(keys.open(&name(2)).await.unwrap().unwrap().id(), key.id());

    // A service that does not give back what it was given loses no image.
    let away: Arc<dyn KeyWrapper> = Arc::new(FakeService {
        is_away: true,
        ..FakeService::default()
    });
    let error = ImageKeys::new(app.db.clone(), [away])
        .wrap(&key, &name(3))
        .await
        .unwrap_err();
    let problem: crate::api::rest::problem::Problem = error.into();
    assert_eq!(
        (problem.kind, problem.status.as_u16()),
        ("image-key-unavailable", 503)
    );
}
