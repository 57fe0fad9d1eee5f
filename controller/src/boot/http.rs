//! Boot HTTP: scripts, kernel and ramdisk, identity initrds. Plain HTTP, because firmware and iPXE know no CA of ours;
//! what is secret (the boot token) is worth nothing without the machine it is bound to, and only once.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::script::{self, RESCUE_IMAGE};
use super::site::{Answer, BootSite, Said};
use super::tftp;
use crate::range;

pub mod listen;

/// Read size of file downloads.
const READ_SIZE: usize = 256 * 1024;

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
        .route("/boot/media/{file}", get(media))
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
    let said = Said {
        mac: &query.mac,
        uuid: &query.uuid,
        serial: &query.serial,
        platform: &query.platform,
    };
    script_response(match site.answer(said).await {
        Answer::Hostile => {
            return text(
                StatusCode::BAD_REQUEST,
                "a value of this request holds a line break, a variable or an operator of iPXE scripts\n",
            );
        }
        Answer::Nameless { reason } => script::refused(&reason),
        Answer::Again { reason } => site.scripts.again(&reason),
        Answer::LocalDisk { facts, how, reason } => script::local_disk(&facts, how, &reason),
        Answer::Ramdisk {
            facts,
            nonce,
            kernel_arguments,
            rescue,
            reason,
        } => site
            .scripts
            .ramdisk(&facts, &nonce, &kernel_arguments, rescue, &reason),
    })
}

async fn identity(State(site): Site, Path(nonce): Path<String>) -> Response {
    match site.identity(&nonce) {
        Some(Ok(archive)) => {
            let mut response = archive.into_response();
            no_store(&mut response);
            response
        }
        Some(Err(_)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "cannot encode the boot identity\n",
        ),
        None => text(
            StatusCode::NOT_FOUND,
            "this boot identity was used, replaced or expired; boot again\n",
        ),
    }
}

/// A CD made for one server. BMCs read it in ranges, some of them whole.
async fn media(State(site): Site, Path(file): Path<String>, asked: HeaderMap) -> Response {
    let made = file.strip_suffix(".iso").and_then(|nonce| site.media(nonce));
    let (size, filled) = match made {
        Some(Ok(made)) => made,
        Some(Err(_)) => {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the controller cannot make this CD, see its log\n",
            );
        }
        None => {
            return text(
                StatusCode::NOT_FOUND,
                "this CD was used, replaced or has expired; the controller makes another one for the next start\n",
            );
        }
    };
    let sent = match range::read(range::asked(&asked), size) {
        Ok(sent) => sent,
        Err(outside) => {
            let mut response = text(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "the CD ends before this range\n",
            );
            outside.describe(&mut response);
            return response;
        }
    };
    let mut response = Response::new(Body::empty());
    sent.describe(&mut response);
    no_store(&mut response);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-iso9660-image"),
    );
    *response.body_mut() = Body::from_stream(filled.stream(sent.bytes));
    response
}

async fn ramdisk(State(site): Site, Path(file): Path<String>) -> Response {
    match ["vmlinuz", "initrd.img", RESCUE_IMAGE]
        .into_iter()
        .find(|name| *name == file)
    {
        Some(name) => file_response(&site.ramdisk_dir.join(name)).await,
        None => not_found(),
    }
}

async fn ipxe(State(site): Site, Path(file): Path<String>) -> Response {
    match tftp::ipxe_file(&file) {
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
