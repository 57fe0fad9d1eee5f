//! A real S3 server for tests: the crate `s3s` (protocol, signatures of version 4) over a folder, on loopback.
//!
//! It can go away and come back, and it counts what is asked of it.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::config::BucketConfig;

pub(crate) const KEY: &str = "AKIAIMPRINTTEST";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLE";

/// The server; ends when it is dropped.
pub(crate) struct S3Server {
    scheme: &'static str,
    address: SocketAddr,
    folder: TempDir,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    service: S3Service,
    away: watch::Sender<bool>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<(http::Method, String)>,
    puts_left: Option<usize>,
}

impl S3Server {
    pub(crate) async fn start(buckets: &[&str]) -> Self {
        Self::serve(buckets, None).await
    }

    /// With TLS, by a CA that only the test knows.
    pub(crate) async fn start_tls(buckets: &[&str]) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let server = Self::serve(buckets, Some(TlsAcceptor::from(Arc::new(config)))).await;
        std::fs::write(server.ca_file(), authority_pem).unwrap();
        server
    }

    async fn serve(buckets: &[&str], tls: Option<TlsAcceptor>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for bucket in buckets {
            std::fs::create_dir_all(root.join(bucket)).unwrap();
        }
        let credentials = folder.path().join("s3.toml");
        let text = format!("access_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\"\n");
        std::fs::write(&credentials, text).unwrap();
        std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(&root).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let shared = Arc::new(Shared {
            service: service.build(),
            away: watch::Sender::new(false),
            seen: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        Self {
            scheme: if tls.is_some() { "https" } else { "http" },
            address: listener.local_addr().unwrap(),
            folder,
            task: tokio::spawn(accept(listener, tls, shared.clone())),
            shared,
        }
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// How a controller would be told about a bucket of this server.
    pub(crate) fn bucket(&self, url: &str) -> BucketConfig {
        BucketConfig {
            url: url.parse().unwrap(),
            endpoint: Some(format!("{}://{}", self.scheme, self.address).parse().unwrap()),
            region: "us-east-1".into(),
            path_style: true,
            credentials_file: Some(self.folder.path().join("s3.toml")),
            ca_file: (self.scheme == "https").then(|| self.ca_file()),
            retry: Duration::from_millis(300),
        }
    }

    /// Where the server keeps an object.
    pub(crate) fn path_of(&self, bucket: &str, key: &str) -> PathBuf {
        self.root().join(bucket).join(key)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// All objects of a bucket, by their keys.
    pub(crate) fn keys(&self, bucket: &str) -> Vec<String> {
        let root = self.root().join(bucket);
        let (mut folders, mut keys) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    keys.push(relative(&path, &root));
                }
            }
        }
        keys.sort();
        keys
    }

    /// Every connection breaks, and no other one is taken, until [`S3Server::come_back`].
    pub(crate) fn go_away(&self) {
        self.shared.away.send_replace(true);
    }

    /// The same in the middle of the write after the next `puts` ones.
    pub(crate) fn go_away_after(&self, puts: usize) {
        self.shared.seen.lock().unwrap().puts_left = Some(puts);
    }

    pub(crate) fn is_away(&self) -> bool {
        *self.shared.away.borrow()
    }

    pub(crate) fn come_back(&self) {
        self.shared.seen.lock().unwrap().puts_left = None;
        self.shared.away.send_replace(false);
    }

    /// Requests of a kind whose path has `part` in it.
    pub(crate) fn count(&self, method: &http::Method, part: &str) -> usize {
        let seen = self.shared.seen.lock().unwrap();
        let wanted = seen
            .requests
            .iter()
            .filter(|(m, path)| m == method && path.contains(part));
        wanted.count()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
        self.go_away();
    }
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        if *shared.away.borrow() {
            continue;
        }
        tokio::spawn(converse(socket, tls.clone(), shared.clone()));
    }
}

async fn converse(socket: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut away = shared.away.subscribe();
    let answer = async {
        match tls {
            None => answer(socket, shared).await,
            // A client that does not like the certificate is gone.
            Some(tls) => {
                if let Ok(socket) = tls.accept(socket).await {
                    answer(socket, shared).await;
                }
            }
        }
    };
    tokio::select! {
        _ = away.wait_for(|away| *away) => {}
        () = answer => {}
    }
}

async fn answer(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let goes = shared.note(&request);
        let shared = shared.clone();
        async move {
            if goes {
                shared.away.send_replace(true);
                std::future::pending::<()>().await;
            }
            shared.service.call(request.map(s3s::Body::from)).await
        }
    });
    // A client that went away is no fault of the server.
    Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(socket), service)
        .await
        .ok();
}

impl Shared {
    /// Whether the server is to go away now.
    fn note(&self, request: &http::Request<hyper::body::Incoming>) -> bool {
        let mut seen = self.seen.lock().unwrap();
        let call = (request.method().clone(), request.uri().path().to_owned());
        if call.0 == http::Method::PUT
            && let Some(left) = &mut seen.puts_left
        {
            if *left == 0 {
                return true;
            }
            *left -= 1;
        }
        seen.requests.push(call);
        false
    }
}
