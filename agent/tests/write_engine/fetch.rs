//! Requests: what a break costs, and which HTTP is spoken.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::Request,
    http::Version,
    middleware::{Next, from_fn},
    serve::Listener,
};
use imprint_agent::{
    source::{HttpClient, PackSource, http_client_trusting},
    stream::FailureKind,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_break_of_all_connections_near_the_end_costs_what_was_in_flight() {
    let mut content = vec![0x22; 60 * MIB];
    for chunk in 0..60 {
        content[chunk * MIB..][..MIB / 4].copy_from_slice(&noise(&format!("f {chunk}"), MIB / 4));
    }
    let store = Store::new(&content, 512);
    let mut server = Server::start(store.dir.path());
    *server.behaviour.pause.lock().unwrap() = Duration::from_millis(4);
    let disk = DirtyFile::new(61 * MIB);
    let (manifest, packs, target) = (Arc::clone(&store.manifest), server.packs(), disk.target(512));
    let writing = tokio::spawn(async move { write(&manifest, packs, &target, options()).await });
    while server.served() < store.manifest.fetch_bytes() / 10 * 9 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.down();
    server.up();
    let figures = writing.await.unwrap().result.unwrap().figures;
    assert!(figures.retries > 0);
    let twice = figures.bytes_fetched - store.manifest.fetch_bytes();
    let frames = store
        .manifest
        .chunks
        .iter()
        .map(|chunk| u64::from(chunk.frame_bytes));
    let in_flight = 8 * frames.max().unwrap();
    assert!(
        twice <= in_flight,
        "{twice} bytes came twice, {in_flight} were in flight at most"
    );
    assert_eq!(figures.chunks_fetched, store.manifest.chunks.len() as u64);
    assert_same(&disk.content(), &expected_disk(&content, 61 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_of_another_size_is_told_as_such() {
    let store = Store::new(&disk_content(), 512);
    let server = Server::start(store.dir.path());
    let pack = store.manifest.packs[0];
    let path = store.dir.path().join("packs").join(pack.digest.to_string());
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(pack.size_bytes + 1).unwrap();
    let disk = DirtyFile::new(32 * MIB);
    let told = write(&store.manifest, server.packs(), &disk.target(512), options()).await;
    let failure = told.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Source);
    let expected = format!("has {} bytes, expected {}", pack.size_bytes + 1, pack.size_bytes);
    assert!(failure.cause.contains(&expected), "{failure}");
    assert!(
        failure.remedy.contains("isn't the one of the manifest"),
        "{}",
        failure.remedy
    );
    assert!(failure.head_cleared);
}

/// TLS for axum, with these protocols.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A handshake that fails is what some tests are about.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A server for a store that speaks these protocols; its URL, a client that trusts it, and what was spoken.
async fn secure(store: &Store, protocols: &[&str]) -> (String, HttpClient, Arc<Mutex<Vec<Version>>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let spoken = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&spoken);
    let router =
        router(store.dir.path(), &Arc::default()).layer(from_fn(move |request: Request, next: Next| {
            heard.lock().unwrap().push(request.version());
            next.run(request)
        }));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move { axum::serve(Tls { listener, acceptor }, router).await.unwrap() });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (url, http_client_trusting(roots).unwrap(), spoken)
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_where_nothing_else_is_understood_or_when_it_is_asked_for() {
    let content = disk_content();
    let store = Store::new(&content, 512);
    let table: [(&[&str], bool, Version); 4] = [
        (&["h2", "http/1.1"], false, Version::HTTP_11),
        (&[], false, Version::HTTP_11),
        (&["h2"], false, Version::HTTP_2),
        (&["h2", "http/1.1"], true, Version::HTTP_2),
    ];
    for (protocols, forced, expected) in table {
        let (url, client, spoken) = secure(&store, protocols).await;
        let client = if forced { client.with_http2() } else { client };
        let packs = PackSource::http(&url.parse().unwrap(), client);
        let disk = DirtyFile::new(32 * MIB);
        let told = write(&store.manifest, packs, &disk.target(512), options()).await;
        told.result.unwrap();
        assert_same(&disk.content(), &expected_disk(&content, 32 * MIB));
        let spoken = spoken.lock().unwrap();
        assert!(!spoken.is_empty());
        assert!(
            spoken.iter().all(|version| *version == expected),
            "{protocols:?} {forced}: {spoken:?}"
        );
    }
}
