//! Boot HTTP: scripts, kernel and ramdisk, identity initrds. Plain HTTP, because firmware and iPXE know no CA of ours;
//! what is secret (the boot token) is worth nothing without the machine it is bound to, and only once.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::BoxFuture;
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::facts::{self, BootAction, BootFacts};
use super::identity_initrd::{self, Identity};
use super::script::{self, Scripts};
use super::tftp;
use super::tokens::BootTokens;

pub mod listen;

/// Read size of file downloads.
const READ_SIZE: usize = 256 * 1024;

/// Decides what a machine boots; an error is a sentence for its screen.
pub type Decide = Arc<dyn Fn(BootFacts) -> BoxFuture<'static, Result<BootAction, String>> + Send + Sync>;

/// What boot HTTP serves from.
#[derive(Clone)]
pub struct BootSite {
    /// The scripts.
    pub scripts: Scripts,
    /// Folder with `vmlinuz` and `initrd.img`.
    pub ramdisk_dir: PathBuf,
    /// Folder with the iPXE files.
    pub ipxe_dir: PathBuf,
    /// Further initrds, by number.
    pub extra_initrds: Vec<PathBuf>,
    /// What agents dial.
    pub controller_url: String,
    /// The controller's CA.
    pub ca_pem: String,
    /// Public keys of manifests, hex.
    pub manifest_keys: Vec<String>,
    /// One-time tokens.
    pub tokens: BootTokens,
    /// What a machine boots.
    pub decide: Decide,
}

impl std::fmt::Debug for BootSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootSite")
            .field("ramdisk_dir", &self.ramdisk_dir)
            .finish_non_exhaustive()
    }
}

/// The routes of boot HTTP.
pub fn router(site: BootSite) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(|| async { Json(serde_json::json!({ "status": "ok" })) }),
        )
        .route("/boot/start.ipxe", get(start))
        .route("/boot/node.ipxe", get(node))
        .route("/boot/identity/{nonce}", get(identity))
        .route("/boot/extra/{number}", get(extra))
        .route("/ramdisk/{file}", get(ramdisk))
        .route("/ipxe/{file}", get(ipxe))
        .with_state(Arc::new(site))
}

type Site = State<Arc<BootSite>>;

/// The query of `node.ipxe`, as iPXE fills it in; missing values come as empty strings.
#[derive(Debug, Deserialize)]
struct NodeQuery {
    #[serde(default)]
    mac: String,
    #[serde(default)]
    uuid: String,
    #[serde(default)]
    serial: String,
    #[serde(default)]
    platform: String,
}

async fn start(State(site): Site) -> Response {
    script_response(site.scripts.start())
}

async fn node(State(site): Site, Query(query): Query<NodeQuery>) -> Response {
    let values = [&query.mac, &query.uuid, &query.serial, &query.platform];
    if values.into_iter().any(|value| facts::is_hostile(value)) {
        tracing::warn!(?query, "refused a boot request whose values are commands");
        return text(
            StatusCode::BAD_REQUEST,
            "a value of this request holds a line break, a variable or an operator of iPXE scripts\n",
        );
    }
    let facts = match BootFacts::parse(&query.mac, &query.uuid, &query.serial, &query.platform) {
        Ok(facts) => facts,
        Err(error) => {
            tracing::warn!(%error, "a machine asked what to boot without a usable MAC address");
            return script_response(script::refused(&error.to_string()));
        }
    };
    let action = match (site.decide)(facts.clone()).await {
        Ok(action) => action,
        Err(reason) => {
            tracing::error!(mac = %facts.mac, reason, "cannot decide what a machine boots");
            return script_response(site.scripts.again(&reason));
        }
    };
    match action {
        BootAction::LocalDisk { reason, how } => {
            tracing::info!(mac = %facts.mac, reason, "machine boots its local disk");
            script_response(script::local_disk(&facts, how, &reason))
        }
        BootAction::Ramdisk {
            reason,
            kernel_arguments,
        } => match site.tokens.issue(&facts).await {
            Ok(issued) => {
                tracing::info!(mac = %facts.mac, reason, "machine boots the ramdisk");
                script_response(
                    site.scripts
                        .ramdisk(&facts, &issued.nonce, &kernel_arguments, &reason),
                )
            }
            Err(error) => {
                tracing::error!(mac = %facts.mac, error = &error as &dyn std::error::Error, "cannot issue a boot token");
                script_response(
                    site.scripts
                        .again("the controller cannot issue a boot token, see its log"),
                )
            }
        },
    }
}

async fn identity(State(site): Site, Path(nonce): Path<String>) -> Response {
    let Some(pending) = site.tokens.pending(&nonce) else {
        return text(
            StatusCode::NOT_FOUND,
            "this boot identity was used, replaced or expired; boot again\n",
        );
    };
    let built = identity_initrd::build(&Identity {
        version: 1,
        controller_url: &site.controller_url,
        ca_pem: &site.ca_pem,
        manifest_keys: &site.manifest_keys,
        boot_token: &pending.token,
        issued_at: pending.issued_at,
        node_hint: pending.facts.mac.as_str(),
    });
    match built {
        Ok(archive) => {
            tracing::info!(mac = %pending.facts.mac, "boot identity handed out");
            let mut response = archive.to_vec().into_response();
            no_store(&mut response);
            response
        }
        Err(error) => {
            tracing::error!(%error, "cannot encode a boot identity");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "cannot encode the boot identity\n",
            )
        }
    }
}

async fn ramdisk(State(site): Site, Path(file): Path<String>) -> Response {
    match ["vmlinuz", "initrd.img"].into_iter().find(|name| *name == file) {
        Some(name) => file_response(&site.ramdisk_dir.join(name)).await,
        None => not_found(),
    }
}

async fn ipxe(State(site): Site, Path(file): Path<String>) -> Response {
    match tftp::allowed(FilePath::new(&file)) {
        Some(name) => file_response(&site.ipxe_dir.join(name)).await,
        None => not_found(),
    }
}

async fn extra(State(site): Site, Path(number): Path<String>) -> Response {
    match number
        .parse::<usize>()
        .ok()
        .and_then(|n| site.extra_initrds.get(n))
    {
        Some(path) => file_response(path).await,
        None => not_found(),
    }
}

/// A file, streamed, with its length: boot loaders show progress by it and notice a cut.
async fn file_response(path: &FilePath) -> Response {
    let opened = async {
        let file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        std::io::Result::Ok((file, length))
    };
    match opened.await {
        Ok((file, length)) => {
            let body = Body::from_stream(ReaderStream::with_capacity(file, READ_SIZE));
            let mut response = body.into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            );
            response
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot read a boot file");
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the controller cannot read this file, see its log; `cargo xtask ramdisk` makes the ramdisk\n",
            )
        }
    }
}

fn script_response(script: String) -> Response {
    let mut response = script.into_response();
    no_store(&mut response);
    response
}

fn no_store(response: &mut Response) {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn text(status: StatusCode, message: &'static str) -> Response {
    (status, message).into_response()
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "no such boot file\n")
}

#[cfg(test)]
mod tests;
