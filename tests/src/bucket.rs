//! A bucket of an S3 service that somebody else runs: the crate `s3s` over a folder, as a process beside the controller, which keeps
//! its images there. Its power can be taken away, and it comes back with what it had.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::process::{self, Service};

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);
const NAME: &str = "images";
const KEY: &str = "AKIAIMPRINTLAB";
const SECRET: &str = "a-secret-of-the-lab-that-opens-nothing";
const QUICK: Duration = Duration::from_secs(20);

/// A running service with one bucket; it ends when this is dropped.
#[derive(Debug)]
pub struct Bucket {
    root: PathBuf,
    credentials: PathBuf,
    log: PathBuf,
    service: Option<Service>,
}

impl Bucket {
    /// Makes an empty bucket in `folder`, and serves it.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut bucket = Self {
            root: folder.join("s3"),
            credentials: folder.join("s3.toml"),
            log: folder.join("s3.log"),
            service: None,
        };
        fs::create_dir_all(bucket.root.join(NAME)).context("cannot make the bucket")?;
        let mut file = fs::File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&bucket.credentials)
            .context("cannot keep the credentials of the bucket")?;
        writeln!(
            file,
            "access_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\""
        )
        .context("cannot keep the credentials of the bucket")?;
        bucket.switch_on()?;
        Ok(bucket)
    }

    /// Serves again after it was killed.
    pub fn switch_on(&mut self) -> Result<()> {
        ensure!(self.service.is_none(), "the S3 service is on already");
        let mut command = process::this_program();
        command
            .arg("internal-bucket")
            .arg(ADDRESS.to_string())
            .arg(&self.root)
            .stdin(Stdio::null());
        let mut service = Service::start("the S3 service", &mut command, &self.log)?;
        interrupt::until(&format!("the S3 service to listen at {ADDRESS}"), QUICK, || {
            service.expect_running()?;
            Ok(TcpStream::connect_timeout(&ADDRESS, QUICK).ok())
        })
        .explain(|| format!("its log:\n{}", process::file_tail(&self.log, 15)))?;
        self.service = Some(service);
        Ok(())
    }

    /// Takes its power away.
    pub fn kill(&mut self) -> Result<()> {
        let service = self.service.take();
        service.context("the S3 service is off")?.kill()
    }

    /// The controller's section about its store.
    pub fn section(&self) -> String {
        section(&self.credentials)
    }
}

fn section(credentials: &Path) -> String {
    format!(
        "[store]\nurl = \"s3://{NAME}/lab\"\nendpoint = \"http://{ADDRESS}\"\ncredentials_file = {:?}\n",
        credentials.display().to_string()
    )
}

/// The service's own process: answers until it is killed.
pub fn serve(listen: SocketAddr, root: &Path) -> Result<()> {
    let files = FileSystem::new(root).map_err(|error| anyhow!("cannot use {}: {error:?}", root.display()))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let router = Router::new().fallback(answer).with_state(service.build());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime of the S3 service")?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await;
        let listener = listener.with_context(|| format!("cannot listen at {listen}"))?;
        axum::serve(listener, router)
            .await
            .context("the S3 service has ended")
    })
}

async fn answer(State(service): State<S3Service>, request: Request) -> Response {
    match service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => {
            eprintln!("the S3 service has not answered: {error:?}");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_is_told_where_it_is() {
        assert_eq!(
            section(Path::new("/lab/s3.toml")),
            "[store]\nurl = \"s3://images/lab\"\nendpoint = \"http://127.0.0.1:9000\"\n\
             credentials_file = \"/lab/s3.toml\"\n"
        );
    }
}
