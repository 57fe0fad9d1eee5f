//! The store in a bucket of an S3 service.
//!
//! The client is `object_store`'s, over our own HTTP client: rustls with aws-lc-rs, no proxy, no redirects (a request is
//! signed for one host). It repeats what can be repeated, for `store.retry_seconds`.

use std::{fs, sync::Arc, time::Duration};

use futures::StreamExt;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    StaticCredentialProvider,
    aws::{AmazonS3, AmazonS3Builder, AwsCredential},
    client::{HttpClient, HttpConnector},
    path::Path as Key,
    prefix::PrefixStore,
};
use reqwest::redirect::Policy;
use ulid::Ulid;

use super::{
    StoreError,
    credentials::{self, Credentials},
    fault::BucketFault,
};
use crate::config::BucketConfig;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// From the begin of a request to the head of its answer, and between two pieces of the answer: a pack of 32 MiB goes
/// out before its answer comes.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// The time is the limit.
const MAX_RETRIES: usize = 1000;
/// Says whose images these are.
const OWNER: &str = "owner";
const MAX_OWNER_BYTES: u64 = 4096;

/// A bucket as a store of objects, below its prefix.
pub type Bucket = PrefixStore<AmazonS3>;

/// The HTTP client that all requests go through.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// A client for a bucket, with the credentials that its configuration names. Nothing is sent yet.
pub fn configured(config: &BucketConfig) -> Result<Bucket, StoreError> {
    let place = config.url.to_string();
    let credentials = credentials::read(config.credentials_file.as_deref());
    let credentials =
        credentials.map_err(|(cause, remedy)| StoreError::Credentials { place, cause, remedy })?;
    connect(config, credentials)
}

/// A client for a bucket. Nothing is sent yet.
pub fn connect(config: &BucketConfig, credentials: Credentials) -> Result<PrefixStore<AmazonS3>, StoreError> {
    let failed = |cause: String| StoreError::Setup {
        place: config.url.to_string(),
        cause,
    };
    let credential = AwsCredential {
        key_id: credentials.access_key_id,
        secret_key: credentials.secret_access_key.to_string(),
        token: credentials.session_token.map(|token| token.to_string()),
    };
    let http = config.endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.url.bucket)
        .with_region(&config.region)
        .with_virtual_hosted_style_request(!config.path_style)
        .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
        .with_allow_http(http)
        // Not all services have it.
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: MAX_RETRIES,
            retry_timeout: config.retry,
        })
        .with_http_connector(Connector(http_client(config).map_err(failed)?));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(service_url(config, endpoint));
    }
    let bucket = builder.build().map_err(|e| failed(e.to_string()))?;
    Ok(PrefixStore::new(bucket, config.url.prefix.as_str()))
}

/// The endpoint as the client wants it: with the bucket in its host when it is not in the path.
fn service_url(config: &BucketConfig, endpoint: &url::Url) -> String {
    let bare = endpoint.as_str().trim_end_matches('/');
    if config.path_style {
        return bare.to_owned();
    }
    let scheme = format!("{}://", endpoint.scheme());
    bare.replacen(&scheme, &format!("{scheme}{}.", config.url.bucket), 1)
}

fn http_client(config: &BucketConfig) -> Result<reqwest::Client, String> {
    // The only provider there is. Whoever came first has installed the same one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut authorities = Vec::new();
    if let Some(path) = &config.ca_file {
        let wrong = |e: &dyn std::fmt::Display| format!("store.ca_file {}: {e}", path.display());
        let pem = fs::read(path).map_err(|e| wrong(&e))?;
        authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(&e))?;
        if authorities.is_empty() {
            return Err(wrong(&"there is no certificate in it"));
        }
    }
    reqwest::Client::builder()
        .user_agent(concat!("imprint/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(SILENCE_LIMIT)
        .tls_certs_merge(authorities)
        .build()
        .map_err(|e| e.to_string())
}

/// Tries that the bucket can be listed, written, read and cleaned, and that it is this controller's.
pub(super) async fn check(bucket: &Bucket, place: &str, owners: &[String]) -> Result<(), StoreError> {
    let failed = |what: &'static str, key: &Key, error: &object_store::Error| StoreError::Bucket {
        what,
        key: key.to_string(),
        place: place.to_owned(),
        fault: BucketFault::of(error),
    };
    let probe = Key::from(format!("check/{}", Ulid::generate()));
    if let Some(Err(error)) = bucket.list(None).next().await {
        return Err(failed("list", &Key::default(), &error));
    }
    own(bucket, place, owners).await?;
    let content = PutPayload::from_static(b"imprint");
    bucket
        .put(&probe, content)
        .await
        .map_err(|e| failed("write", &probe, &e))?;
    let read = bucket.get_range(&probe, 2..5).await;
    let removed = bucket.delete(&probe).await;
    let read = read.map_err(|e| failed("read", &probe, &e))?;
    removed.map_err(|e| failed("remove", &probe, &e))?;
    if read[..] != *b"pri" {
        return Err(StoreError::Setup {
            place: place.to_owned(),
            cause: format!("{probe} came back with another content than was written"),
        });
    }
    Ok(())
}

/// Two controllers in one place would take each other's images for garbage.
async fn own(bucket: &Bucket, place: &str, owners: &[String]) -> Result<(), StoreError> {
    let key = Key::from(OWNER);
    let failed = |what, error: &object_store::Error| StoreError::Bucket {
        what,
        key: key.to_string(),
        place: place.to_owned(),
        fault: BucketFault::of(error),
    };
    let found = match bucket.get(&key).await {
        Ok(found) if found.meta.size > MAX_OWNER_BYTES => None,
        Ok(found) => Some(found.bytes().await.map_err(|e| failed("read", &e))?),
        Err(object_store::Error::NotFound { .. }) => {
            let owner = owners.first().cloned().unwrap_or_default();
            let written = bucket.put(&key, owner.into_bytes().into()).await;
            return written.map(drop).map_err(|e| failed("write", &e));
        }
        Err(error) => return Err(failed("read", &error)),
    };
    if found.is_some_and(|found| owners.iter().any(|owner| owner.as_bytes() == &found[..])) {
        Ok(())
    } else {
        Err(StoreError::Foreign {
            place: place.to_owned(),
        })
    }
}
