//! Where the bytes of an import come from: each source opened, and handed over as a stream or as a file.

mod oci;
mod reference;

use std::{error::Error, fs, io, path::Path, time::Duration};

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{
    FutureExt, Stream, StreamExt,
    future::{self, BoxFuture},
};
use http::HeaderMap;
use url::Url;
use zeroize::Zeroizing;

use super::{
    ImportError, ImportRequest, ImportSource, Inner,
    bytes::{Origin, bridge},
    fetch::{self, AddressPolicy, Credential, Download, Fetcher, Resolver},
};
use crate::config::{CredentialConfig, IngestConfig};

/// A caller that sends nothing for so long has gone.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A source that is open.
pub(super) struct Opened {
    pub(super) origin: Origin,
    /// Moves the bytes of a stream until it ends.
    pub(super) feed: BoxFuture<'static, ()>,
    /// Of the file, if it is known.
    pub(super) length: Option<u64>,
    /// SHA-256 that the source promises.
    pub(super) sha256: Option<[u8; 32]>,
}

impl Opened {
    pub(super) fn stream<S, E>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let (reader, feed) = bridge(stream);
        Self {
            origin: Origin::Stream(reader),
            feed: feed.boxed(),
            length,
            sha256: None,
        }
    }

    fn download(download: Download) -> Self {
        let length = download.length();
        Self::stream(download.pieces(), length)
    }
}

/// A source that was looked at, and what opens it when its turn comes.
pub(super) struct Prepared {
    pub(super) opening: BoxFuture<'static, Result<Opened, ImportError>>,
    /// Of the file, if it is known already.
    pub(super) length: Option<u64>,
}

/// The body of a request. An idle caller is a gone one.
pub(super) fn stream_of(
    body: Body,
) -> impl Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> + Send {
    let pieces = tokio_stream::StreamExt::timeout(body.into_data_stream(), IDLE_LIMIT);
    pieces.map(|piece| match piece {
        Ok(piece) => piece.map_err(Into::into),
        Err(_) => Err(format!("no byte came for {} seconds", IDLE_LIMIT.as_secs()).into()),
    })
}

/// The HTTP client for the sources of callers.
pub(super) fn fetcher(config: &IngestConfig) -> io::Result<Fetcher> {
    let mut authorities = Vec::new();
    if let Some(path) = &config.ca_file {
        let pem = fs::read(path)?;
        authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(io::Error::other)?;
    }
    let policy = AddressPolicy::new(config.allow_networks.clone());
    Ok(Fetcher::new(policy, Resolver::system(), authorities))
}

impl Inner {
    /// Refuses a source that cannot be, without asking anybody.
    pub(super) async fn prepare(
        &self,
        source: &ImportSource,
        request: &ImportRequest,
    ) -> Result<Prepared, ImportError> {
        let limit = self.config.max_file_bytes;
        let fetcher = self.fetcher.clone();
        match source {
            ImportSource::Url { url, credential } => {
                fetch::check(url)?;
                let credential = self.credential(credential.as_deref())?;
                let url = url.clone();
                let opening = async move {
                    let download = fetcher.open(&url, HeaderMap::new(), credential, limit).await?;
                    Ok(Opened::download(download))
                };
                Ok(Prepared {
                    opening: opening.boxed(),
                    length: None,
                })
            }
            ImportSource::Oci {
                reference,
                layer,
                credential,
            } => {
                let artifact = oci::Artifact {
                    reference: reference.parse()?,
                    layer: layer.clone(),
                    credential: self.credential(credential.as_deref())?,
                };
                Ok(Prepared {
                    opening: async move { artifact.open(&fetcher, limit).await }.boxed(),
                    length: None,
                })
            }
            ImportSource::S3 { destination, key } => {
                let file = self.exports.file(&request.by.project_id, destination, key)?;
                let opening = async move {
                    let (length, pieces) = file.open().await?;
                    if length > limit {
                        return Err(ImportError::TooLarge { limit });
                    }
                    Ok(Opened::stream(pieces, Some(length)))
                };
                Ok(Prepared {
                    opening: opening.boxed(),
                    length: None,
                })
            }
            ImportSource::Upload { upload } => {
                let upload = self.uploads.complete(&request.by.viewer(), upload).await?;
                let (uploads, length) = (self.uploads.clone(), upload.offset);
                let opening = async move {
                    let file = uploads.taken(&upload).await?;
                    Ok(Opened {
                        origin: Origin::File(file),
                        feed: future::ready(()).boxed(),
                        length: Some(length),
                        sha256: None,
                    })
                };
                Ok(Prepared {
                    opening: opening.boxed(),
                    length: Some(length),
                })
            }
        }
    }

    /// A credential of the configuration by its name.
    fn credential(&self, name: Option<&str>) -> Result<Option<Credential>, ImportError> {
        let Some(name) = name else { return Ok(None) };
        let configured = self.config.credentials.iter().find(|one| one.name == name);
        let configured = configured.ok_or_else(|| ImportError::NotConfigured {
            name: name.to_owned(),
        })?;
        read_credential(configured)
            .map(Some)
            .map_err(|source| ImportError::Credential {
                name: name.to_owned(),
                source,
            })
    }
}

fn read_credential(configured: &CredentialConfig) -> io::Result<Credential> {
    let text = read_secret(&configured.file)?;
    let value = match text.split_once(' ') {
        Some(("Bearer" | "Basic", _)) => text,
        _ => Zeroizing::new(format!("Basic {}", STANDARD.encode(text.as_bytes()))),
    };
    let origins = configured
        .origins
        .iter()
        .filter_map(|url: &Url| fetch::Origin::of(url));
    Ok(Credential::new(origins.collect(), value))
}

fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    use io::Read;
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path)?
        .take(MAX_SECRET_BYTES)
        .read_to_string(&mut text)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}
