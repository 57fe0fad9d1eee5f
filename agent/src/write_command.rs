//! `imprint-agent write`: the engine of a deployment by hand, for operators, tests and benchmarks.
//!
//! The target is a disk, or a regular file. A disk is taken exclusively, and refused with the reason when it is mounted
//! or held. A file that is missing or empty becomes as long as the image of a manifest; any other file is overwritten
//! in place, like a disk. All progress goes to stderr as a bar, or to stdout as lines of JSON with `--json`.

mod args;
mod key_file;
mod show;

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

pub use args::WriteArgs;
use imprint_image::PublicKey;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{key_file::KeyFileError, show::Show};
use crate::{
    source::{
        HttpClient, Location, LocationError, ManifestKeys, PackSource, SourceError, http_client,
        http_client_trusting, load_manifest, whole_cause,
    },
    stream::{
        WriteFailure, WriteFigures, WriteOptions, WriteProgress, WriteRequest,
        raw::{RawProof, RawRequest, write_raw},
        write_image,
    },
    target::{self, OpenError, Target},
};

/// Why `imprint-agent write` failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteCommandError {
    /// The image or manifest isn't named by a URL that is read, nor by a path.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// A key that isn't one, and no file of keys either.
    #[error("{given:?} is neither a public key of 64 hex digits nor a file of such keys")]
    Key {
        /// What was given.
        given: String,
    },
    /// The file of the data key is no use.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A digest that isn't one.
    #[error("{given:?} is not a SHA-256 of 64 hex digits")]
    Sha256 {
        /// What was given.
        given: String,
    },
    /// A plain image without anything that proves it.
    #[error("nothing proves the image")]
    NoProof,
    /// A file that has no size which a plain image could be held against.
    #[error("{target} is empty")]
    EmptyTarget {
        /// The target.
        target: String,
    },
    /// The trusted roots can't be read.
    #[error("cannot read certificates from {file}")]
    Ca {
        /// Which file.
        file: String,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No HTTP client could be made.
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
    /// The process can't listen for signals.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// Told to stop before anything was written.
    #[error("the write was cancelled before anything was written")]
    Cancelled,
    /// The manifest can't be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The target can't be had.
    #[error(transparent)]
    Target(#[from] OpenError),
    /// The write failed.
    #[error(transparent)]
    Write(#[from] WriteFailure),
}

impl WriteCommandError {
    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            WriteCommandError::Location(_) => "name an http or https URL, or the path of a file",
            WriteCommandError::Key { .. } => {
                "give the key that `imprint-controller init` printed, or a file with it"
            }
            WriteCommandError::KeyFile(error) => error.remedy(),
            WriteCommandError::Sha256 { .. } => {
                "give the digest that the publisher names for the file as it is"
            }
            WriteCommandError::NoProof => {
                "give --sha256 with the publisher's digest, or --unverified to go without"
            }
            WriteCommandError::EmptyTarget { .. } => {
                "give the file the size of the disk first: truncate -s SIZE FILE"
            }
            WriteCommandError::Ca { .. } => "give a file of PEM certificates",
            WriteCommandError::Client(_) => "give the roots to trust with --ca FILE: the system has none",
            WriteCommandError::Cancelled => "write again when wanted",
            WriteCommandError::Signals(_) => "report this as a fault of the agent",
            WriteCommandError::Source(error) => error.remedy(),
            WriteCommandError::Target(error) => error.remedy(),
            WriteCommandError::Write(failure) => return failure.remedy.clone(),
        }
        .to_owned()
    }
}

/// What was written.
struct Done {
    image: Value,
    figures: WriteFigures,
}

/// Runs the command. Success means that all was verified, written and flushed.
///
/// # Errors
/// See [`WriteCommandError`]; [`WriteCommandError::remedy`] says what to do.
pub async fn run(args: WriteArgs) -> Result<(), WriteCommandError> {
    let show = Show::new(args.json);
    match write(&args, &show).await {
        Ok(done) => {
            show.done(&done.image, &done.figures);
            Ok(())
        }
        Err(error) => {
            show.failed(&error);
            Err(error)
        }
    }
}

async fn write(args: &WriteArgs, show: &Show) -> Result<Done, WriteCommandError> {
    let cancel = cancel_on_signal()?;
    let options = WriteOptions {
        max_memory_bytes: u64::from(args.max_memory) << 20,
        read_back: args.read_back,
        journal: args.journal.clone(),
        delta: args.delta,
        writer: args.writer,
        patience: Duration::from_secs(args.patience),
        ..WriteOptions::default()
    };
    let (progress, newest) = watch::channel(WriteProgress::default());
    let (notes, heard) = mpsc::unbounded_channel();
    let shown = show.follow(newest, heard);
    let written = match (&args.manifest, &args.image) {
        (Some(manifest), _) => {
            let location: Location = manifest.parse()?;
            let client = client(args, &location)?;
            let keys = keys(args.pubkey.as_deref())?;
            let data_key = args.key_file.as_deref().map(key_file::read).transpose()?;
            let loaded = load_manifest(
                &location,
                &client,
                &keys,
                data_key.as_ref(),
                options.patience,
                options.read_timeout,
            );
            let manifest = tokio::select! {
                loaded = loaded => loaded?,
                () = cancel.cancelled() => return Err(WriteCommandError::Cancelled),
            };
            let sector = NonZeroU32::new(manifest.logical_sector_bytes);
            let target = target::open(&args.target, Some(manifest.disk_size_bytes), sector)?;
            let packs = PackSource::beside_manifest(&location, client);
            let manifest = Arc::new(manifest);
            let request = WriteRequest {
                manifest,
                packs,
                target: Arc::clone(&target),
                options,
            };
            let written = write_image(request, progress, notes, cancel).await?;
            reread(target).await;
            let image = json!({ "image_digest": written.verified.image_digest() });
            Done {
                image,
                figures: written.figures,
            }
        }
        (None, Some(image)) => {
            let source: Location = image.parse()?;
            let proof = proof(args)?;
            let client = client(args, &source)?;
            let target = target::open(&args.target, None, None)?;
            if target.is_empty() {
                return Err(WriteCommandError::EmptyTarget {
                    target: target.id().to_string(),
                });
            }
            let request = RawRequest {
                source,
                client,
                proof,
                target: Arc::clone(&target),
                options,
            };
            let written = write_raw(request, progress, notes, cancel).await?;
            reread(target).await;
            let verified = proof != RawProof::Unverified;
            let sha256 = hex::encode(written.sha256);
            let image = json!({ "sha256": sha256, "verified": verified, "image_bytes": written.image_bytes });
            Done {
                image,
                figures: written.figures,
            }
        }
        (None, None) => unreachable!("the command line requires one of them"),
    };
    // Both channels are closed by now, so this ends as soon as all is shown.
    shown.await;
    Ok(written)
}

/// The image is on the disk whatever the kernel thinks of its partitions, so this is no failure of the write.
async fn reread(target: Arc<dyn Target>) {
    let reread = tokio::task::spawn_blocking(move || target.reread_partitions()).await;
    if let Ok(Err(error)) = reread {
        warn!(
            error = whole_cause(&error),
            "the image is written, but its partitions are not visible yet"
        );
    }
}

fn cancel_on_signal() -> Result<CancellationToken, WriteCommandError> {
    let cancel = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WriteCommandError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(WriteCommandError::Signals)?;
    let asked = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    Ok(cancel)
}

fn proof(args: &WriteArgs) -> Result<RawProof, WriteCommandError> {
    let Some(given) = &args.sha256 else {
        return if args.unverified {
            Ok(RawProof::Unverified)
        } else {
            Err(WriteCommandError::NoProof)
        };
    };
    let mut digest = [0; 32];
    hex::decode_to_slice(given.trim(), &mut digest)
        .map_err(|_| WriteCommandError::Sha256 { given: given.clone() })?;
    Ok(RawProof::Sha256(digest))
}

/// The keys that were given, as hex or as a file with one key a line.
fn keys(given: Option<&str>) -> Result<ManifestKeys, WriteCommandError> {
    let Some(given) = given else {
        warn!("no --pubkey: whoever made the manifest is trusted");
        return Ok(ManifestKeys::Unverified);
    };
    if let Ok(key) = given.parse() {
        return Ok(ManifestKeys::Trusted(vec![key]));
    }
    let wrong = || WriteCommandError::Key {
        given: given.to_owned(),
    };
    let text = std::fs::read_to_string(given).map_err(|_| wrong())?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines
        .map(str::parse)
        .collect::<Result<Vec<PublicKey>, _>>()
        .map_err(|_| wrong())?;
    if keys.is_empty() {
        Err(wrong())
    } else {
        Ok(ManifestKeys::Trusted(keys))
    }
}

/// An HTTP client that trusts what `--ca` names, or else the roots of the system; those are only looked for when
/// they are needed, since a ramdisk has none.
fn client(args: &WriteArgs, location: &Location) -> Result<HttpClient, WriteCommandError> {
    let https = matches!(location, Location::Url(url) if url.scheme() == "https");
    if https && args.ca.is_none() {
        let client = http_client(None).map_err(WriteCommandError::Client)?;
        return Ok(if args.http2 { client.with_http2() } else { client });
    }
    let mut roots = rustls::RootCertStore::empty();
    if let Some(file) = &args.ca {
        read_roots(file, &mut roots).map_err(|source| WriteCommandError::Ca {
            file: file.display().to_string(),
            source,
        })?;
    }
    let client = http_client_trusting(roots).map_err(WriteCommandError::Client)?;
    Ok(if args.http2 { client.with_http2() } else { client })
}

fn read_roots(
    file: &Path,
    roots: &mut rustls::RootCertStore,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        Err("there is none in it".into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";

    #[test]
    fn keys_are_hex_or_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        std::fs::write(file.path(), format!("# ours\n{KEY}\n\n{KEY}\n")).unwrap();
        for (given, count) in [(KEY, 1), (path, 2)] {
            let Ok(ManifestKeys::Trusted(keys)) = keys(Some(given)) else {
                panic!("{given}")
            };
            assert_eq!(keys.len(), count);
        }
        std::fs::write(file.path(), "# none\n").unwrap();
        for given in [path, "/nowhere", "3b6a"] {
            assert!(
                matches!(keys(Some(given)), Err(WriteCommandError::Key { .. })),
                "{given}"
            );
        }
    }
}
