//! An image, its store, a server that misbehaves on demand, and disks.

use std::{
    collections::VecDeque,
    fs, io,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, Response, StatusCode, header},
    routing::get,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use imprint_agent::{
    source::{HttpClient, Location, ManifestKeys, PackSource, http_client_trusting, load_manifest},
    stream::{WriteFailure, WriteNote, WriteOptions, WriteProgress, WriteRequest, Written, write_image},
    target::{FileTarget, Target},
};
use imprint_image::{
    Manifest, SignedManifest, SigningKey,
    seal::{Algorithm, DataKey, Seal},
    write::{ArtifactWriter, DirSink, WriteOptions as ImportOptions},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub const MIB: usize = 1 << 20;

/// Bytes without a pattern.
pub fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A disk of 24 MiB and a bit: data at the head, holes, data that compresses, a repeated chunk, a short last chunk.
pub fn disk_content() -> Vec<u8> {
    let mut disk = vec![0; 24 * MIB + 3 * 4096];
    for chunk in [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 20, 21] {
        disk[chunk * MIB..(chunk + 1) * MIB].copy_from_slice(&noise(&chunk.to_string(), MIB));
    }
    disk[13 * MIB..14 * MIB].fill(0x42);
    let (first, second) = disk.split_at_mut(22 * MIB);
    second[..MIB].copy_from_slice(&first[9 * MIB..10 * MIB]);
    disk[24 * MIB..].fill(0x77);
    disk
}

/// An image in a store on disk.
pub struct Store {
    pub dir: tempfile::TempDir,
    pub manifest: Arc<Manifest>,
    pub manifest_path: PathBuf,
    pub key: SigningKey,
}

impl Store {
    pub fn new(content: &[u8], sector: u32) -> Self {
        Self::made(content, sector, None)
    }

    /// The image is encrypted.
    pub fn encrypted(content: &[u8], sector: u32, key: &DataKey) -> Self {
        let seal = Seal::new(key, Algorithm::default());
        Self::made(content, sector, Some(&seal))
    }

    fn made(content: &[u8], sector: u32, seal: Option<&Seal>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ImportOptions {
            logical_sector_bytes: Some(sector),
            seal,
            ..ImportOptions::default()
        };
        let mut writer = ArtifactWriter::new(DirSink::new(dir.path()).unwrap(), options);
        let mut reader = content;
        let manifest = writer.import_stream(&mut reader).unwrap();
        let key = SigningKey::generate().unwrap();
        let signed = SignedManifest::sign(&manifest, &key);
        let name = match seal {
            None => manifest.image_digest.to_string(),
            Some(_) => signed.manifest_digest().to_string(),
        };
        let manifest_path = dir.path().join("manifests").join(name);
        fs::create_dir_all(manifest_path.parent().unwrap()).unwrap();
        fs::write(&manifest_path, signed.encode()).unwrap();
        Store {
            dir,
            manifest: Arc::new(manifest),
            manifest_path,
            key,
        }
    }
}

/// What a server does with one request instead of answering it.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Answer with this status.
    Status(u16),
    /// Break the connection after this many bytes of the body.
    CutAfter(usize),
    /// Flip a bit of the byte at this place of the pack.
    Flip(usize),
    /// Send the whole pack, as a server without ranges does.
    Whole,
    /// Claim another range than was asked for.
    WrongRange,
}

/// Faults and counters of a server.
#[derive(Debug, Default)]
pub struct Behaviour {
    /// For the next requests for packs, one each.
    pub next: Mutex<VecDeque<Fault>>,
    /// For all requests for packs, once `next` is empty.
    pub always: Mutex<Option<Fault>>,
    /// Wait before each piece of 64 KiB.
    pub pause: Mutex<Duration>,
    /// Bytes of packs that were sent.
    pub served: AtomicU64,
    /// Requests for packs.
    pub requests: AtomicUsize,
}

/// A real HTTP server on a runtime of its own, so that it can die with all its connections.
pub struct Server {
    pub address: SocketAddr,
    pub behaviour: Arc<Behaviour>,
    root: PathBuf,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    pub fn start(root: &Path) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let behaviour = Arc::new(Behaviour::default());
        let mut server = Server {
            address,
            behaviour,
            root: root.to_owned(),
            runtime: None,
        };
        server.up();
        server
    }

    /// Listens, on the same port as before.
    pub fn up(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // The one that died may not have let go of its port yet.
        let deadline = Instant::now() + Duration::from_secs(20);
        let listener = loop {
            match std::net::TcpListener::bind(self.address) {
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                bound => break bound.unwrap(),
            }
        };
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let router = router(&self.root, &self.behaviour);
        runtime.spawn(async move {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router)
                .await
                .unwrap();
        });
        self.runtime = Some(runtime);
    }

    /// Dies, with all its connections.
    pub fn down(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn served(&self) -> u64 {
        self.behaviour.served.load(Relaxed)
    }

    pub fn packs(&self) -> PackSource {
        PackSource::http(&self.url("").parse().unwrap(), client())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn client() -> HttpClient {
    http_client_trusting(rustls::RootCertStore::empty()).unwrap()
}

/// All files under `root`, served as `behaviour` says.
pub fn router(root: &Path, behaviour: &Arc<Behaviour>) -> Router {
    let state = (root.to_owned(), Arc::clone(behaviour));
    Router::new().route("/{*path}", get(serve)).with_state(state)
}

async fn serve(
    State((root, behaviour)): State<(PathBuf, Arc<Behaviour>)>,
    UrlPath(path): UrlPath<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let status = |code: u16| Response::builder().status(code).body(Body::empty()).unwrap();
    let Ok(content) = fs::read(root.join(&path)) else {
        return status(404);
    };
    let mut content = Bytes::from(content);
    let total = content.len();
    let mut fault = None;
    let counts = !path.starts_with("manifests/");
    if counts {
        behaviour.requests.fetch_add(1, Relaxed);
        fault = behaviour
            .next
            .lock()
            .unwrap()
            .pop_front()
            .or(*behaviour.always.lock().unwrap());
    }
    if let Some(Fault::Status(code)) = fault {
        return status(code);
    }
    if let Some(Fault::Flip(place)) = fault {
        let mut bytes = content.to_vec();
        bytes[place] ^= 1;
        content = bytes.into();
    }
    let range = headers.get(header::RANGE).map(|range| {
        let (first, last) = range
            .to_str()
            .unwrap()
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let last = if last.is_empty() {
            total - 1
        } else {
            last.parse().unwrap()
        };
        first.parse::<usize>().unwrap()..last + 1
    });
    let mut answer = Response::builder().header(header::ETAG, "\"v1\"");
    if let Some(range) = range.filter(|_| !matches!(fault, Some(Fault::Whole))) {
        let shift = usize::from(matches!(fault, Some(Fault::WrongRange)));
        let claimed = format!("bytes {}-{}/{total}", range.start + shift, range.end - 1 + shift);
        answer = answer
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, claimed);
        content = content.slice(range);
    }
    let len = content.len();
    let cut = match fault {
        Some(Fault::CutAfter(bytes)) if bytes < len => Some(bytes),
        _ => None,
    };
    content.truncate(cut.unwrap_or(len));
    let pause = *behaviour.pause.lock().unwrap();
    let mut pieces: Vec<io::Result<Bytes>> = Vec::new();
    while !content.is_empty() {
        pieces.push(Ok(content.split_to(content.len().min(64 << 10))));
    }
    if cut.is_some() {
        pieces.push(Err(io::Error::other("cut")));
    }
    let counted = stream::iter(pieces).then(move |piece| {
        let behaviour = Arc::clone(&behaviour);
        async move {
            tokio::time::sleep(pause).await;
            if let (Ok(piece), true) = (&piece, counts) {
                behaviour.served.fetch_add(piece.len() as u64, Relaxed);
            }
            piece
        }
    });
    answer
        .header(header::CONTENT_LENGTH, len)
        .body(Body::from_stream(counted))
        .unwrap()
}

/// A file full of 0xA5.
pub struct DirtyFile {
    pub path: PathBuf,
    _dir: tempfile::TempDir,
}

impl DirtyFile {
    pub fn new(len: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::write(&path, vec![0xA5; len]).unwrap();
        DirtyFile { path, _dir: dir }
    }

    pub fn target(&self, sector: u32) -> Arc<dyn Target> {
        let file = FileTarget::open(&self.path, None).unwrap();
        Arc::new(file.with_logical_block(NonZeroU32::new(sector).unwrap()))
    }

    pub fn content(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
}

/// A loop device over such a file.
pub struct DirtyLoop {
    pub path: PathBuf,
    pub file: DirtyFile,
}

impl DirtyLoop {
    pub fn new(len: usize, sector: u32) -> Self {
        let file = DirtyFile::new(len);
        let made = Command::new("losetup")
            .args([
                "--find",
                "--show",
                "--partscan",
                "--sector-size",
                &sector.to_string(),
            ])
            .arg(&file.path)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "losetup: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let path = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        DirtyLoop { path, file }
    }
}

impl Drop for DirtyLoop {
    fn drop(&mut self) {
        Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status()
            .unwrap();
    }
}

/// What a dirty disk must hold after `content` was written to it.
pub fn expected_disk(content: &[u8], disk_len: usize) -> Vec<u8> {
    let mut disk = vec![0xA5; disk_len];
    let tail = disk_len - MIB.min(disk_len);
    disk[tail..].fill(0);
    disk[..content.len()].copy_from_slice(content);
    disk
}

/// Fails the test with places instead of megabytes.
pub fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len(), "length");
    let wrong = (0..got.len()).step_by(4096).filter(|&at| {
        let end = (at + 4096).min(got.len());
        got[at..end] != expected[at..end]
    });
    let wrong: Vec<_> = wrong.take(8).collect();
    assert!(wrong.is_empty(), "different pages at {wrong:?}");
}

/// Everything that one write told.
pub struct Told {
    pub result: Result<Written, WriteFailure>,
    pub notes: Vec<WriteNote>,
    pub progress: WriteProgress,
}

pub async fn write(
    manifest: &Arc<Manifest>,
    packs: PackSource,
    target: &Arc<dyn Target>,
    options: WriteOptions,
) -> Told {
    write_until(manifest, packs, target, options, CancellationToken::new()).await
}

pub async fn write_until(
    manifest: &Arc<Manifest>,
    packs: PackSource,
    target: &Arc<dyn Target>,
    options: WriteOptions,
    cancel: CancellationToken,
) -> Told {
    let (progress, newest) = watch::channel(WriteProgress::default());
    let (notes, mut heard) = mpsc::unbounded_channel();
    let request = WriteRequest {
        manifest: Arc::clone(manifest),
        packs,
        target: Arc::clone(target),
        options,
    };
    let result = tokio::time::timeout(
        Duration::from_secs(60),
        write_image(request, progress, notes, cancel),
    )
    .await;
    let mut all = Vec::new();
    while let Ok(note) = heard.try_recv() {
        all.push(note);
    }
    let progress = newest.borrow().clone();
    Told {
        result: result.expect("a write ends"),
        notes: all,
        progress,
    }
}

/// Options for a test: little patience.
pub fn options() -> WriteOptions {
    WriteOptions {
        patience: Duration::from_secs(20),
        read_timeout: Duration::from_secs(5),
        ..WriteOptions::default()
    }
}

pub async fn manifest_from(
    url: &str,
    keys: &ManifestKeys,
) -> Result<Manifest, imprint_agent::source::SourceError> {
    encrypted_manifest_from(url, keys, None).await
}

pub async fn encrypted_manifest_from(
    url: &str,
    keys: &ManifestKeys,
    data_key: Option<&DataKey>,
) -> Result<Manifest, imprint_agent::source::SourceError> {
    let location: Location = url.parse().unwrap();
    load_manifest(
        &location,
        &client(),
        keys,
        data_key,
        Duration::from_secs(5),
        Duration::from_secs(5),
    )
    .await
}
