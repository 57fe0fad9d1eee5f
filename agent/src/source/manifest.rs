//! Reading a manifest: bounded, checked before it is parsed, and tried again while its server is away.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use imprint_image::{MAX_MANIFEST_BYTES, Manifest, PublicKey, SignedManifest, seal::DataKey};
use reqwest::header::HeaderMap;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{
    HttpClient, Location, Patience, SourceError,
    body::{answer, refusal},
    patience::{Verdict, is_worth_a_note},
    whole_cause,
};

/// Whose signature a manifest needs.
#[derive(Debug, Clone)]
pub enum ManifestKeys {
    /// One of these keys must have signed it.
    Trusted(Vec<PublicKey>),
    /// Nobody's: an operator vouches for it by hand.
    Unverified,
}

/// Reads, proves, decrypts and parses the manifest at `location`; `data_key` is that of an encrypted image. While its server is away or busy it is asked again, for
/// `patience` in all.
///
/// # Errors
/// When it can't be read, is too long, isn't signed by a trusted key, isn't encrypted with the key, or isn't sound.
pub async fn load_manifest(
    location: &Location,
    client: &HttpClient,
    keys: &ManifestKeys,
    data_key: Option<&DataKey>,
    patience: Duration,
    read_timeout: Duration,
) -> Result<Manifest, SourceError> {
    let bytes = match location {
        Location::File(path) => {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
            read.expect("reading a file doesn't panic")?
        }
        Location::Url(url) => {
            let mut patience = Patience::new(patience);
            loop {
                match read_url(client, url, read_timeout).await {
                    Ok(bytes) => break bytes,
                    Err(error) if error.is_permanent() => return Err(error),
                    Err(error) => {
                        let cause = whole_cause(&error);
                        match patience.after(error, Instant::now(), None) {
                            Verdict::Again { delay, attempt } => {
                                if is_worth_a_note(attempt) {
                                    warn!(
                                        cause,
                                        attempt,
                                        ?delay,
                                        "the manifest cannot be read, trying again"
                                    );
                                }
                                sleep(delay).await;
                            }
                            Verdict::Enough(error) => return Err(error),
                        }
                    }
                }
            }
        }
    };
    let opened = match keys {
        ManifestKeys::Trusted(keys) => SignedManifest::open_with(&bytes, keys, data_key),
        ManifestKeys::Unverified => SignedManifest::open_unverified_with(&bytes, data_key),
    };
    opened.map_err(|source| SourceError::Manifest {
        place: location.to_string(),
        source,
    })
}

fn read_file(path: &std::path::Path) -> Result<Vec<u8>, SourceError> {
    let failed = |source| SourceError::File {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(SourceError::Long {
            place: path.display().to_string(),
            expected: MAX_MANIFEST_BYTES,
        });
    }
    Ok(bytes)
}

async fn read_url(
    client: &HttpClient,
    url: &url::Url,
    read_timeout: Duration,
) -> Result<Vec<u8>, SourceError> {
    let shown = super::public_url(url);
    let mut response = answer(client.get(url, HeaderMap::new()), &shown, read_timeout).await?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(refusal(&response, shown));
    }
    let mut bytes = Vec::new();
    loop {
        let piece = match timeout(read_timeout, response.chunk()).await {
            Err(_) => {
                return Err(SourceError::Silent {
                    url: shown,
                    waited: read_timeout,
                });
            }
            Ok(Err(error)) => {
                return Err(SourceError::Request {
                    url: shown,
                    source: error.without_url(),
                });
            }
            Ok(Ok(None)) => return Ok(bytes),
            Ok(Ok(Some(piece))) => piece,
        };
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(SourceError::Long {
                place: shown,
                expected: MAX_MANIFEST_BYTES,
            });
        }
    }
}
