//! A small HTTP/1.1 server that misbehaves by the number of the request.

use std::{
    collections::HashMap,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use imprint_agent::source::PackSource;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{image::Objects, run::client};

/// What is wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status and no content; for 429 and 503 with a wish to be asked again after so many seconds.
    Status(u16, u8),
    /// The connection is reset after so many bytes of the body; before the head for 0.
    Reset(usize),
    /// The connection ends in good order after so many bytes of the body.
    Cut(usize),
    /// Half of a head, then the end.
    HalfHead,
    /// No HTTP at all.
    Garbage,
    /// Nothing comes after so many bytes of the body.
    Stall(usize),
    /// Nothing comes, not even a head.
    Silence,
    /// The body comes in small pieces with pauses.
    Drip,
    /// A good answer, then the end of a connection that was said to be kept.
    Leave,
    /// A good answer without a length.
    Chunked,
    /// One bit of the body is wrong.
    Flip,
    /// One byte is missing, and the length says so.
    Short,
    /// One byte too many, and the length says so.
    Long,
    /// 200 and everything instead of a part.
    Whole,
    /// Another part than was asked for.
    WrongRange,
    /// A part of an object of another size.
    OtherSize,
    /// From now on the object is another one of the same size.
    Changed,
}

/// A fault that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    pub fault: Fault,
    /// The request was for a part.
    pub part: bool,
    /// It was one of those that never end.
    pub endless: bool,
}

/// When the server misbehaves.
#[derive(Debug, Default)]
pub struct Script {
    /// By the number of the request.
    pub faults: HashMap<usize, Fault>,
    /// From a request on, all of them.
    pub endless: Option<(usize, Fault)>,
}

#[derive(Debug)]
struct Shared {
    objects: Objects,
    script: Script,
    requests: AtomicUsize,
    changed: AtomicBool,
    met: Mutex<Vec<Met>>,
}

#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Dropped with this value, with all connections.
    _listening: JoinSet<()>,
}

impl Server {
    pub async fn start(objects: Objects, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            objects,
            script,
            requests: AtomicUsize::new(0),
            changed: AtomicBool::new(false),
            met: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&theirs);
                connections.spawn(async move { shared.serve(stream).await });
            }
        });
        Server {
            address,
            shared,
            _listening: listening,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn packs(&self) -> PackSource {
        PackSource::http(&self.url("").parse().unwrap(), client())
    }

    pub fn met(&self) -> Vec<Met> {
        self.shared.met.lock().unwrap().clone()
    }
}

struct Request {
    path: String,
    range: Option<(usize, usize)>,
    if_range: Option<String>,
}

impl Request {
    async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let range = header("range").map(|range| {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            (first.parse().unwrap(), last.parse().unwrap())
        });
        Some(Request {
            path: head.split(' ').nth(1)?.trim_start_matches('/').to_owned(),
            range,
            if_range: header("if-range"),
        })
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        while let Some(request) = Request::read(&mut stream).await {
            let number = self.requests.fetch_add(1, Relaxed);
            let once = self.script.faults.get(&number).copied();
            let always = self.script.endless.filter(|(from, _)| number >= *from);
            let fault = always.map(|(_, fault)| fault).or(once);
            if !self
                .answer(&mut stream, &request, fault, always.is_some())
                .await
                .unwrap_or(false)
            {
                return;
            }
        }
    }

    fn meet(&self, fault: Fault, request: &Request, endless: bool) {
        let size = self.objects.get(&request.path).map_or(0, Bytes::len);
        let all = request.range == Some((0, size.wrapping_sub(1)));
        if fault == Fault::Whole && (all || request.range.is_none()) {
            // That is what was asked for.
            return;
        }
        self.met.lock().unwrap().push(Met {
            fault,
            part: request.range.is_some(),
            endless,
        });
    }

    /// Whether the connection goes on.
    async fn answer(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        fault: Option<Fault>,
        endless: bool,
    ) -> std::io::Result<bool> {
        if let Some(fault) = fault {
            self.meet(fault, request, endless);
        }
        match fault {
            Some(Fault::Status(code, after)) => {
                let head = format!("HTTP/1.1 {code} No\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                return Ok(true);
            }
            Some(Fault::Reset(0)) => {
                stream.set_zero_linger()?;
                return Ok(false);
            }
            Some(Fault::HalfHead) => {
                stream.write_all(b"HTTP/1.1 206 Par").await?;
                return Ok(false);
            }
            Some(Fault::Garbage) => {
                stream.write_all(&[0xFE; 300]).await?;
                return Ok(false);
            }
            Some(Fault::Silence) => return silence().await,
            _ if fault == Some(Fault::Changed) => self.changed.store(true, Relaxed),
            // It stays so for all that come later.
            _ if self.changed.load(Relaxed) => self.meet(Fault::Changed, request, false),
            _ => {}
        }
        let Some(object) = self.objects.get(&request.path) else {
            stream
                .write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
                .await?;
            return Ok(true);
        };
        let (object, tag) = if self.changed.load(Relaxed) {
            let other: Vec<u8> = object.iter().map(|byte| byte ^ 0x20).collect();
            (Bytes::from(other), "\"v2\"")
        } else {
            (object.clone(), "\"v1\"")
        };
        let (mut head, mut body) = content(&object, tag, request, fault);
        match fault {
            Some(Fault::Flip) => {
                let mut bytes = body.to_vec();
                bytes[body.len() / 2] ^= 1;
                body = bytes.into();
            }
            Some(Fault::Short) => body.truncate(body.len() - 1),
            Some(Fault::Long) => body = [&body[..], b"x"].concat().into(),
            _ => {}
        }
        if fault == Some(Fault::Chunked) {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream
                .write_all(format!("{:x}\r\n", body.len()).as_bytes())
                .await?;
            stream.write_all(&body).await?;
            stream.write_all(b"\r\n0\r\n\r\n").await?;
            return Ok(true);
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).await?;
        match fault {
            Some(Fault::Reset(most)) => {
                stream.write_all(&body[..most.min(body.len())]).await?;
                stream.set_zero_linger()?;
                Ok(false)
            }
            Some(Fault::Cut(most)) => {
                stream.write_all(&body[..most.min(body.len())]).await?;
                Ok(false)
            }
            Some(Fault::Stall(most)) => {
                stream.write_all(&body[..most.min(body.len())]).await?;
                silence().await
            }
            Some(Fault::Drip) => {
                for piece in body.chunks((body.len() / 8).max(1)) {
                    stream.write_all(piece).await?;
                    sleep(Duration::from_millis(5)).await;
                }
                Ok(true)
            }
            _ => {
                stream.write_all(&body).await?;
                Ok(fault != Some(Fault::Leave))
            }
        }
    }
}

/// Longer than anybody waits.
async fn silence() -> std::io::Result<bool> {
    sleep(Duration::from_secs(3600)).await;
    Ok(false)
}

/// The head of an answer without its length, and the body.
fn content(object: &Bytes, tag: &str, request: &Request, fault: Option<Fault>) -> (String, Bytes) {
    let part = request
        .range
        .filter(|_| fault != Some(Fault::Whole))
        .filter(|_| request.if_range.as_deref().is_none_or(|wanted| wanted == tag));
    let Some((first, last)) = part else {
        return (format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\n"), object.clone());
    };
    let place: Range<usize> = first..last + 1;
    let shift = usize::from(fault == Some(Fault::WrongRange));
    let size = object.len() + usize::from(fault == Some(Fault::OtherSize));
    let (claimed_first, claimed_last) = (first + shift, last + shift);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nETag: {tag}\r\nContent-Range: bytes {claimed_first}-{claimed_last}/{size}\r\n"
    );
    (head, object.slice(place))
}
