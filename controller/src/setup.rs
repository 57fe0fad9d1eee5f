//! The data folder: made by `init`, opened by `serve`.
//!
//! ```text
//! <data>/imprint.db      database            <data>/identity/   CA, server certificate, signing key
//! <data>/admin.token     first API token     <data>/store/      manifests and packs
//! <data>/spool/          uploads in work     <data>/lock        held by the running controller
//! <data>/logs/           logs of deployments        <data>/witness     how far the database was
//! ```

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use zeroize::Zeroizing;

use crate::{
    catalog::CatalogError,
    clock::Clock,
    config::Config,
    db::{self, DbError},
    events::DatabaseError,
    identity::{
        ApiTokens, Authority, IdentityError, ImageKeys, Role, TokenError, generate_token,
        image_keys::LocalWrapper, write_whole,
    },
    ingest::ImportError,
    jobs::JobError,
    store::{Store, StoreError},
    volumes::backend::BackendError,
};

/// Name of the file with the first API token.
pub const ADMIN_TOKEN: &str = "admin.token";
const LOCK: &str = "lock";

/// The data folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It cannot be made or written to.
    #[error("cannot write to {}; choose another --data-dir or give this user the right to write there", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} is not empty and no data folder of Imprint; choose an empty or a new folder as --data-dir", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Keys and certificates.
    #[error("cannot make the identity of the controller")]
    Identity(#[from] IdentityError),
    /// Database.
    #[error("cannot make the database of the controller")]
    Database(#[from] DbError),
    /// Store.
    #[error("cannot make the artifact store")]
    Store(#[from] StoreError),
    /// First token.
    #[error("cannot make the first API token")]
    Token(#[from] TokenError),
}

/// The data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nobody has run `init`.
    #[error(
        "{} is no data folder of Imprint; run `imprint-controller init --data-dir {}` first", path.display(), path.display()
    )]
    NotInitialised {
        /// The folder.
        path: PathBuf,
    },
    /// Another controller runs on it.
    #[error("another controller is running on {}; stop it or choose another --data-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be written to.
    #[error("cannot write to {}; give this user the right to, and check that the disk is not read-only or full", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Keys and certificates.
    #[error("cannot load the identity of the controller")]
    Identity(#[from] IdentityError),
    /// Database.
    #[error("cannot open the database of the controller")]
    Database(#[from] DbError),
    /// Store.
    #[error("cannot open the artifact store")]
    Store(#[from] StoreError),
    /// The event log.
    #[error("cannot read the event log")]
    Events(#[from] DatabaseError),
    /// The catalogue.
    #[error("cannot read the catalogue of images")]
    Catalog(#[from] CatalogError),
    /// What interrupted imports left.
    #[error("cannot remove what interrupted imports left in the artifact store")]
    Recover(#[from] ImportError),
    /// What became of interrupted jobs.
    #[error("cannot end the jobs that were interrupted")]
    Jobs(#[from] JobError),
    /// The folder of volumes.
    #[error(
        "cannot open the folder of volumes; choose another one (volumes.folder in the configuration), or let this user \
         write to it"
    )]
    Volumes(#[from] BackendError),
}

/// What `init` leaves for the operator.
#[derive(Debug, Clone)]
pub struct InitReport {
    /// The data folder.
    pub data_dir: PathBuf,
    /// The CA's certificate, which callers need.
    pub ca: PathBuf,
    /// The file with the first API token; `None` when an earlier run made one and the operator took it away.
    pub admin_token: Option<PathBuf>,
}

/// Held while the controller runs; a second one on the same folder is refused.
#[derive(Debug)]
pub struct DataLock {
    _file: Flock<File>,
}

/// Makes what is missing in a data folder; what is there stays. `names` are further names of the server.
pub async fn init(data_dir: &Path, names: &[String], clock: &Clock) -> Result<InitReport, InitError> {
    make_private(data_dir)?;
    let authority = Authority::init(data_dir, clock)?;
    LocalWrapper::obtain(data_dir)?;
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    all.extend(names.iter().cloned());
    authority.server_certificate(&all)?;
    Store::create(data_dir)?;
    let db = db::open(data_dir, true).await?;
    let admin_token = first_token(data_dir, &ApiTokens::new(db.clone(), clock.clone())).await;
    db::close(&db).await;
    Ok(InitReport {
        data_dir: data_dir.to_owned(),
        ca: Authority::ca_path(data_dir),
        admin_token: admin_token?,
    })
}

/// Whether `init` has been here.
pub fn is_initialised(data_dir: &Path) -> bool {
    Authority::ca_path(data_dir).exists() && data_dir.join(db::FILE_NAME).exists()
}

/// Takes the data folder for this process.
pub fn lock(data_dir: &Path) -> Result<DataLock, OpenError> {
    if !is_initialised(data_dir) {
        return Err(OpenError::NotInitialised {
            path: data_dir.to_owned(),
        });
    }
    let path = data_dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(|source| OpenError::Folder { path, source })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(DataLock { _file: file }),
        Err(_) => Err(OpenError::InUse {
            path: data_dir.to_owned(),
        }),
    }
}

pub(crate) fn open_authority(config: &Config, clock: &Clock) -> Result<Authority, OpenError> {
    if !is_initialised(&config.data_dir) {
        return Err(OpenError::NotInitialised {
            path: config.data_dir.clone(),
        });
    }
    Ok(Authority::open(&config.data_dir, clock)?)
}

pub(crate) async fn open_database(config: &Config) -> Result<sqlx::SqlitePool, OpenError> {
    Ok(db::open(&config.data_dir, false).await?)
}

/// Says what of the images cannot be read. Everything else works without it.
pub(crate) async fn tell_missing_wrappers(keys: &ImageKeys) {
    match keys.missing_wrappers().await {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => tracing::error!(
            wrapped.by = missing.join(", "),
            remedy =
                "restore identity/image-keys of the data folder from the backup that belongs to the database",
            "encrypted images cannot be used: what wrapped their keys is not here"
        ),
        Err(error) => {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::error!(error, "cannot look at the keys of encrypted images");
        }
    }
}

/// The folder exists, is ours, and nobody else can look into it.
fn make_private(folder: &Path) -> Result<(), InitError> {
    let failed = |source| InitError::Folder {
        path: folder.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let mut entries = fs::read_dir(folder).map_err(failed)?;
    if entries.next().is_some() && !folder.join("identity").is_dir() {
        return Err(InitError::Foreign {
            path: folder.to_owned(),
        });
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)
}

/// The file is written before the token is known to the database: a crash between the two leaves a file whose token
/// the next run makes good. When no admin can call any more (all tokens have expired), whoever has the data folder gets
/// a new one.
async fn first_token(data_dir: &Path, tokens: &ApiTokens) -> Result<Option<PathBuf>, InitError> {
    let path = data_dir.join(ADMIN_TOKEN);
    let failed = |source| InitError::Folder {
        path: path.clone(),
        source,
    };
    if path.exists() && !tokens.any().await? {
        let secret = Zeroizing::new(fs::read_to_string(&path).map_err(failed)?);
        tokens.keep(secret.trim(), "admin", Role::Admin, None).await?;
    }
    if tokens.any_admin().await? {
        return Ok(path.exists().then_some(path));
    }
    let secret = generate_token();
    write_whole(&path, 0o600, format!("{}\n", secret.as_str()).as_bytes()).map_err(failed)?;
    tokens.keep(&secret, "admin", Role::Admin, None).await?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn init_is_idempotent_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let clock = Clock::system();
        let first = init(&data, &["imprint.example.net".into()], &clock)
            .await
            .unwrap();
        let token_path = first.admin_token.unwrap();
        let read = || {
            (
                fs::read(&first.ca).unwrap(),
                fs::read(data.join("identity/server.pem")).unwrap(),
            )
        };
        let (before, token) = (read(), fs::read_to_string(&token_path).unwrap());
        for path in [&data, &data.join("identity")] {
            assert_eq!(mode(path), 0o700);
        }
        for file in [
            &token_path,
            &data.join("identity/ca.key"),
            &data.join("identity/manifest.key"),
            &data.join("identity/image-keys"),
        ] {
            assert_eq!(mode(file), 0o600);
        }
        init(&data, &[], &clock).await.unwrap();
        assert_eq!(
            (before, &token),
            (read(), &fs::read_to_string(&token_path).unwrap())
        );

        // A token that the operator took away is not replaced by another one.
        fs::remove_file(&token_path).unwrap();
        assert!(init(&data, &[], &clock).await.unwrap().admin_token.is_none());
        let db = db::open(&data, false).await.unwrap();
        let caller = ApiTokens::new(db, clock).check(token.trim()).await.unwrap();
        assert_eq!(caller.role, Role::Admin);
    }

    #[tokio::test]
    async fn a_foreign_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        let before = mode(dir.path());
        let error = init(dir.path(), &[], &Clock::system()).await.unwrap_err();
        assert!(matches!(error, InitError::Foreign { .. }));
        assert_eq!(
            (mode(dir.path()), fs::read_dir(dir.path()).unwrap().count()),
            (before, 1)
        );
    }

    #[tokio::test]
    async fn a_second_controller_on_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::NotInitialised { .. })));
        init(dir.path(), &[], &Clock::system()).await.unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::InUse { .. })));
        drop(held);
        assert!(lock(dir.path()).is_ok());
    }
}
