//! What the program does with the keys of encrypted images, on a data folder and without serving: `rewrap-keys` and
//! `image-key`.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use imprint_image::seal::KeyId;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    catalog::{Catalog, CatalogError},
    clock::Clock,
    config::Config,
    db::{self, DbError},
    events::{DatabaseError, EventLog, NewEvent},
    identity::{
        IdentityError, ImageKeyError, ImageKeys, Viewer,
        image_keys::{self, RewrapError, Rewrapped},
    },
    setup::{self, OpenError},
};

/// A command on the keys of images failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageKeyCommandError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The database.
    #[error("cannot open the database of the controller")]
    Database(#[from] DbError),
    /// The wrapping key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Keys could not be wrapped anew.
    #[error(transparent)]
    Rewrap(#[from] RewrapError),
    /// The image cannot be found.
    #[error(transparent)]
    Image(#[from] CatalogError),
    /// The image has several disks.
    #[error("the image {image} has the disks {disks}; name one of them with --disk")]
    Disk {
        /// The image.
        image: String,
        /// Their roles.
        disks: String,
    },
    /// There is no key.
    #[error("the image {image} is not encrypted; it needs no key")]
    NotEncrypted {
        /// The image.
        image: String,
    },
    /// The key cannot be had.
    #[error("cannot read the key of the image")]
    Key(#[from] ImageKeyError),
    /// It could not be noted who has a key now.
    #[error("cannot note in the event log that the key was written; nothing is written")]
    Note(#[from] DatabaseError),
    /// The file cannot be written.
    #[error("cannot write {}; name a file that is not there yet, in a folder that this user may write to", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Wraps all data keys with a new key. Refused while a controller runs on the folder: it would not know the new key.
pub async fn rewrap_keys(data_dir: &Path) -> Result<Rewrapped, ImageKeyCommandError> {
    let _lock = setup::lock(data_dir)?;
    let db = db::open(data_dir, false).await?;
    let done = image_keys::rewrap(&db, data_dir).await;
    db::close(&db).await;
    Ok(done?)
}

/// Writes the data key of an encrypted image into a new file that only this user can read, and notes it in the event log.
/// Gives the name of the image and the id of its key.
pub async fn write_image_key(
    config: &Config,
    clock: &Clock,
    image: &str,
    disk: Option<&str>,
    output: &Path,
) -> Result<(String, KeyId), ImageKeyCommandError> {
    if !setup::is_initialised(&config.data_dir) {
        let path = config.data_dir.clone();
        return Err(OpenError::NotInitialised { path }.into());
    }
    let db = db::open(&config.data_dir, false).await?;
    let written = write_key(&db, config, clock, image, disk, output).await;
    db::close(&db).await;
    written
}

async fn write_key(
    db: &sqlx::SqlitePool,
    config: &Config,
    clock: &Clock,
    image: &str,
    disk: Option<&str>,
    output: &Path,
) -> Result<(String, KeyId), ImageKeyCommandError> {
    let events = EventLog::new(db.clone(), clock.clone());
    let catalog = Catalog::new(db.clone(), clock.clone(), events.clone(), config);
    let image = catalog.find(&Viewer::All, image).await?;
    let Some(chosen) = image.disk(disk) else {
        let roles: Vec<&str> = image.disks.iter().map(|disk| disk.role.as_str()).collect();
        return Err(ImageKeyCommandError::Disk {
            image: image.name.clone(),
            disks: roles.join(", "),
        });
    };
    let keys = ImageKeys::open_folder(db.clone(), &config.data_dir)?;
    let key = keys.open(&chosen.manifest).await?;
    let key = key.ok_or_else(|| ImageKeyCommandError::NotEncrypted {
        image: image.name.clone(),
    })?;
    let noted = NewEvent {
        kind: "image.key-written",
        node_id: None,
        deployment_id: None,
        message: format!(
            "The key of image {} was written into a file at the controller.",
            image.name
        ),
        details: json!({ "image_id": image.id, "disk": chosen.role, "data_key_id": key.id().to_string() }),
    };
    events.append(noted).await?;
    events.close().await;
    let digits = Zeroizing::new(hex::encode(key.expose()));
    write_private(output, &digits).map_err(|source| ImageKeyCommandError::Write {
        path: output.to_owned(),
        source,
    })?;
    Ok((image.name.clone(), key.id()))
}

fn write_private(path: &Path, digits: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(digits.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use imprint_image::seal::DataKey;

    use super::*;
    use crate::{app::App, catalog::ImageSpec, identity::Caller, ingest::ImportRequest};

    async fn import(app: &App, name: &str, encrypt: bool) -> String {
        let request = ImportRequest {
            spec: ImageSpec {
                encrypt: Some(encrypt),
                ..ImageSpec::named(name)
            },
            file: crate::ingest::FileSpec::default(),
            idempotency_key: None,
            by: Caller::for_test(crate::identity::PLATFORM, crate::identity::Role::Admin),
        };
        let image = app
            .ingest
            .import(request, None, vec![7_u8; 4096].into())
            .await
            .unwrap()
            .image;
        image.disks[0].manifest.clone()
    }

    #[tokio::test]
    async fn a_key_is_written_privately_and_once_and_survives_a_new_wrapping_key() {
        let dir = tempfile::tempdir().unwrap();
        let app = App::for_test(dir.path()).await;
        let manifest = import(&app, "secret", true).await;
        import(&app, "open", false).await;
        let expected = app.image_keys.open(&manifest).await.unwrap().unwrap();
        let path = dir.path().join("image.key");
        let write = async |image: &str, disk: Option<&str>| {
            write_image_key(&app.config, &app.clock, image, disk, &path).await
        };
        let (name, id) = write("secret", None).await.unwrap();
        assert_eq!((name.as_str(), id), ("secret", expected.id()));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.parse::<DataKey>().unwrap().id(), expected.id());
        let kinds: Vec<String> =
            sqlx::query_scalar("SELECT kind FROM events WHERE kind = 'image.key-written'")
                .fetch_all(&app.db)
                .await
                .unwrap();
        assert_eq!(kinds.len(), 1);
        assert!(matches!(
            write("secret", None).await,
            Err(ImageKeyCommandError::Write { .. })
        ));
        assert!(matches!(
            write("open", None).await,
            Err(ImageKeyCommandError::NotEncrypted { .. })
        ));
        assert!(matches!(
            write("secret", Some("data")).await,
            Err(ImageKeyCommandError::Disk { .. })
        ));
        assert!(matches!(
            write("none", None).await,
            Err(ImageKeyCommandError::Image(_))
        ));

        // A controller that runs would go on with the older key.
        let held = setup::lock(dir.path()).unwrap();
        assert!(matches!(
            rewrap_keys(dir.path()).await,
            Err(ImageKeyCommandError::Folder(_))
        ));
        drop(held);
        assert_eq!(rewrap_keys(dir.path()).await.unwrap().keys, 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(write("secret", None).await.unwrap().1, expected.id());
    }
}
